"""A device without memory left: one line that says what needs less."""

import sys

import pytest
import torch

from idinvert.cli.app import run_app


@pytest.mark.parametrize(
    ("program", "word"), [("train", "accumulate=4"), ("evaluate", "changes no result")]
)
def test_out_of_memory_is_one_line_with_what_needs_less(
    program: str,
    word: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work(config: object, *, given: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")

    monkeypatch.setattr(sys, "argv", [f"{program}.py"])
    with pytest.raises(SystemExit) as caught:
        run_app(program, work)
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert caught.value.code == 2
    assert error.startswith("error: out of memory (CUDA out of memory)")
    assert word in error
    assert "batch_size=" in error
