"""Interventions by their definition, and ACE's gradient by finite differences."""

import math

import pytest
import torch

from idinvert.editing import units
from idinvert.networks.generator import SynthesisState
from idinvert.networks.segmenter import Segmenter
from idinvert.networks.stylegan import StyleGANGenerator
from idinvert.networks.stylegan2 import StyleGAN2Generator

SIZES = {"resolution": 8, "z_dim": 4, "w_dim": 4, "channels": [8, 8], "mapping_depth": 1}
KINDS = (StyleGANGenerator, StyleGAN2Generator)


def random_state(*shape: int) -> SynthesisState:
    torch.manual_seed(0)
    return SynthesisState(torch.randn(*shape, dtype=torch.float64), None, 1)


def test_units_are_moved_in_the_region_and_nothing_else():
    state = random_state(2, 3, 4, 4)
    alpha, value = torch.tensor([1.0, 0.0, 0.25]).double(), torch.tensor([5.0, 6.0, 7.0]).double()
    region = torch.zeros(2, 1, 4, 4).double()
    region[0, 0, 1, 2], region[1, 0, 3, 3] = 1.0, 0.5
    found = units.forced(state, alpha=alpha, value=value, region=region).features
    expected = state.features.clone()
    for n, y, x, share in ((0, 1, 2, 1.0), (1, 3, 3, 0.5)):
        for u in range(3):
            r = state.features[n, u, y, x]
            expected[n, u, y, x] = r + alpha[u] * share * (value[u] - r)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_a_region_is_the_share_of_each_place_that_the_mask_covers():
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :2, :3] = 1.0
    found = units.region_of(mask, random_state(1, 2, 4, 4))
    assert found.dtype == torch.float64 and found[0, 0, 0].tolist() == [1.0, 0.5, 0.0, 0.0]
    assert found.sum() == 1.5


def test_the_share_of_a_class_is_its_mean_probability_in_the_region():
    logits = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    region = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    region[..., 1:3, 2] = 1.0
    chance = logits.exp()[:, 1] / logits.exp().sum(1)
    torch.testing.assert_close(units.class_share(logits, 1, region), chance[:, 1:3, 2].mean(1))


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_the_objective_is_that_of_finite_differences(kind):
    torch.manual_seed(0)
    generator = kind(**SIZES).double().requires_grad_(False)
    network = Segmenter(resolution=8, classes=["a", "b"], width=8, deep=8).double()
    codes = generator.mapping(torch.randn(3, 4, dtype=torch.float64))
    state = generator.synthesis(codes, stop=2)
    area = torch.rand(3, 1, 8, 8, dtype=torch.float64)
    value = torch.randn(8, dtype=torch.float64)

    def score(one):
        return units.class_share(network(generator.synthesis(codes, resume=one)), 1, area)

    def objective(alpha):
        region = units.region_of(area, state)
        return units.causal_objective(
            alpha, state=state, value=value, region=region, score=score, penalty=0.005
        )

    alpha = torch.rand(8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(objective, (alpha,), eps=1e-5, atol=1e-7)
    zero = torch.zeros(8, dtype=torch.float64)
    assert objective(zero).item() == pytest.approx(0, abs=1e-12), "nothing moved, nothing caused"
    with torch.no_grad():
        lam = [
            units.causal_objective(
                alpha, state=state, value=value, region=units.region_of(area, state), score=score,
                penalty=penalty,
            )
            for penalty in (0.0, 1.0)
        ]  # fmt: skip
    assert (lam[1] - lam[0]).item() == pytest.approx(math.sqrt((alpha**2).sum().item()))


def test_alpha_stays_between_0_and_1_and_finds_the_unit_that_shows():
    state = random_state(4, 5, 2, 2)
    value = torch.ones(5, dtype=torch.float64)

    def batch(step):
        return {
            "state": state,
            "region": torch.ones(4, 1, 2, 2, dtype=torch.float64),
            "score": lambda one: one.features[:, 3].sigmoid().mean((1, 2)),
        }

    options = {"value": value, "penalty": 0.05, "steps": 60, "lr": 0.1}
    alpha, pull = units.causal_units(torch.full((5,), 0.5).double(), batch, **options)
    assert alpha.min() >= 0 and alpha.max() <= 1
    assert alpha.argmax() == 3 == pull.argmax() and alpha[3] == 1
    assert alpha[[0, 1, 2, 4]].max() < 0.05


def test_only_some_units():
    assert units.only(torch.tensor([3, 1]), 5).tolist() == [0, 1, 0, 1, 0]
