"""Flips: half of the images, the same ones however many ranks there are."""

import torch
from torch import Tensor

from idinvert.training.steps import random_flip


def flipped(images: Tensor, result: Tensor) -> Tensor:
    """Which images came back flipped; every image must be itself or its mirror image."""
    same = (result == images).flatten(1).all(1)
    mirrored = (result == images.flip(-1)).flatten(1).all(1)
    assert bool((same ^ mirrored).all())
    return mirrored


def numbered(count: int) -> Tensor:
    return torch.arange(count * 3 * 2 * 2, dtype=torch.float32).view(count, 3, 2, 2)


def test_about_half_of_the_images_are_flipped() -> None:
    images = numbered(2000)
    result = random_flip(images, seed=0, nimg=0, rank=0, world_size=1)
    share = flipped(images, result).double().mean().item()
    assert abs(share - 0.5) < 0.05


def test_two_ranks_flip_what_one_would() -> None:
    images = numbered(16)
    alone = random_flip(images, seed=4, nimg=320, rank=0, world_size=1)
    together = [
        random_flip(images[8 * rank :][:8], seed=4, nimg=320, rank=rank, world_size=2)
        for rank in range(2)
    ]
    assert torch.equal(alone, torch.cat(together))


def test_other_places_and_seeds_flip_others() -> None:
    images = numbered(64)
    base = random_flip(images, seed=0, nimg=0, rank=0, world_size=1)
    for seed, nimg in ((1, 0), (0, 64)):
        other = random_flip(images, seed=seed, nimg=nimg, rank=0, world_size=1)
        assert not torch.equal(base, other)
