"""Two processes on the CPU (gloo) compute what one does with the same global batch."""

from pathlib import Path
from typing import Any

import pytest
import torch

from idinvert.cli.assemble import assemble
from idinvert.config.compose import compose_plain
from idinvert.data.datamodule import ImageDataModule
from tests.processes import finish

from .runs import (
    EXACT,
    FORKED,
    NO_MBSTD,
    TWO,
    assert_close,
    newest,
    only_run,
    rows_of,
    same_checkpoints,
)

pytestmark = pytest.mark.filterwarnings("ignore:Total length of `DataLoader`")
POOL = "objective.pool_size=10"
OBJECTIVES = {
    "domain_guided": [],
    "conventional": [],
    "e4e": [POOL, "objective.delta_start=8", "objective.delta_every=8"],
    "force_in_domain": [POOL, "objective.w_r1_every=2"],
}
NO_NORM = "encoder.backbone.norm=none"
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


def assert_same(alone: Path, two: Path, **but: Any) -> None:
    """Two ranks left what one did."""
    assert two.name == alone.name  # the number of devices is not science
    assert_close(alone, two, **but)
    for one, other in zip(rows_of(alone), rows_of(two), strict=True):
        assert other == pytest.approx(one, rel=1e-6)


@pytest.mark.parametrize("experiment", OBJECTIVES)
def test_three_steps_on_two_ranks_equal_three_on_one(train_tiny, experiment):
    more = [*EXACT, *NO_MBSTD, NO_NORM, "nimg=24", *OBJECTIVES[experiment]]
    alone = train_tiny(experiment, *more, where="alone")
    for parts in ("accumulate=1", "accumulate=2"):
        two = train_tiny(experiment, *more, *FORKED, parts, where=parts[-1])
        assert newest(two)["state_dict"]["clock._extra_state"] == {"nimg": 24}
        assert_same(alone, two)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "more"),
    [([], [NO_NORM]), (TORCHRUN, [])],  # v2's BatchNorm is over all ranks
    ids=["lightning", "torchrun"],
)
def test_ranks_that_are_processes_of_their_own(
    train_tiny, overrides, start, tmp_path, before, more
):
    more = [*EXACT, *NO_MBSTD, *more, "nimg=24"]
    alone = train_tiny("domain_guided", *more, where="alone")
    output = finish(start(overrides("domain_guided", *more, TWO, where="two"), before=before))
    assert output.count("starting domain_guided") == 1
    # A bias before a BatchNorm has no gradient but rounding, which Adam makes large.
    without = "encoder." if before else "-"
    assert_same(alone, only_run(tmp_path / "two"), without=without)


def test_batch_norm_of_a_rank_takes_the_statistics_of_each_rank_alone(train_tiny, overrides):
    more = [*EXACT, *NO_MBSTD, "encoder.backbone.norm=batch", "objective.mirror=false", "nimg=8"]
    state = newest(train_tiny("domain_guided", *more, *FORKED))["state_dict"]

    words = overrides("domain_guided", *more)
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
def test_two_ranks_stopped_and_gone_on_with_equal_unbroken(train_tiny, experiment):
    def train(where, nimg):
        more = ("batch_size=8", "data.val=0", *FORKED, f"nimg={nimg}")
        return train_tiny(experiment, *more, where=where)

    train("broken", 24)
    same_checkpoints(train("whole", 40), train("broken", 40))
