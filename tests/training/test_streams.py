"""Random streams follow from images seen; what each rank draws, of its own or as one would."""

import itertools
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from idinvert.training.callbacks.stop import cluster_plugins
from idinvert.training.clock import random_stream
from idinvert.training.conventional import ConventionalTraining
from idinvert.training.objective import ImageClock, random_flip
from idinvert.training.schedules import Constant

from .tiny import tiny_encoder, tiny_generator

SLURM = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_JOB_NAME": "train"}


def codes_of_rank(rank, *, world, count, nimg=0):
    """What a rank of the conventional encoder's training samples at some images."""
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


def test_ranks_of_the_conventional_encoder_share_what_one_would_draw():
    whole = codes_of_rank(0, world=1, count=4)
    parts = [codes_of_rank(rank, world=2, count=2) for rank in (0, 1)]
    torch.testing.assert_close(torch.cat(parts), whole)
    assert not torch.equal(parts[0], parts[1])
    assert not torch.equal(codes_of_rank(0, world=2, count=2, nimg=4), parts[0])


def flipped(images: Tensor, result: Tensor) -> Tensor:
    """Which images came back flipped; every image must be itself or its mirror image."""
    same = (result == images).flatten(1).all(1)
    mirrored = (result == images.flip(-1)).flatten(1).all(1)
    assert bool((same ^ mirrored).all())
    return mirrored


def numbered(count: int) -> Tensor:
    return torch.arange(count * 3 * 2 * 2, dtype=torch.float32).view(count, 3, 2, 2)


def test_about_half_of_the_images_are_flipped():
    images = numbered(2000)
    result = random_flip(images, seed=0, nimg=0, rank=0, world_size=1)
    share = flipped(images, result).double().mean().item()
    assert abs(share - 0.5) < 0.05


def test_two_ranks_flip_what_one_would():
    images = numbered(16)
    alone = random_flip(images, seed=4, nimg=320, rank=0, world_size=1)
    together = [
        random_flip(images[8 * rank :][:8], seed=4, nimg=320, rank=rank, world_size=2)
        for rank in range(2)
    ]
    assert torch.equal(alone, torch.cat(together))
    thrown = [flipped(images[8 * rank :][:8], part) for rank, part in enumerate(together)]
    assert not torch.equal(*thrown)


def test_other_places_and_seeds_flip_others():
    images = numbered(64)
    base = random_flip(images, seed=0, nimg=0, rank=0, world_size=1)
    for seed, nimg in ((1, 0), (0, 64)):
        other = random_flip(images, seed=seed, nimg=nimg, rank=0, world_size=1)
        assert not torch.equal(base, other)


def test_the_count_travels_in_the_state_dict():
    here, there = nn.Sequential(ImageClock()), nn.Sequential(ImageClock())
    here[0].nimg = 14_000_000
    there.load_state_dict(here.state_dict())
    assert there[0].nimg == 14_000_000


def test_a_stream_is_a_function_of_its_arguments():
    place = dict(purpose="gan", seed=3, nimg=640, rank=1)
    first = torch.rand(8, generator=random_stream(**place))
    assert torch.equal(first, torch.rand(8, generator=random_stream(**place)))


def test_streams_of_other_purposes_seeds_places_and_ranks_share_nothing():
    places = [
        dict(purpose=purpose, seed=seed, nimg=nimg, rank=rank)
        for purpose in ("gan", "mirror")
        for seed in (0, 1, 11)
        for nimg in (0, 1, 32)
        for rank in range(4)
    ]
    draws = [torch.rand(64, generator=random_stream(**place)) for place in places]
    for one, other in itertools.combinations(draws, 2):
        assert (one == other).sum() <= 1


def test_a_stream_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    torch.rand(4, generator=random_stream(purpose="gan", seed=0, nimg=0))
    assert torch.equal(before, torch.get_rng_state())


def test_lightning_never_queues_a_slurm_job_again(monkeypatch):
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    assert cluster_plugins() == []
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    (environment,) = cluster_plugins()
    assert environment.auto_requeue is False  # type: ignore[attr-defined]
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert cluster_plugins() == []
