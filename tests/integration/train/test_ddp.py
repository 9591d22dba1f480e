"""Two processes on the CPU (gloo) compute what one does with the same global batch."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from idinvert.cli.train import assemble
from idinvert.config.compose import compose_plain
from idinvert.data.datamodule import ImageDataModule

pytestmark = pytest.mark.slow
TWO = "trainer=ddp_cpu"
EXACT = ("trainer.precision=64-true", "batch_size=8", "logging.every_nimg=8")
NO_MBSTD = ("discriminator.init=scratch", "+discriminator.network.mbstd_channels=0")
LAUNCHERS = {
    "lightning": [],
    "torchrun": ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"],
}


def finish(process: subprocess.Popen[str]) -> None:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output


def run_in(outputs: Path) -> Path:
    (config,) = outputs.glob("*/*/config.yaml")
    return config.parent


def stored(folder: Path) -> dict[str, Any]:
    newest = sorted((folder / "checkpoints").glob("*.ckpt"))[-1]
    return torch.load(newest, weights_only=True)


OBJECTIVES = {
    "domain_guided": [],
    "conventional": [],
    "e4e": ["objective.pool_size=10", "objective.delta_start=8", "objective.delta_every=8"],
    "force_in_domain": ["objective.pool_size=10", "objective.w_r1_every=2"],
}


NO_NORM = "encoder.backbone.norm=none"
CASES = [
    *((experiment, "lightning", [NO_NORM]) for experiment in OBJECTIVES),
    ("domain_guided", "torchrun", [NO_NORM]),
    ("domain_guided", "lightning", []),  # v2's BatchNorm is over all ranks
]


@pytest.mark.parametrize(("experiment", "launcher", "norm"), CASES)
def test_three_steps_on_two_ranks_equal_three_on_one(
    train_tiny: Callable[..., Path],
    overrides: Callable[..., list[str]],
    start: Callable[..., subprocess.Popen[str]],
    rows_of: Callable[..., Any],
    tmp_path: Path,
    experiment: str,
    launcher: str,
    norm: list[str],
) -> None:
    more = [*EXACT, *NO_MBSTD, *norm, "nimg=24", "data.val=0", *OBJECTIVES[experiment]]
    alone = train_tiny(experiment, *more, where="alone")
    finish(start(overrides(experiment, *more, TWO, where="two"), before=LAUNCHERS[launcher]))
    two = run_in(tmp_path / "two")
    assert two.name == alone.name  # the number of devices is not science
    one_state, two_state = stored(alone)["state_dict"], stored(two)["state_dict"]
    assert one_state.keys() == two_state.keys()
    assert two_state["clock._extra_state"] == {"nimg": 24}
    for name, value in one_state.items():
        if isinstance(value, Tensor):
            # A bias before a BatchNorm has no gradient but rounding, which Adam makes large.
            if norm or not name.startswith("encoder."):
                torch.testing.assert_close(two_state[name], value, rtol=1e-6, atol=1e-12, msg=name)
        else:
            assert two_state[name] == value, name
    for one, other in zip(rows_of(alone), rows_of(two), strict=True):
        assert other == pytest.approx(one, rel=1e-6)


def test_batch_norm_of_a_rank_takes_the_statistics_of_each_rank_alone(
    overrides: Callable[..., list[str]],
    start: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
) -> None:
    more = [*EXACT, *NO_MBSTD, "encoder.backbone.norm=batch", "objective.mirror=false", "nimg=8"]
    words = overrides("domain_guided", *more, "data.val=0")
    finish(start([*words, TWO]))
    state = stored(run_in(tmp_path / "outputs"))["state_dict"]

    config = compose_plain("train", words)
    parts = assemble(config)
    module, lr = parts.module.double(), config["objective"]["lr"]
    data = ImageDataModule(domain=parts.domain, batch_size=8, seed=config["seed"])
    batch = next(iter(data.train_dataloader()))["image"]
    x = (batch.float() / 127.5 - 1).double()
    module.encoder.train()
    halves, statistics = [], {}
    for rank, half in enumerate(x.split(4)):
        y = module.generator.synthesis(module.encoder(half), noise="const")
        if rank == 0:  # the buffers that are kept
            statistics = {
                name: value.clone()
                for name, value in module.encoder.named_buffers()
                if "running" in name
            }
        f_x, f_y = module.perceptual(half), module.perceptual(y)
        adversarial = torch.log(1 + torch.exp(-module.discriminator(y))).mean()
        loss = (
            ((half - y) ** 2).mean()
            + module.lambda_vgg * ((f_x - f_y) ** 2).mean()
            + module.lambda_adv * adversarial
        )
        halves.append(torch.autograd.grad(loss, list(module.encoder.parameters())))
    compared = 0
    for (name, before), first, second in zip(
        module.encoder.named_parameters(), *halves, strict=True
    ):
        gradient = (first + second) / 2
        after = before - lr * gradient / (gradient.abs() + 1e-8)  # Adam's first step
        clear = gradient.abs() > 1e-6  # elsewhere the division magnifies rounding
        torch.testing.assert_close(
            state[f"encoder.{name}"][clear], after.detach()[clear], rtol=1e-6, atol=1e-9
        )
        compared += int(clear.sum())
    assert compared > 500
    assert statistics
    for name, value in statistics.items():
        torch.testing.assert_close(state[f"encoder.{name}"], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("experiment", ["domain_guided", "gan", "e4e"])
def test_two_ranks_stopped_and_gone_on_with_equal_unbroken(
    overrides: Callable[..., list[str]],
    start: Callable[..., subprocess.Popen[str]],
    same_checkpoints: Callable[..., None],
    tmp_path: Path,
    experiment: str,
) -> None:
    for where, ends in {"whole": (40,), "broken": (24, 40)}.items():
        for nimg in ends:
            more = ("batch_size=8", TWO, f"nimg={nimg}", "data.val=0")
            finish(start(overrides(experiment, *more, where=where)))
    same_checkpoints(run_in(tmp_path / "whole"), run_in(tmp_path / "broken"))
