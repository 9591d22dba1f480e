"""The count of images travels with the state; random streams follow from it alone."""

import itertools

import torch
from torch import nn

from idinvert.training.clock import ImageClock, random_stream


def test_the_count_travels_in_the_state_dict() -> None:
    here, there = nn.Sequential(ImageClock()), nn.Sequential(ImageClock())
    here[0].nimg = 14_000_000
    there.load_state_dict(here.state_dict())
    assert there[0].nimg == 14_000_000


def test_a_stream_is_a_function_of_its_arguments() -> None:
    place = dict(purpose="gan", seed=3, nimg=640, rank=1)
    first = torch.rand(8, generator=random_stream(**place))
    assert torch.equal(first, torch.rand(8, generator=random_stream(**place)))


def test_streams_of_other_purposes_seeds_places_and_ranks_share_nothing() -> None:
    places = [
        dict(purpose=purpose, seed=seed, nimg=nimg, rank=rank)
        for purpose in ("gan", "mirror")
        for seed in (0, 1, 11)
        for nimg in (0, 1, 32)
        for rank in (0, 1)
    ]
    draws = [torch.rand(64, generator=random_stream(**place)) for place in places]
    for one, other in itertools.combinations(draws, 2):
        assert (one == other).sum() <= 1


def test_a_stream_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    torch.rand(4, generator=random_stream(purpose="gan", seed=0, nimg=0))
    assert torch.equal(before, torch.get_rng_state())
