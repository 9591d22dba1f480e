"""The loop's optimisers: known answers, a literal reference, images kept apart."""

import inspect

import pytest
import torch
from hydra.utils import get_object

from idinvert.config.compose import compose_plain, config_dir
from idinvert.config.instantiate import build
from idinvert.errors import ConfigError
from idinvert.inversion.loop import Descent
from idinvert.inversion.optimizers import OPTIMIZERS, PLAIN

from .conftest import optimise

METHODS = sorted(path.stem for path in (config_dir() / "inversion").glob("*.yaml"))


def as_images(v):
    return v[:, :, None, None]


def quadratic(curvatures, target):
    return lambda images, v: {"q": (curvatures * (v - target).square()).sum(1)}


def valley(images, v):
    """Rosenbrock's function in five variables: curved, badly conditioned, not convex."""
    steep = 20 * (v[:, 1:] - v[:, :-1].square()).square()
    return {"steep": steep.sum(1), "flat": (1 - v[:, :-1]).square().sum(1)}


def starts(n, numbers=5):
    rng = torch.Generator().manual_seed(3)
    return torch.randn(n, numbers, generator=rng, dtype=torch.float64)


def test_lbfgs_solves_what_adam_cannot():
    """Curvatures from 0.01 to 100, another set for each image."""
    rng = torch.Generator().manual_seed(0)
    curvatures = 10 ** (4 * torch.rand(4, 8, generator=rng, dtype=torch.float64) - 2)
    target = torch.randn(4, 8, generator=rng, dtype=torch.float64)
    kw = dict(
        start=[torch.zeros(4, 8, dtype=torch.float64)], synthesise=as_images,
        objective=quadratic(curvatures, target), steps=60, lr=0.01,
    )  # fmt: skip
    found = optimise(**kw, optimizer="lbfgs")
    torch.testing.assert_close(found.variables[0], target, rtol=1e-5, atol=1e-6)
    assert (found.losses.min(0).values < 1e-6 * optimise(**kw).losses.min(0).values).all()


def reference(start, steps, *, lr):
    """BFGS with dense matrices for one image, Alg. 7.4 multiplied out; the losses it looks at."""
    eye = torch.eye(5, dtype=torch.float64)

    def look(v):
        v = v.clone().requires_grad_()
        loss = sum(valley(None, v[None]).values()).sum()
        return loss.item(), torch.autograd.grad(loss, v)[0]

    base, pairs, length = start, [], 1.0
    loss, slope = look(base)
    scale, seen = lr * 5**0.5 / slope.norm(), [loss]
    direction = -scale * slope
    for _ in range(steps):
        trial = base + length * direction
        new, there = look(trial)
        seen.append(new)
        s, y = trial - base, there - slope
        if new <= loss + 1e-4 * (slope @ s):
            if s @ y > 1e-10 * (y @ y):
                pairs, scale = [*pairs, (s, y)][-10:], (s @ y) / (y @ y)
            base, loss, slope, length = trial, new, there, 1.0
            inverse = scale * eye
            for s, y in pairs:
                v = eye - torch.outer(y, s) / (y @ s)
                inverse = v.T @ inverse @ v + torch.outer(s, s) / (y @ s)
            direction = -inverse @ slope
        else:
            least = -(slope @ s) / (2 * (new - loss - slope @ s))
            length *= min(max(least.item(), 0.1), 0.5)
    return base, torch.tensor(seen, dtype=torch.float64)


def test_lbfgs_equals_bfgs_with_dense_matrices():
    start = starts(6)
    found = optimise(
        start=[start], synthesise=as_images, objective=valley, steps=25, lr=0.1, optimizer="lbfgs"
    )
    rejected = 0
    for n in range(6):
        base, seen = reference(start[n], 25, lr=0.1)
        torch.testing.assert_close(found.losses[:, n], seen, rtol=1e-5, atol=1e-10)
        torch.testing.assert_close(found.variables[0][n], base, rtol=1e-4, atol=1e-5)
        rejected += int((seen[1:] > seen.cummin(0).values[:-1]).sum())
    assert rejected > 3, "no step was shortened"


