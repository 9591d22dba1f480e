"""Real processes: killed at any moment, asked to stop, and started again."""

import contextlib
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from idinvert.durable import damaged
from idinvert.tracking.run_files import read_status
from tests.processes import finish

from .runs import rows_of, same_checkpoints, same_weights

pytestmark = pytest.mark.slow
SECONDS = 240
SETTINGS = ("checkpoint.every_nimg=160", "logging.validate_every_nimg=320", "checkpoint.keep=2")


def wait_for_checkpoint(process: Any, outputs: Path) -> Path:
    """Polls until the process has written a checkpoint; returns the run's folder."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        found = list(outputs.glob("*/*/checkpoints/*.ckpt"))
        if found:
            return found[0].parents[1]
        if process.poll() is not None:
            break
        time.sleep(0.02)
    process.kill()
    raise AssertionError(f"no checkpoint: {process.communicate()[0]}")


def _works(process: Any, outputs: Path) -> bool:
    """Whether a process has taken the lock of a run."""
    locks = [path.read_text() for path in outputs.glob("*/*/.lock")]
    return any(text.startswith(f"{process.pid} ") for text in locks)


@pytest.mark.parametrize(
    ("experiment", "kills"), [("domain_guided", 10), ("gan", 1), ("attributes", 1)]
)
def test_killed_at_random_moments_and_started_again_equals_unbroken(
    train_tiny, overrides, start, tmp_path, experiment, kills
):
    words = overrides(experiment, "nimg=1600", *SETTINGS, where="broken")
    for _ in range(kills):
        process = start(words)
        while process.poll() is None and not _works(process, tmp_path / "broken"):
            time.sleep(0.02)
        delay = random.Random().uniform(0.0, 1.5)
        print(f"killed {delay:.3f} s after it had taken the run's lock")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=delay)
        process.kill()
        process.communicate()
        assert process.returncode in (-signal.SIGKILL, 0)
    finish(start(words))
    unbroken = train_tiny(experiment, "nimg=1600", *SETTINGS, "system.num_threads=1", where="whole")
    folder = unbroken.parents[2] / "broken" / unbroken.parent.name / unbroken.name
    assert read_status(folder) == {"state": "finished", "nimg": 1600}
    same_checkpoints(unbroken, folder)
    assert rows_of(unbroken) == rows_of(folder)
    same_weights(unbroken, folder)
    assert damaged(folder) == [] and not list(folder.rglob(".*.tmp"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_asked_to_stop_a_run_saves_says_how_to_go_on_and_does(
    overrides, start, tmp_path, number, code
):
    process = start(overrides("domain_guided", "nimg=1000000", *SETTINGS))
    folder = wait_for_checkpoint(process, tmp_path / "outputs")
    process.send_signal(number)
    output = finish(process, code=code)
    assert f"{number.name}: finishing this step and saving" in output
    assert f"to continue: python train.py run={folder}" in output
    status = read_status(folder)
    assert status["state"] == "stopped"
    nimg = int(status["nimg"])
    assert (folder / "checkpoints" / f"nimg-{nimg:09d}.ckpt").is_file()

    output = finish(start([f"run={folder}", f"nimg={nimg + 8}"]))
    assert "continuing domain_guided" in output
    assert read_status(folder) == {"state": "finished", "nimg": nimg + 8}


def test_a_second_process_in_the_same_folder_ends_with_code_2(overrides, start, tmp_path):
    words = overrides("attributes", "nimg=1000000", *SETTINGS)
    first = start(words)
    folder = wait_for_checkpoint(first, tmp_path / "outputs")
    output = finish(start(words), code=2)
    assert f"error: {folder} is in use by process {first.pid}" in output
    assert "Traceback" not in output
    assert first.poll() is None  # the first one goes on
