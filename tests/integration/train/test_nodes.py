"""Two machines, played by two torchrun groups on loopback; and micro-batches across ranks."""

import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from idinvert.tracking.status import read_status

pytestmark = pytest.mark.slow
SECONDS = 1200
EXACT = ("trainer.precision=64-true", "batch_size=8", "logging.every_nimg=8", "data.val=0",
         "discriminator.init=scratch", "+discriminator.network.mbstd_channels=0",
         "encoder.backbone.norm=none", "nimg=24")  # fmt: skip


def torchrun(*words: str) -> list[str]:
    return ["-m", "torch.distributed.run", *words]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def finish(processes: Sequence[subprocess.Popen[str]]) -> list[str]:
    outputs = [process.communicate(timeout=SECONDS)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), outputs
    return outputs


def only_run(outputs: Path) -> Path:
    (config,) = outputs.glob("*/*/config.yaml")
    return config.parent


def assert_same_weights(one: Path, other: Path) -> None:
    states = []
    for folder in (one, other):
        newest = sorted((folder / "checkpoints").glob("*.ckpt"))[-1]
        assert newest.name == "nimg-000000024.ckpt"
        states.append(torch.load(newest, weights_only=True)["state_dict"])
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(states[1][name], value, rtol=1e-6, atol=1e-12, msg=name)


def test_two_nodes_equal_one_process(
    train_tiny: Callable[..., Path],
    overrides: Callable[..., list[str]],
    start: Callable[..., subprocess.Popen[str]],
    rows_of: Callable[..., Any],
    tmp_path: Path,
) -> None:
    words = overrides("domain_guided", *EXACT, "accumulate=2", where="nodes")
    words += ["trainer=ddp_cpu", "trainer.num_nodes=2", "trainer.devices=1"]
    port = free_port()
    nodes = [
        start(
            words,
            before=torchrun(
                "--nnodes=2",
                f"--node-rank={rank}",
                "--nproc-per-node=1",
                "--master-addr=127.0.0.1",
                f"--master-port={port}",
            ),
        )
        for rank in (0, 1)
    ]
    outputs = finish(nodes)
    folder = only_run(tmp_path / "nodes")
    assert [output.count("starting domain_guided") for output in outputs] == [1, 0]
    assert read_status(folder) == {"state": "finished", "nimg": 24}
    alone = train_tiny("domain_guided", *EXACT, where="alone")
    assert alone.name == folder.name  # neither nodes nor micro-batches are science without BN
    assert_same_weights(alone, folder)
    for one, other in zip(rows_of(alone), rows_of(folder), strict=True):
        assert other == pytest.approx(one, rel=1e-6)


@pytest.mark.parametrize("experiment", ["e4e", "force_in_domain"])
def test_two_ranks_with_micro_batches_equal_one_process(
    train_tiny: Callable[..., Path],
    overrides: Callable[..., list[str]],
    start: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
    experiment: str,
) -> None:
    more = [*EXACT, "objective.pool_size=10"]
    words = overrides(experiment, *more, "accumulate=2", "trainer=ddp_cpu", where="ranks")
    (output,) = finish([start(words)])
    assert output.count(f"starting {experiment}") == 1
    alone = train_tiny(experiment, *more, where="alone")
    folder = only_run(tmp_path / "ranks")
    assert alone.name == folder.name
    assert_same_weights(alone, folder)


def test_torchrun_with_other_devices_is_refused_before_any_work(
    overrides: Callable[..., list[str]], start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = start(
        overrides("domain_guided", "batch_size=8"),
        before=torchrun("--standalone", "--nproc-per-node=2"),
    )
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode != 0
    assert "error: torchrun started 2 processes" in output
    assert "trainer.devices=2 trainer.num_nodes=1" in output
    assert not list((tmp_path / "outputs").glob("*/*/config.yaml"))