def test_a_variable_of_many_parts_moves_as_one():
    """Two variables are one row of numbers: the path is that of their concatenation."""
    start = starts(3)
    kw = dict(steps=15, lr=0.1, optimizer="lbfgs")
    whole = optimise(start=[start], synthesise=as_images, objective=valley, **kw)
    parts = optimise(
        start=[start[:, :2].reshape(3, 2, 1), start[:, 2:]],
        synthesise=lambda a, b: as_images(torch.cat([a[..., 0], b], 1)),
        objective=lambda images, a, b: valley(images, torch.cat([a[..., 0], b], 1)), **kw,
    )  # fmt: skip
    torch.testing.assert_close(parts.losses, whole.losses, rtol=1e-10, atol=0)
    assert parts.variables[0].shape == (3, 2, 1)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_images_do_not_influence_one_another(optimizer):
    """One of them breaks, one has arrived: both are frozen, and the others go on as if alone."""

    def objective(images, v, brittle):
        breaks = (brittle[:, 0] > 0) & (v[:, 0] < 2.99)
        return {**valley(images, v), "wall": torch.where(breaks, torch.nan, 0 * brittle[:, 0])}

    start, brittle = starts(6), torch.zeros(6, 1, dtype=torch.float64)
    start[2], start[4], brittle[2] = 3.0, 1.0, 1.0
    kw = dict(
        synthesise=lambda v, brittle: as_images(v), objective=objective, steps=20,
        lr=0.0005 if optimizer == "sgd" else 0.05, optimizer=optimizer, early_stop=15,
        early_stop_gain=0.0,
    )  # fmt: skip
    together = optimise(start=[start, brittle], **kw)
    assert together.failed.tolist() == [False, False, True, False, False, False]
    assert torch.equal(together.variables[0][4], start[4])
    for n in (0, 1, 3, 4, 5):
        alone = optimise(start=[start[n : n + 1], brittle[n : n + 1]], **kw)
        torch.testing.assert_close(alone.losses[:, 0], together.losses[:, n], rtol=1e-8, atol=0)
        torch.testing.assert_close(
            alone.variables[0][0], together.variables[0][n], rtol=1e-8, atol=0
        )
        assert alone.best_step[0] == together.best_step[n]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_every_optimiser(world, method, optimizer):
    """Two steps each, alike under callers without gradients; what a record keeps names it."""
    node = compose_plain("evaluate", [f"inversion={method}"])["inversion"]
    if "optimizer" not in node:
        assert method == "encoder", "an optimising method without inversion.optimizer"
        return
    node |= {"optimizer": optimizer, "steps": 2, "lambda_vgg": 0.1}
    node |= {key: value for key, value in {"samples": 50, "layer": 2}.items() if key in node}
    asked = {"encoder": world.encoder, "perceptual": world.features, "latent": "w_plus"}
    takes = inspect.signature(get_object(node["_target_"])).parameters
    asked = {key: value for key, value in asked.items() if key in takes}
    if optimizer not in PLAIN and method in ("diffusion", "layers", "multi_code", "projector"):
        with pytest.raises(ConfigError, match=r"inversion\.optimizer"):
            build(node, key="inversion", **asked)
        return
    inverter = build(node, key="inversion", **asked)
    kw = dict(generator=world.generator, ids=torch.arange(6))
    found = inverter.invert(world.images, **kw)
    assert inverter.settings["optimizer"] == optimizer
    assert found.losses.isfinite().all() and found.losses.shape == (3, 6)
    assert not torch.equal(found.losses[0], found.losses[-1])
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            again = inverter.invert(world.images + 0, **kw)
        torch.testing.assert_close(again.codes, found.codes, rtol=1e-10, atol=1e-12)
        assert not again.codes.requires_grad and not again.images.requires_grad


def test_an_unknown_name_is_refused():
    with pytest.raises(ConfigError, match=r"inversion\.optimizer is 'lion'.*adam.*lbfgs"):
        Descent(steps=1, lr=0.1, optimizer="lion")
    for name in OPTIMIZERS:
        Descent(steps=1, lr=0.1, optimizer=name)
