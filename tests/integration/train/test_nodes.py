"""Two machines, played by two torchrun groups on loopback."""

import pytest

from idinvert.tracking.run_files import read_status
from tests.processes import finish, free_port, two_ranks

from .runs import EXACT, NO_MBSTD, TWO, assert_close, only_run, rows_of

pytestmark = pytest.mark.slow
MORE = (*EXACT, *NO_MBSTD, "encoder.backbone.norm=none", "nimg=24")


def test_two_nodes_equal_one_process(train_tiny, overrides, start, tmp_path):
    words = overrides("domain_guided", *MORE, "accumulate=2", where="nodes")
    words += [TWO, "trainer.num_nodes=2", "trainer.devices=1"]
    group = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    group += ["--master-addr=127.0.0.1", f"--master-port={free_port()}"]
    nodes = [start(words, before=[*group, f"--node-rank={rank}"]) for rank in (0, 1)]
    outputs = [finish(node) for node in nodes]
    folder = only_run(tmp_path / "nodes")
    assert [output.count("starting domain_guided") for output in outputs] == [1, 0]
    assert read_status(folder) == {"state": "finished", "nimg": 24}
    alone = train_tiny("domain_guided", *MORE, where="alone")
    assert alone.name == folder.name  # neither nodes nor micro-batches are science without BN
    assert_close(alone, folder)
    for one, other in zip(rows_of(alone), rows_of(folder), strict=True):
        assert other == pytest.approx(one, rel=1e-6)


def test_torchrun_with_other_devices_is_refused_before_any_work(overrides, start, tmp_path):
    words = overrides("domain_guided", "batch_size=8")
    output = finish(start(words, env=two_ranks()[0]), code=2)
    assert "error: torchrun started 2 processes" in output
    assert "trainer.devices=2 trainer.num_nodes=1" in output
    assert not list((tmp_path / "outputs").glob("*/*/config.yaml"))
