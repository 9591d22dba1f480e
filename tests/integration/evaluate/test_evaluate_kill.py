"""kill -9 in the middle of an evaluation: the same command goes on, to the same figures."""

import signal
import subprocess

import pytest

from idinvert.results.record import read_records
from tests.processes import Program

pytestmark = pytest.mark.slow
WORDS = ("n=8", "batch_size=1", "inversion.steps=100", "metric.names=[mse,ssim]")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_ended_by_a_signal_and_gone_on_with(go, world, outputs, number, code):
    place = (f"system.outputs={outputs}", f"system.cache={world.cache}", "trainer=cpu")
    words = (f"run={world.run.name}", *WORDS)
    process = Program("evaluate", [*place, *words])
    while len(done := list(outputs.rglob("part-*.safetensors"))) < 2:
        try:
            ended = process.wait(timeout=0.02)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(f"it ended by itself, with {ended}")
    process.send_signal(number)
    assert process.wait() == code, process.output()
    if code > 0:
        assert "Traceback" not in process.output()
        assert f"To continue: python evaluate.py system.outputs={outputs}" in process.output()
    done = list(outputs.rglob("part-*.safetensors"))
    assert not (outputs / "records.jsonl").exists()

    before = {path: path.stat().st_mtime_ns for path in done}
    (continued,) = go(*words)
    assert {path: path.stat().st_mtime_ns for path in done} == before, "not done again"
    (whole,) = go(*words, "recompute=true")
    assert continued.metrics == whole.metrics and continued.n == 8
    assert len(read_records(outputs / "records.jsonl")) == 2
