"""kill -9 in the middle of an evaluation: the same command goes on, to the same figures."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from idinvert.results.record import Record, read_records
from tests.processes import Program

pytestmark = pytest.mark.slow
WORDS = ("n=8", "batch_size=1", "inversion.steps=100", "metric.names=[mse,ssim]")


def test_killed_and_gone_on_with(
    go: Callable[..., list[Record]], world: SimpleNamespace, outputs: Path
) -> None:
    place = (f"system.outputs={outputs}", f"system.cache={world.cache}", "trainer=cpu")
    words = (f"run={world.run.name}", *WORDS)
    process = Program("evaluate", [*place, *words])
    while len(done := list(outputs.rglob("part-*.safetensors"))) < 2:
        try:
            code = process.wait(timeout=0.02)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(f"it ended by itself, with {code}")
    process.kill()
    assert process.wait() == -9
    assert not (outputs / "records.jsonl").exists()

    before = {path: path.stat().st_mtime_ns for path in done}
    (continued,) = go(*words)
    assert {path: path.stat().st_mtime_ns for path in done} == before, "not done again"
    (whole,) = go(*words, "recompute=true")
    assert continued.metrics == whole.metrics and continued.n == 8
    assert len(read_records(outputs / "records.jsonl")) == 2
