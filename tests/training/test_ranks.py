"""What each rank draws: slices of what one process would, or numbers of its own, never the same."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from idinvert.training.callbacks.stop import cluster_plugins
from idinvert.training.clock import random_stream
from idinvert.training.conventional import ConventionalTraining
from idinvert.training.schedules import Constant
from idinvert.training.steps import random_flip

SLURM = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_JOB_NAME": "train"}


@pytest.fixture
def codes_of_rank(
    tiny_generator: Callable[..., Any], tiny_encoder: Callable[..., Any]
) -> Callable[..., Tensor]:
    """What a rank of the conventional encoder's training samples at some images."""

    def draw(rank: int, *, world: int, count: int, nimg: int = 0) -> Tensor:
        module = ConventionalTraining(
            generator=tiny_generator(),
            encoder=tiny_encoder(),
            lr=1e-3,
            betas=(0.9, 0.99),
            schedule=Constant(),
            seed=3,
        )
        module._trainer = SimpleNamespace(world_size=world, global_rank=rank)  # type: ignore
        module._fabric = None
        strategy = SimpleNamespace(global_rank=rank)
        module._trainer.strategy = strategy  # type: ignore
        module.clock.nimg = nimg
        return module.sample_codes(count)

    return draw


def test_ranks_of_the_conventional_encoder_share_what_one_would_draw(
    codes_of_rank: Callable[..., Tensor],
) -> None:
    whole = codes_of_rank(0, world=1, count=4)
    parts = [codes_of_rank(rank, world=2, count=2) for rank in (0, 1)]
    torch.testing.assert_close(torch.cat(parts), whole)
    assert not torch.equal(parts[0], parts[1])
    assert not torch.equal(codes_of_rank(0, world=2, count=2, nimg=4), parts[0])


def test_ranks_share_the_flips_that_one_would_throw() -> None:
    images = torch.arange(8 * 3 * 2 * 2, dtype=torch.float32).view(8, 3, 2, 2)
    thrown = dict(seed=1, nimg=0)
    whole = random_flip(images, rank=0, world_size=1, **thrown)
    parts = [
        random_flip(half, rank=rank, world_size=2, **thrown)
        for rank, half in enumerate(images.split(4))
    ]
    assert torch.equal(torch.cat(parts), whole)
    flipped = [
        (part != half).flatten(1).any(1) for part, half in zip(parts, images.split(4), strict=True)
    ]
    assert not torch.equal(flipped[0], flipped[1])


@pytest.mark.parametrize("purpose", ["gan", "image noise"])
def test_what_ranks_draw_for_themselves_differs_and_comes_back(purpose: str) -> None:
    def draw(rank: int, nimg: int) -> Tensor:
        stream = random_stream(purpose=purpose, seed=0, nimg=nimg, rank=rank)
        return torch.randn(16, generator=stream)

    drawn = [draw(rank, nimg) for rank in range(4) for nimg in (0, 32)]
    for i, one in enumerate(drawn):
        assert not any(torch.equal(one, other) for other in drawn[i + 1 :])
    assert torch.equal(draw(3, 32), drawn[-1])


def test_lightning_never_queues_a_slurm_job_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    assert cluster_plugins() == []
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    (environment,) = cluster_plugins()
    assert environment.auto_requeue is False  # type: ignore[attr-defined]
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert cluster_plugins() == []
