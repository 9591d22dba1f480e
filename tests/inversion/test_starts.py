"""Starts, schedules and the spaces that codes move in."""

import math

import pytest
import torch

from idinvert.errors import ConfigError
from idinvert.inversion.initialization import start_codes
from idinvert.inversion.loop import Descent
from idinvert.inversion.optimizers import SCHEDULES

IDS = torch.arange(300)


def start(world, init, *, space="w_plus", ids=IDS, seed=0):
    like = torch.zeros(len(IDS) if ids is None else len(ids), 1, dtype=torch.float64)
    return start_codes(init, space=space, generator=world.generator, ids=ids, seed=seed, like=like)


@pytest.mark.parametrize("init", ["random", "normal", "uniform"])
def test_a_draw_belongs_to_seed_and_id(world, init):
    together, other = start(world, init), start(world, init, seed=1)
    apart = start(world, init, ids=torch.tensor([7, 3]))
    torch.testing.assert_close(apart, together[[7, 3]], rtol=1e-12, atol=0)
    assert not torch.isclose(together, other).all((1, 2)).any()
    assert len({tuple(row.flatten().tolist()) for row in together}) == len(IDS)


def test_distributions(world):
    normal, uniform = start(world, "normal"), start(world, "uniform")
    assert abs(normal.mean()) < 0.05 and abs(normal.std() - 1) < 0.05
    assert uniform.abs().max() <= 1 and abs(uniform.std() - 1 / math.sqrt(3)) < 0.03
    assert not torch.equal(normal[:, 0], normal[:, 1])
    assert torch.equal(start(world, "mean", ids=None)[4], world.generator.w_avg)


def test_one_code_for_all_layers(world):
    for init in ("mean", "random", "normal", "uniform"):
        assert start(world, init, space="w").shape == (300, 1, 5)
    torch.testing.assert_close(
        start(world, "random", space="w")[:, 0], start(world, "random")[:, 2]
    )
    assert abs(start(world, "normal", space="w").std() - 1) < 0.08, "averaged over layers"


def test_ramps_are_the_projectors():
    ramps, cosine = SCHEDULES["ramps"], SCHEDULES["cosine"]
    assert [ramps(t) for t in (0.0, 0.025, 0.05, 0.5, 0.75)] == pytest.approx([0, 0.5, 1, 1, 1])
    assert ramps(0.875) == pytest.approx(0.5) and ramps(1.0) == pytest.approx(0)
    assert [cosine(t) for t in (0.0, 0.5, 1.0)] == pytest.approx([1, 0.5, 0])
    assert SCHEDULES["constant"] is None
    halves = [SCHEDULES["halvings"](step / 3000) for step in (0, 799, 800, 1200, 1799, 1800, 2999)]
    assert halves == [1, 1, 0.5, 0.25, 0.25, 0.125, 0.125]


def test_descent_settings_are_plain_and_values_are_checked():
    import json

    settings = Descent(steps=3, lr=0.1, betas=(0.9, 0.99), early_stop=5).settings
    assert json.loads(json.dumps(settings)) == {
        "steps": 3, "optimizer": "adam", "lr": 0.1, "betas": [0.9, 0.99], "schedule": "constant",
        "early_stop": 5, "early_stop_gain": 0.01, "keep_best": True,
    }  # fmt: skip
    for wrong, key in (({"steps": -1}, "steps=-1"), ({"lr": 0.0}, "lr=0")):
        with pytest.raises(ConfigError, match=key):
            Descent(**({"steps": 1, "lr": 0.1} | wrong))
