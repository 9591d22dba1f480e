"""Devices that are there, one process each, and a batch that they can share."""

from types import SimpleNamespace

import pytest
import pytorch_lightning  # noqa: F401  # before the tests replace parts of torch.cuda
import torch

from idinvert.cli.devices import accelerate, check_batch, check_devices, devices_of, ranks_of
from idinvert.config.compose import compose_plain
from idinvert.errors import ConfigError
from idinvert.evaluation.context import EvaluationContext

OUTSIDE = ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "SLURM_JOB_NAME", "NODE_RANK")
TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2",
            "GROUP_WORLD_SIZE": "2"}  # fmt: skip
SLURM = {"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "2",
         "SLURM_STEP_ID": "0"}  # fmt: skip


@pytest.fixture
def check(monkeypatch):
    """Checks a ``trainer`` node in an environment; on this machine nothing else says a word."""
    for name in (*OUTSIDE, *SLURM, *TORCHRUN, "SLURM_STEPID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    def go(environment, gpus=0, **trainer):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        check_devices({"accelerator": "cpu", "devices": 1, "num_nodes": 1} | trainer)

    return go


@pytest.mark.parametrize("accelerator", ["gpu", "cuda"])
def test_without_a_gpu_the_way_without_is_named(check, accelerator):
    with pytest.raises(ConfigError, match=r"no GPU .*trainer=ddp_cpu .*trainer=cpu"):
        check({}, accelerator=accelerator, devices="auto")
    check({}, gpus=1, accelerator=accelerator, devices="auto")
    check({}, accelerator="auto")
    with pytest.raises(ConfigError, match=r"trainer\.devices=4, .* 2 GPU\(s\).*devices=auto"):
        check({}, gpus=2, accelerator=accelerator, devices=4)


@pytest.mark.parametrize(
    "trainer", [{"devices": 1}, {"devices": 4}, {"devices": 1, "num_nodes": 2}, {"num_nodes": 4}]
)
def test_torchrun_starts_one_process_a_device(check, trainer):
    check(TORCHRUN, devices=2, num_nodes=2)
    if trainer in ({"devices": 4}, {"num_nodes": 4}):
        check(TORCHRUN, **trainer)  # the same number: torchrun knows where they are
        return
    with pytest.raises(ConfigError, match=r"started 4 .*trainer\.devices=2 trainer\.num_nodes=2"):
        check(TORCHRUN, **trainer)


@pytest.mark.parametrize("trainer", [{}, {"devices": 4}, {"devices": 2}, {"num_nodes": 4}])
def test_slurm_starts_one_task_a_device(check, trainer):
    check(SLURM, devices=2, num_nodes=2)
    with pytest.raises(ConfigError, match=r"Slurm .*trainer\.devices=2 trainer\.num_nodes=2.*"):
        check(SLURM, **trainer)


def test_a_task_of_its_own_inside_a_larger_slurm_job_is_one_device(check):
    check(SLURM | {"SLURM_NTASKS": "1", "SLURM_NNODES": "1"})


def test_a_shell_in_a_slurm_job_is_no_rank(check):
    check(SLURM | {"SLURM_JOB_NAME": "bash"}, devices=3)


def test_a_batch_script_without_srun_would_wait_for_ever(check, monkeypatch):
    with pytest.raises(ConfigError, match="Put srun before the command"):
        check({k: v for k, v in SLURM.items() if "STEP" not in k}, devices=2, num_nodes=2)


def test_several_nodes_need_somebody_who_starts_them(check):
    with pytest.raises(ConfigError, match=r"torchrun --nnodes 2 .*docs/clusters\.md"):
        check({}, num_nodes=2)
    check({"NODE_RANK": "1"}, num_nodes=2)


@pytest.mark.parametrize(
    ("words", "good"),
    [
        (["batch_size=8", "accumulate=4"], True),
        (["batch_size=8", "accumulate=3"], False),
        (["batch_size=7", "trainer=ddp_cpu"], False),
        (["batch_size=8", "trainer=ddp_cpu", "accumulate=4"], True),
        (["batch_size=8", "trainer=ddp_cpu", "accumulate=8"], False),
        (["batch_size=8", "trainer=ddp_cpu", "trainer.num_nodes=3"], False),
    ],
)
def test_a_batch_is_shared_by_devices_and_micro_batches(words, good):
    config = compose_plain("train", words)
    if good:
        check_batch(config)
        return
    with pytest.raises(ConfigError, match=r"batch_size=\d .*accumulate=\d.*trainer\.devices"):
        check_batch(config)


def test_devices_are_counted_as_lightning_means_them_and_ranks_are_those_of_all_nodes():
    counts = [(1, 1), ("3", 3), ([0, 2], 2), ("0,2", 2), ("auto", 1), (-1, 1)]
    for devices, count in counts:
        trainer = {"devices": devices, "accelerator": "cpu", "num_nodes": 3}
        assert devices_of(trainer) == count and ranks_of(trainer) == 3 * count


@pytest.mark.parametrize("asked", [False, True])
def test_g_checkpoints_its_activations_where_asked_in_training_and_evaluation(asked):
    word = f"system.checkpoint_activations={asked}"
    synthesis = SimpleNamespace(checkpoint_activations=False)
    module = SimpleNamespace(generator=SimpleNamespace(synthesis=synthesis))
    accelerate(module, compose_plain("train", [word]))
    assert synthesis.checkpoint_activations is asked
    accelerate(SimpleNamespace(), compose_plain("train", [word]))  # a network without G
    setup = EvaluationContext(compose_plain("evaluate", [word]))
    assert setup.inverter and setup.generator.synthesis.checkpoint_activations is asked
