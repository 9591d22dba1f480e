"""Evaluations by two processes: every image once, one record, the figures of one process."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from idinvert.tables.record import Record

pytestmark = pytest.mark.slow
SECONDS = 1200
LAUNCHERS = {"lightning": [], "torchrun": ["-m", "torch.distributed.run", "--standalone",
                                           "--nproc-per-node=2"]}  # fmt: skip
WORDS = ("n=5", "batch_size=2", "metric.names=[mse,ssim]", "inversion.steps=3")
"""Three chunks for two ranks, the last a short one."""


def records_in(outputs: Path) -> list[dict[str, Any]]:
    lines = (outputs / "records.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("launcher", "task"), [("torchrun", "reconstruction"), ("lightning", "interpolation")]
)
def test_two_ranks_measure_what_one_does(
    go: Callable[..., list[Record]],
    world: SimpleNamespace,
    outputs: Path,
    tmp_path: Path,
    launcher: str,
    task: str,
) -> None:
    words = [f"run={world.run.name}", *WORDS, f"task={task}"]
    words += ["metric.names=[mse,ssim,swd]"] if task == "interpolation" else []
    (alone,) = go(*words)
    one = {file.name: file for file in outputs.glob("evaluations/**/part-*")}
    second = tmp_path / "second"
    (second / "domain_guided").mkdir(parents=True)
    (second / "domain_guided" / world.run.name).symlink_to(world.run)
    place = [f"system.outputs={second}", f"system.cache={world.cache}", "system.num_threads=1"]
    done = subprocess.run(
        [sys.executable, *LAUNCHERS[launcher], "-m", "idinvert.cli.evaluate", *words, *place,
         "trainer=ddp_cpu"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (both,) = records_in(second)
    assert both["n"] == alone.n == 5
    assert both["metrics"] == pytest.approx(alone.metrics, rel=1e-6)
    two = {file.name: file for file in second.glob("evaluations/**/part-*")}
    assert one.keys() == two.keys() and len(two) >= 3
    assert "rank 0 of 2" in done.stdout + done.stderr
