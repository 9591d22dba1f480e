"""The optimisation loop on objectives whose answer is known."""

import pytest
import torch

from idinvert.inversion import optimizers, working_set
from idinvert.inversion.working_set import at

from .conftest import optimise


def as_images(v):
    return v[:, :, None, None]


def quadratic(target):
    return lambda rows, images, v: {"q": (v - at(target, rows)).square().mean(1)}


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


def test_schedule_scales_the_learning_rate(monkeypatch):
    monkeypatch.setitem(optimizers.SCHEDULES, "half", lambda t: 1.0 if t < 0.5 else 0.0)
    target = torch.ones(1, 1, dtype=torch.float64) * 100
    found = optimise(
        start=[torch.zeros(1, 1, dtype=torch.float64)], synthesise=as_images,
        objective=quadratic(target), steps=4, lr=1.0,
        schedule="half", keep_best=False,
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


def test_early_stop_freezes_each_image_on_its_own():
    """One image gains to the end, one not at all, one until it has arrived."""
    target = torch.tensor([[9.0], [0.0], [0.35]], dtype=torch.float64)
    start = torch.zeros(3, 1, dtype=torch.float64)
    calls = []
    kw = dict(synthesise=as_images, steps=20, lr=0.1, early_stop=3, early_stop_gain=0.001)
    found = optimise(
        start=[start], objective=quadratic(target), progress=lambda *a: calls.append(a), **kw
    )
    free = optimise(
        start=[start], objective=quadratic(target), synthesise=as_images, steps=20, lr=0.1
    )
    torch.testing.assert_close(found.losses[:, 0], free.losses[:, 0], rtol=1e-12, atol=0)
    # At its optimum from the start: frozen after three more looks, at step 0.
    assert found.best_step[1] == 0 and torch.equal(found.losses[4:, 1], torch.zeros(17).double())
    # Arrived near step 4, overshoots: three looks without a gain, then its best row is repeated.
    best = int(free.losses[:8, 2].argmin())
    assert found.best_step[2] == best
    torch.testing.assert_close(found.losses[: best + 4, 2], free.losses[: best + 4, 2])
    torch.testing.assert_close(found.losses[best + 4 :, 2], free.losses[best, 2].expand(17 - best))
    torch.testing.assert_close((found.variables[0][2] - 0.35).square()[0], free.losses[best, 2])
    assert calls[-1] == (20, 20)
    for n in range(3):
        alone = optimise(start=[start[n : n + 1]], objective=quadratic(target[n : n + 1]), **kw)
        torch.testing.assert_close(alone.losses[:, 0], found.losses[:, n], rtol=1e-12, atol=0)
        torch.testing.assert_close(alone.variables[0][0], found.variables[0][n], rtol=1e-12, atol=0)
        assert alone.best_step[0] == found.best_step[n]


def test_when_all_have_stopped_nothing_is_computed_any_more():
    looks, calls = [], []

    def objective(images, v):
        looks.append(1)
        return {"a": 0 * v.square().mean(1) + 2, "b": v.square().mean(1) * 0}

    found = optimise(
        start=[torch.ones(2, 1)], synthesise=as_images, objective=objective, steps=50, lr=0.1,
        early_stop=4, progress=lambda *a: calls.append(a),
    )  # fmt: skip
    assert len(looks) == 5 and found.losses.shape == (51, 2) and calls[-1] == (50, 50)
    assert torch.equal(found.terms["a"], torch.full((51, 2), 2.0))
    assert not found.terms["b"].any()


def test_without_keep_best_an_early_stop_keeps_the_last():
    target = torch.full((1, 1), 0.15)
    found = optimise(
        start=[torch.zeros(1, 1)], synthesise=as_images, objective=quadratic(target),
        steps=9, lr=0.1, early_stop=2, early_stop_gain=0.0, keep_best=False,
    )  # fmt: skip
    last = int(found.best_step[0])
    assert last < 9 and found.losses[last, 0] > found.losses[:, 0].min()
    torch.testing.assert_close(found.losses[last:, 0], found.losses[last, 0].expand(10 - last))
    torch.testing.assert_close((found.variables[0] - target).square()[0], found.losses[-1])


def test_perturb_is_what_is_seen_and_kept_and_knows_where_it_is():
    """v goes down its own path; what is looked at, and kept, is v + 1 until the last look."""
    target = torch.tensor([[5.0]], dtype=torch.float64)
    seen, at = [], []

    def perturb(t, v):
        at.append(t)
        return [v + (1.0 if t < 1 else 0.0)]

    kw = dict(
        start=[torch.zeros(1, 1, dtype=torch.float64)],
        synthesise=lambda v: (seen.append(v.item()), as_images(v))[1],
        objective=quadratic(target), steps=4, lr=0.1, perturb=perturb,
    )  # fmt: skip
    last = optimise(**kw, keep_best=False)
    assert at == [0, 0.25, 0.5, 0.75, 1.0]
    assert seen == pytest.approx([1.0, 1.1, 1.2, 1.3, 0.4], abs=1e-3)
    assert last.variables[0].item() == pytest.approx(0.4, abs=1e-3)
    best = optimise(**kw)
    assert best.best_step.tolist() == [3]
    assert best.variables[0].item() == pytest.approx(1.3, abs=1e-3)
    torch.testing.assert_close((best.variables[0] - target).square()[0], best.losses[3])


def test_project_is_applied_after_every_step():
    found = optimise(
        start=[torch.zeros(1, 1), torch.zeros(1, 1)],
        synthesise=lambda a, b: as_images(a + b),
        objective=lambda images, a, b: {"q": ((a - 5).square() + (b - 5).square()).mean(1)},
        steps=3, lr=1.0, project=lambda a, b: (a.clamp(max=0.5), b),
    )  # fmt: skip
    assert found.variables[0].item() == 0.5
    assert found.variables[1].item() == pytest.approx(3.0, abs=0.05)


def test_a_frozen_image_shows_its_kept_row_whatever_its_batch_mates_do():
    """The noise that batch mates still see does not enter the rows of one that has stopped."""
    target = torch.tensor([[0.0], [9.0]], dtype=torch.float64)
    start = torch.zeros(2, 1, dtype=torch.float64)
    kw = dict(
        synthesise=as_images, steps=12, lr=0.1, early_stop=2, early_stop_gain=0.0, keep_best=False,
        perturb=lambda t, v: [v + (1 - t)],
    )  # fmt: skip
    both = optimise(start=[start], objective=quadratic(target), **kw)
    alone = optimise(start=[start[:1]], objective=quadratic(target[:1]), **kw)
    stop = int(both.best_step[0])
    assert 1 < stop < 12 and both.best_step[1] == 12
    assert torch.equal(both.losses[stop:, 0], both.losses[stop, 0].expand(13 - stop))
    assert torch.equal(alone.losses[:, 0], both.losses[:, 0])
    assert torch.equal(alone.terms["q"][:, 0], both.terms["q"][:, 0])


def stopping(images=23, **changes):
    """Images that stop after different steps, one that breaks, one that gains to the end."""
    far = torch.linspace(0.02, 1.2, images, dtype=torch.float64)[torch.randperm(
        images, generator=torch.Generator().manual_seed(0)
    )][:, None]  # fmt: skip
    far[4], wall = 9.0, torch.full_like(far, 99.0)
    wall[7] = far[7] / 2

    def objective(rows, images, v):
        broken = 0 * (at(wall, rows) - v).log()
        return {"q": ((v - at(far, rows)).square() + broken).mean(1), "none": 0 * v[:, 0]}

    start = torch.zeros(images, 1, dtype=torch.float64)
    kw = dict(steps=25, lr=0.1, early_stop=3, early_stop_gain=0.001, start=[start])
    return kw | dict(synthesise=as_images, objective=objective) | changes


def check_same(one, other, **near):
    for name in ("images", "start_images", "losses", "best_step", "failed"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), **near, equal_nan=True)
    for name in ("variables", "terms"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), **near, equal_nan=True)


