"""Adaptive augmentation: p follows the sign of D and travels in checkpoints; wrong is refused."""

from typing import Any

import pytest
import torch
from torch import Tensor

from idinvert.errors import ConfigError
from idinvert.training.augment import AdaptiveAugment
from idinvert.training.clock import random_stream


def made(**settings: Any) -> AdaptiveAugment:
    return AdaptiveAugment(**({"resolution": 8} | settings))


def augmented(augment: AdaptiveAugment, x: Tensor, *, nimg: int = 0, rank: int = 0) -> Tensor:
    rng = random_stream(purpose="augment", seed=0, nimg=nimg, rank=rank)
    return augment(x, augment.draw(len(x), rng=rng))


@pytest.fixture
def x():
    return torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_p_zero_gives_the_images_back_bit_for_bit(x):
    assert torch.equal(augmented(made(), x), x)
    plan = made(p=0.0).draw(6, rng=torch.Generator().manual_seed(0))
    assert torch.equal(made(p=1.0).augmenter(x, plan), x)  # where nothing falls, nothing changes


def test_draws_follow_from_seed_images_seen_and_rank_alone(x):
    augment = made(p=1.0)
    assert torch.equal(augmented(augment, x), augmented(augment, x))
    assert not torch.equal(augmented(augment, x), augmented(augment, x, nimg=6))
    assert not torch.equal(augmented(augment, x), augmented(augment, x, rank=1))


def test_p_follows_the_rule():
    rng = torch.Generator().manual_seed(4)
    signs = torch.rand(60, generator=rng) * 2 - 1
    signs[:20] = 1.0  # up to the top
    signs[20:44] = -1.0  # and down to the bottom
    augment = made(p=0.5, target=0.2, ramp_nimg=200, every=3)
    p, window = 0.5, []
    seen = set()
    for sign in signs:
        augment.follow(sign, step_images=8)
        window.append(float(sign))
        if len(window) == 3:
            mean = sum(window) / 3
            p += 3 * 8 / 200 if mean > 0.2 else -3 * 8 / 200
            p = 1.0 if p > 1 else 0.0 if p < 0 else p
            window = []
        assert augment.p == pytest.approx(p, abs=1e-12)
        seen.add(round(p, 6))
    assert {0.0, 1.0} < seen


def test_p_rises_from_zero_to_one_in_the_images_of_the_paper():
    augment = made()
    steps = 0
    while augment.p < 1:
        augment.follow(torch.ones(()), step_images=1000)
        steps += 1
    assert steps == 500
    augment = made(target=1.0)
    for _ in range(8):
        augment.follow(torch.ones(()), step_images=1000)
    assert augment.p == 0.0  # on the target


def test_a_fixed_p_stays():
    augment = made(p=0.3, target=None)
    for _ in range(20):
        augment.follow(torch.ones(()), step_images=100_000)
    assert augment.p == 0.3


def test_its_state_travels_and_goes_on_in_the_middle_of_a_window():
    one = made(ramp_nimg=100)
    for sign in (1.0, 1.0, 1.0, 0.5, 0.9, 0.1):
        one.follow(torch.tensor(sign), step_images=4)
    other = made(ramp_nimg=100)
    assert set(one.state_dict()) == {"_extra_state"}  # its filters are constants
    other.load_state_dict(one.state_dict())
    for augment in (one, other):
        augment.follow(torch.tensor(0.8), step_images=4)
        augment.follow(torch.tensor(0.7), step_images=4)
    assert one.p == other.p == pytest.approx(16 / 100 + 16 / 100 * (1 if 2.5 / 4 > 0.6 else -1))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"p": 1.5}, r"got augment\.p=1\.5, expected a number, from 0 to 1; change augment\.p"),
        ({"p": "half"}, r"got augment\.p='half'"),
        ({"p": float("nan")}, r"augment\.p=nan"),
        ({"target": 2}, r"augment\.target=2, expected a number, from -1 to 1"),
        ({"ramp_nimg": 0}, r"augment\.ramp_nimg=0, expected a number, at least 1"),
        ({"every": 2.5}, r"augment\.every=2\.5, expected a whole number"),
        ({"every": True}, r"augment\.every=True"),
        ({"pipe": "bx"}, r"augment\.pipe='bx'.*'bgc'.*augment=none"),
        ({"pipe": ""}, r"augment\.pipe=''"),
        ({"pipe": None}, r"augment\.pipe=None"),
    ],
)
def test_what_is_out_of_range_is_refused(wrong, words):
    with pytest.raises(ConfigError, match=words):
        made(**wrong)
