"""The one batched optimisation loop that every optimising method shares."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from idinvert.inversion.inversion import Progress

Synthesise = Callable[..., Tensor]
Objective = Callable[..., dict[str, Tensor]]
Schedule = Callable[[float], float]
Perturb = Callable[..., Sequence[Tensor]]
Project = Callable[..., Sequence[Tensor]]


@dataclass(frozen=True)
class Optimised:
    """Where the loop ended, for N images.

    Attributes:
        variables: the kept value of every variable, each [N, ...], detached.
        images: what `synthesise` gave for them, [N, 3, R, R].
        start_images: what it gave for the starting point, [N, 3, R, R].
        losses: total objective of every iterate, [steps + 1, N].
        terms: its weighted terms, each [steps + 1, N].
        best_step: the iterate that was kept, int64 [N].
        failed: True where an iterate was not finite, bool [N].

    From where an image was frozen (it failed, or stopped early), its rows of `losses` and `terms`
    repeat those of the iterate that was kept.
    """

    variables: tuple[Tensor, ...]
    images: Tensor
    start_images: Tensor
    losses: Tensor
    terms: dict[str, Tensor]
    best_step: Tensor
    failed: Tensor


@contextmanager
def gradients() -> Iterator[None]:
    """Turn gradients on, whatever the caller turned off: `no_grad` or `inference_mode`."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def plain(tensor: Tensor) -> Tensor:
    """A detached tensor that autograd may save: a copy where it was made in inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor.detach()


def optimise(
    *,
    start: Sequence[Tensor],
    synthesise: Synthesise,
    objective: Objective,
    steps: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    schedule: Schedule | None = None,
    keep_best: bool = True,
    early_stop: int | None = None,
    early_stop_gain: float = 0.01,
    perturb: Perturb | None = None,
    project: Project | None = None,
    progress: Progress | None = None,
) -> Optimised:
    """Minimise a per-image objective over per-image variables with Adam, N images at once.

    The losses are summed over images and Adam works element by element, so an image's path is the
    one it would take alone. An image whose objective leaves the finite numbers is frozen at its
    kept iterate and reported; one that gains no more is frozen there too; the others go on.
    Nothing but `start`'s copies gets a gradient.

    Args:
        start: the starting point of each variable, each float [N, ...].
        synthesise: called with the variables, gives images [N, 3, R, R].
        objective: called with (images, *variables), gives weighted terms by name, each [N].
        steps: how many Adam steps; the objective is evaluated steps + 1 times.
        lr: Adam's learning rate before `schedule`.
        betas, eps: Adam's other constants.
        schedule: factor on `lr` as a function of progress in [0, 1); None is constant.
        keep_best: keep every image's iterate of least total loss, otherwise the last one.
        early_stop: freeze an image after this many steps without a gain; None for never.
        early_stop_gain: the share of its loss that an image must have lost for that to be a gain.
        perturb: called with (progress in [0, 1], *variables) before each evaluation, gives what
            is evaluated, and kept, in their stead; progress 1 is the last look.
        project: called with the variables after each step, gives their new values.
        progress: called with (steps done, steps in all).

    Raises:
        ValueError: if `steps` is negative or the objective's terms are not [N].
    """
    if steps < 0:
        raise ValueError(f"steps is {steps}: expected 0 or more (inversion.steps)")
    with gradients():
        variables = [plain(v).clone().requires_grad_() for v in start]
        n, device = variables[0].shape[0], variables[0].device
        adam = torch.optim.Adam(variables, lr=lr, betas=(float(betas[0]), float(betas[1])), eps=eps)
        history: list[Tensor] = []  # each [1 + terms, N]: the total, then its terms
        failed = torch.zeros(n, dtype=torch.bool, device=device)
        frozen, idle = failed.clone(), torch.zeros(n, dtype=torch.int64, device=device)
        best_step = torch.zeros_like(idle)
        best = [v.detach().clone() for v in variables]

        for step in range(steps + 1):
            with torch.set_grad_enabled(step < steps):  # the last iterate is only looked at
                seen = variables if perturb is None else perturb(step / max(steps, 1), *variables)
                images = synthesise(*seen)
                terms = objective(images, *seen)
                loss = _total(terms, n)  # [N]
            with torch.no_grad():
                rows = torch.stack([loss, *terms.values()]).detach()
                if step == 0:
                    start_images = best_images = images.detach().clone()
                    least = milestone = torch.full_like(rows[0], torch.inf)
                    kept_rows = rows
                history.append(torch.where(frozen, kept_rows, rows))
                failed = failed | ~frozen & ~torch.isfinite(rows[0])
                frozen = frozen | failed
                kept = ~frozen & (rows[0] < least) if keep_best else ~frozen
                least = torch.where(kept, rows[0], least)
                kept_rows = torch.where(kept, rows, kept_rows)
                best_step = torch.where(kept, step, best_step)
                best_images = torch.where(_over(kept, images), images, best_images)
                for b, v in zip(best, seen, strict=True):
                    b.copy_(torch.where(_over(kept, v), v, b))
                if early_stop is not None:
                    gained = rows[0] < milestone * (1 - early_stop_gain)
                    milestone = torch.where(gained, rows[0], milestone)
                    idle = torch.where(gained, 0, idle + 1)
                    frozen = frozen | (idle >= early_stop)
            if step == steps or (early_stop is not None and bool(frozen.all())):
                break
            if schedule is not None:
                for group in adam.param_groups:
                    group["lr"] = lr * schedule(step / steps)
            # Summing keeps images apart: the gradient of image n's loss is zero elsewhere.
            grads = torch.autograd.grad(loss.sum(), variables)
            with torch.no_grad():
                for v, grad in zip(variables, grads, strict=True):
                    v.grad = torch.where(_over(frozen, grad), 0.0, grad)
                adam.step()
                moved = variables if project is None else project(*variables)
                for v, m, b in zip(variables, moved, best, strict=True):
                    v.copy_(torch.where(_over(frozen, v), b, m))
            if progress is not None:
                progress(step + 1, steps)

    if len(history) <= steps:  # all images stopped early
        history += [kept_rows] * (steps + 1 - len(history))
        if progress is not None:
            progress(steps, steps)
    table = torch.stack(history, dim=1)  # [1 + terms, steps + 1, N]
    return Optimised(
        variables=tuple(best),
        images=best_images,
        start_images=start_images,
        losses=table[0],
        terms={name: table[1 + k] for k, name in enumerate(terms)},
        best_step=best_step,
        failed=failed,
    )


def _total(terms: dict[str, Tensor], n: int) -> Tensor:
    """Add the terms up, image by image: [N]."""
    for name, term in terms.items():
        if term.shape != (n,):
            raise ValueError(f"objective term {name!r} has shape {list(term.shape)}, not [{n}]")
    return torch.stack(list(terms.values())).sum(0)


def _over(mask: Tensor, like: Tensor) -> Tensor:
    """View a mask [N] so that it broadcasts over `like` [N, ...]."""
    return mask.view(-1, *[1] * (like.ndim - 1))
