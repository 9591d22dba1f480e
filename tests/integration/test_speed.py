"""The benchmarks of experiments/speed, each in its smallest form; no times are judged."""

import json
import runpy
import sys
from pathlib import Path

import pytest

from idinvert.config.paths import config_dir

FOLDER = config_dir().parent / "experiments" / "speed"
SMALL = ["scale.channels=[8,8,8,8]", "scale.batch_size=4"]
CASES = {
    "train_step.py": [
        *("--repeats", "1", "--steps", "1", "--versus", "accumulate=2"),
        *("experiment=gan", "generator=stylegan2", *SMALL),
    ],
    "inversion.py": ["--repeats", "1", "--steps", "1", "--batch", "1,2", "inversion=in_domain"],
    "data.py": ["--repeats", "1", "--images", "16", "--batches", "1", "--workers", "0", *SMALL],
    "metrics.py": ["--repeats", "1", "--pairs", "8"],
    "start.py": ["--repeats", "1", "--only", "import torch"],
}


def run(
    script: str, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> str:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(sys, "argv", [script, *words])
    try:
        runpy.run_path(str(FOLDER / script), run_name="__main__")
    finally:
        for name in ("bench", "shares"):
            sys.modules.pop(name, None)
    return capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("script", CASES)
def test_a_benchmark_prints_a_table_and_writes_its_times(
    script: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "times.json"
    printed = run(script, ["--json", str(path), *CASES[script]], monkeypatch, capsys)
    assert "ms/step" in printed and "torch" in printed
    written = json.loads(path.read_text())
    done = [times for times in written["times"] if times["error"] is None]
    assert done and all(len(times["wall"]) >= 1 and min(times["wall"]) > 0 for times in done)
    assert written["machine"]["threads"] == 1


@pytest.mark.slow
def test_the_optimisers_are_compared_and_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "optimizers.jsonl"
    words = ["--n", "2", "--batch", "2", "--steps", "20", "--record", str(path)]
    printed = run("optimizers.py", [*words, "inversion=in_domain"], monkeypatch, capsys)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == len(printed.splitlines()) and lines[0]["way"] == "adam"
    assert {line["choices"].get("optimizer", "adam") for line in lines} == {"adam", "lbfgs"}
    for line in lines:
        assert line["n"] == 2 and line["gflops_per_evaluation"] > 0 and "torch" in line["machine"]
        assert line["loss_median_ratio"]["10"] > 0
    assert lines[0]["evaluations_p90"] <= 21


@pytest.mark.slow
def test_shares_name_every_network_and_add_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--repeats", "1", "--batch", "2", "--steps", "1", "inversion=in_domain"]
    printed = run("inversion.py", words, monkeypatch, capsys)
    line = printed.strip().splitlines()[-1].split(": ", 1)[1]
    found = {part.split()[0]: int(part.split()[1]) for part in line.split(", ")}
    assert set(found) == {"E", "G", "F", "rest"}
    assert 98 <= sum(found.values()) <= 102
    assert all(found[letter] > 5 for letter in "EGF")
