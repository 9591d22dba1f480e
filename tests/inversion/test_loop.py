"""The optimisation loop on objectives whose answer is known."""

import pytest
import torch

from idinvert.inversion.loop import optimise


def as_images(v):
    return v[:, :, None, None]


def quadratic(target):
    return lambda images, v: {"q": (v - target).square().mean(1)}


def test_adam_path_equals_adam_written_out():
    target = torch.tensor([[1.0, -2.0], [0.3, 0.7]], dtype=torch.float64)
    start = torch.zeros(2, 2, dtype=torch.float64)
    found = optimise(
        start=[start], synthesise=as_images, objective=quadratic(target), steps=30, lr=0.05,
        betas=(0.8, 0.95), keep_best=False,
    )  # fmt: skip
    v, m, s = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    for t in range(1, 31):
        g = v - target  # d/dv mean of two squares
        m = 0.8 * m + 0.2 * g
        s = 0.95 * s + 0.05 * g * g
        v = v - 0.05 * (m / (1 - 0.8**t)) / ((s / (1 - 0.95**t)).sqrt() + 1e-8)
    torch.testing.assert_close(found.variables[0], v, rtol=1e-10, atol=1e-12)
    assert found.losses.shape == (31, 2)
    torch.testing.assert_close(found.losses[0], target.square().mean(1))
    assert torch.equal(start, torch.zeros(2, 2, dtype=torch.float64)), "the start was overwritten"


def test_schedule_scales_the_learning_rate():
    target = torch.ones(1, 1, dtype=torch.float64) * 100
    found = optimise(
        start=[torch.zeros(1, 1, dtype=torch.float64)], synthesise=as_images,
        objective=quadratic(target), steps=4, lr=1.0,
        schedule=lambda t: 1.0 if t < 0.5 else 0.0, keep_best=False,
    )  # fmt: skip
    # Adam's first steps are of size lr: two of 1, then two of 0.
    assert found.variables[0].item() == pytest.approx(2.0, rel=1e-3)


def test_keeps_the_best_iterate_of_each_image():
    # A step far too long: the image that starts at its optimum only gets worse.
    target = torch.tensor([[0.0], [5.0]], dtype=torch.float64)
    start = torch.tensor([[1e-3], [0.0]], dtype=torch.float64)
    kw = dict(start=[start], synthesise=as_images, objective=quadratic(target), steps=3, lr=1.0)
    best, last = optimise(**kw), optimise(**kw, keep_best=False)
    assert best.best_step.tolist() == [0, 3]
    torch.testing.assert_close(best.variables[0][0], start[0])
    torch.testing.assert_close(best.images[:, :, 0, 0], best.variables[0])
    torch.testing.assert_close(best.start_images[:, :, 0, 0], start)
    assert last.best_step.tolist() == [3, 3]
    assert abs(last.variables[0][0].item()) > 0.1
    assert torch.equal(best.losses, last.losses)


def test_nan_freezes_one_image_and_leaves_the_others_alone():
    target = torch.tensor([[3.0], [3.0], [-3.0]], dtype=torch.float64)

    def objective(images, v):  # the middle image breaks once it passes 0.25
        wall = torch.tensor([[9.0], [0.25], [9.0]], dtype=torch.float64)
        return {"q": ((v - target).square() + 0 * (wall - v).log()).mean(1)}

    start = torch.zeros(3, 1, dtype=torch.float64)
    kw = dict(synthesise=as_images, steps=12, lr=0.1)
    found = optimise(start=[start], objective=objective, **kw)
    alone = optimise(start=[start[::2]], objective=quadratic(target[::2]), **kw)
    assert found.failed.tolist() == [False, True, False]
    assert found.losses[3, 1].isnan() and found.best_step[1] == 2
    assert found.variables[0][1].item() == pytest.approx(0.2, abs=1e-3)
    torch.testing.assert_close(found.variables[0][::2], alone.variables[0], rtol=1e-12, atol=0)
    torch.testing.assert_close(found.losses[:, ::2], alone.losses, rtol=1e-12, atol=0)
    # Once frozen it stays where it was best.
    torch.testing.assert_close(found.losses[4:, 1], found.losses[2, 1].expand(9))


def test_nan_gradient_with_finite_loss_is_caught_too():
    def objective(images, v):  # sqrt has an infinite gradient at 0, times 0 is NaN
        return {"r": ((v * 0).abs().sqrt() + (v - 1).square()).mean(1)}

    found = optimise(
        start=[torch.zeros(1, 2, dtype=torch.float64)], synthesise=as_images,
        objective=objective, steps=3, lr=0.1,
    )  # fmt: skip
    assert found.failed.tolist() == [True]
    assert torch.equal(found.variables[0], torch.zeros(1, 2, dtype=torch.float64))


def test_several_variables_and_progress():
    calls = []
    found = optimise(
        start=[torch.zeros(2, 1), torch.zeros(2, 4)],
        synthesise=lambda a, b: (a + b)[:, :, None, None],
        objective=lambda images, a, b: {"x": (images - 1).square().mean((1, 2, 3))},
        steps=3,
        lr=0.1,
        progress=lambda done, steps: calls.append((done, steps)),
    )
    assert [tuple(v.shape) for v in found.variables] == [(2, 1), (2, 4)]
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_a_term_that_is_not_per_image_is_refused():
    with pytest.raises(ValueError, match="'q' has shape"):
        optimise(
            start=[torch.zeros(2, 1)], synthesise=as_images,
            objective=lambda images, v: {"q": v.square().mean()}, steps=1, lr=0.1,
        )  # fmt: skip
