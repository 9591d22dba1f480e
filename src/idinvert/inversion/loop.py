"""The one batched optimisation loop that every optimising method shares."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from idinvert.acceleration import StepGraphs
from idinvert.inversion.inversion import Progress
from idinvert.inversion.optimizers import OptimizerName, Preconditioner, optimizer_named

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
    optimizer: OptimizerName = "adam",
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    schedule: Schedule | None = None,
    keep_best: bool = True,
    early_stop: int | None = None,
    early_stop_gain: float = 0.01,
    graphs: StepGraphs | None = None,
    preconditioner: Preconditioner | None = None,
    perturb: Perturb | None = None,
    project: Project | None = None,
    progress: Progress | None = None,
) -> Optimised:
    """Minimise a per-image objective over per-image variables, N images at once.

    The losses are summed over images and the optimiser keeps images apart, so an image's path is
    the one it would take alone. An image whose objective leaves the finite numbers is frozen at its
    kept iterate and reported; one that gains no more is frozen there too; the others go on.
    Nothing but what moves gets a gradient.

    Args:
        start: the starting point of each variable, each float [N, ...].
        synthesise: called with the variables, gives images [N, 3, R, R].
        objective: called with (images, *variables), gives weighted terms by name, each [N].
        steps: how many steps; the objective is evaluated steps + 1 times.
        optimizer: "adam", "lbfgs" or "lbfgs_gn" (`optimizers.py`).
        lr: Adam's learning rate before `schedule`; the size of L-BFGS's first step.
        betas, eps: Adam's other constants.
        schedule: factor on a step as a function of progress in [0, 1); None is constant.
        keep_best: keep every image's iterate of least total loss, otherwise the last one.
        early_stop: freeze an image after this many steps without a gain; None for never.
        early_stop_gain: the share of its loss that an image must have lost for that to be a gain.
        graphs: of this call alone; None evaluates eagerly.
        preconditioner: of L-BFGS, see there.
        perturb: called with (progress in [0, 1], *variables) before each evaluation, gives what
            is evaluated, and kept, in their stead, shifted by what does not depend on them;
            progress 1 is the last look.
        project: called with the variables after each step, gives their new values.
        progress: called with (steps done, steps in all).

    Raises:
        ValueError: if `steps` is negative or the objective's terms are not [N].
    """
    if steps < 0:
        raise ValueError(f"steps is {steps}: expected 0 or more (inversion.steps)")
    with gradients():
        variables = [plain(v).clone() for v in start]
        n, device = variables[0].shape[0], variables[0].device
        evaluate = Evaluation(synthesise, objective)
        graphs = graphs or StepGraphs()
        stepping = optimizer_named(
            optimizer, variables, lr=lr, betas=betas, eps=eps, preconditioner=preconditioner
        )
        history: list[Tensor] = []  # each [1 + terms, N]: the total, then its terms
        failed = torch.zeros(n, dtype=torch.bool, device=device)
        frozen, idle = failed.clone(), torch.zeros(n, dtype=torch.int64, device=device)
        best_step = torch.zeros_like(idle)
        best = [v.detach().clone() for v in variables]

        for step in range(steps + 1):
            with torch.no_grad():
                seen = variables if perturb is None else perturb(step / max(steps, 1), *variables)
            # The last iterate is only looked at.
            asked = step < steps
            rows, images, slopes = graphs(asked, partial(evaluate, gradients=asked), *seen)
            with torch.no_grad():
                if step == 0:
                    start_images = best_images = images.clone()
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
            factor = 1.0 if schedule is None else schedule(step / steps)
            with torch.no_grad():
                slopes = [torch.where(_over(frozen, g), 0.0, g) for g in slopes]
                stepping.step(slopes, rows[0], factor=factor)
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
        terms={name: table[1 + k] for k, name in enumerate(evaluate.names)},
        best_step=best_step,
        failed=failed,
    )


class Evaluation:
    """The objective and its gradient at a point: all that a step asks of the networks.

    Tensors of fixed shapes go in and come out, and nothing of a step before is needed.

    Args:
        synthesise: variables to images [N, 3, R, R].
        objective: images and variables to weighted terms by name, each [N].
    """

    def __init__(self, synthesise: Synthesise, objective: Objective) -> None:
        self.synthesise, self.objective = synthesise, objective
        self.names: tuple[str, ...] = ()  # of the terms, known after the first call

    def __call__(
        self, *point: Tensor, gradients: bool
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Evaluate at a point.

        Args:
            point: the value of every variable, each [N, ...].
            gradients: whether they are asked for.

        Returns:
            The total and its terms [1 + terms, N], the images [N, 3, R, R], and the gradient of
            the summed totals by each variable; all detached.
        """
        with torch.set_grad_enabled(gradients):
            here = [v.detach().requires_grad_(gradients) for v in point]
            images = self.synthesise(*here)
            terms = self.objective(images, *here)
            total = _total(terms, len(images))
            # Summing keeps images apart: the gradient of image n's loss is zero elsewhere.
            slopes = torch.autograd.grad(total.sum(), here) if gradients else ()
        self.names = tuple(terms)
        return torch.stack([total, *terms.values()]).detach(), images.detach(), slopes


def _total(terms: dict[str, Tensor], n: int) -> Tensor:
    """Add the terms up, image by image: [N]."""
    for name, term in terms.items():
        if term.shape != (n,):
            raise ValueError(f"objective term {name!r} has shape {list(term.shape)}, not [{n}]")
    return torch.stack(list(terms.values())).sum(0)


def _over(mask: Tensor, like: Tensor) -> Tensor:
    """View a mask [N] so that it broadcasts over `like` [N, ...]."""
    return mask.view(-1, *[1] * (like.ndim - 1))