@pytest.mark.parametrize("optimizer", optimizers.PLAIN)
@pytest.mark.parametrize("keep_best", [True, False])
def test_results_do_not_depend_on_the_slots(optimizer, keep_best):
    lr = 0.4 if optimizer == "sgd" else 0.1
    for more in ({}, {"early_stop": None}, {"schedule": "cosine"}, {"steps": 0}):
        given = stopping(optimizer=optimizer, keep_best=keep_best, lr=lr, **more)
        whole = optimise(**given)
        assert whole.failed.sum() == (more.get("steps") != 0)
        for slots in (1, 2, 9, 22, 40):
            check_same(optimise(slots=slots, **given), whole, rtol=1e-12, atol=1e-15)


def test_nothing_is_computed_for_images_that_have_stopped():
    """Each image is evaluated until it has ended, and the slots are full while images wait."""
    sizes, calls = [], []
    given = stopping(progress=lambda done, steps: calls.append(done))
    objective = given.pop("objective")
    found = optimise(
        slots=8, objective=lambda rows, *v: (sizes.append(len(rows)), objective(rows, *v))[1],
        **given,
    )  # fmt: skip
    alone = 0
    for n in range(23):
        one = {**given, "start": [given["start"][0][n : n + 1]], "progress": None}
        looks = []
        optimise(**one, objective=lambda rows, images, v, n=n, looks=looks: (
            looks.append(1), objective(torch.tensor([n]), images, v))[1])  # fmt: skip
        alone += len(looks)
    assert sum(sizes) == alone < 23 * 26 / 2
    assert found.failed.sum() == 1 and sizes[0] == 8 and sizes == sorted(sizes, reverse=True)
    assert calls == sorted(set(calls)) and calls[-1] == 25 and calls[0] >= 1


def test_the_slots_change_in_eighths():
    sizes = []
    given = stopping(images=200)
    objective = given.pop("objective")
    optimise(
        slots=40, objective=lambda rows, *v: (sizes.append(len(rows)), objective(rows, *v))[1],
        **given,
    )  # fmt: skip
    waiting = len(sizes) - sizes[::-1].index(40)
    assert max(sizes) == 40 and min(sizes[:waiting]) > 40 - 40 // working_set.PARTS
    work = working_set.WorkingSet(None, images=200, slots=42, cuda_graphs=False)
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    rooms = [(work._room(count, on=gpu), work._room(count, on=cpu)) for count in (1, 5, 6, 41, 42)]
    assert rooms == [(5, 1), (5, 5), (10, 6), (42, 41), (42, 42)], "few shapes on a GPU"


def test_rows_that_fill_up_the_last_part_change_nothing(monkeypatch):
    """As on a GPU: an image stands in for those that have left."""
    room = working_set.WorkingSet._room
    given = stopping()
    whole = optimise(**given)
    monkeypatch.setattr(
        working_set.WorkingSet, "_room", lambda self, n, on: room(self, n, on=torch.device("cuda"))
    )
    check_same(optimise(slots=17, **given), whole, rtol=1e-12, atol=1e-15)


def test_all_at_once_are_computed_as_they_lie():
    """Without an early stop no row is ever picked, so a batch is what it always was."""
    seen = []
    given = stopping(early_stop=None)
    objective = given.pop("objective")
    optimise(objective=lambda rows, *v: (seen.append(rows), objective(rows, *v))[1], **given)
    assert seen == [None] * 26
