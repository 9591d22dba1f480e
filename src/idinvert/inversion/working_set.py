"""Images at different steps as one batch: what is computed of them, and of which."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from idinvert.acceleration import StepGraphs

Rows = Tensor | None
"""Places of images in what an inverter was given, int64 [m]; None for all, in order."""
Synthesise = Callable[..., Tensor]
"""Called with (rows, *variables), each [m, ...]: images [m, 3, R, R]."""
Objective = Callable[..., dict[str, Tensor]]
"""Called with (rows, images, *variables): weighted terms by name, each [m]."""
Answer = tuple[Tensor, Tensor, Sequence[Tensor]]
"""Totals and terms [1 + terms, m], images [m, 3, R, R], the totals' gradient by each variable."""
PARTS = 8
"""A working set changes by eighths: fewer changes, and few shapes to record or compile."""


def at(given: Any, rows: Rows) -> Any:
    """Those rows of what belongs to images, a tensor [N, ...] or a list of them.

    What belongs to all of them (a name, a number, a tensor without dimensions) is given back.
    """
    if isinstance(given, list):
        return [at(each, rows) for each in given]
    if rows is None or not isinstance(given, Tensor) or not given.ndim:
        return given
    return given[rows]


@contextmanager
def gradients() -> Iterator[None]:
    """Turn gradients on, whatever the caller turned off: `no_grad` or `inference_mode`."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def plain(tensor: Tensor) -> Tensor:
    """A detached tensor that autograd may save: a copy where it was made in inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor.detach()


@dataclass(frozen=True)
class Asked:
    """What some images need to know for their next step.

    Attributes:
        rows: which images, int64 [m].
        point: the value of every variable, each [m, ...].
        gradients: whether they are asked for.
    """

    rows: Tensor
    point: Sequence[Tensor]
    gradients: bool


class Evaluation:
    """The objective and its gradient at a point: all that a step asks of the networks.

    Tensors of fixed shapes go in and come out, and nothing of a step before is needed.

    Args:
        synthesise, objective: see there.
    """

    def __init__(self, synthesise: Synthesise, objective: Objective) -> None:
        self.synthesise, self.objective = synthesise, objective
        self.names: tuple[str, ...] = ()  # of the terms, known after the first call

    def __call__(self, rows: Rows, *point: Tensor, gradients: bool) -> Answer:
        """Evaluate at a point, see `Asked`; what it gives is detached."""
        with torch.set_grad_enabled(gradients):
            here = [v.detach().requires_grad_(gradients) for v in point]
            images = self.synthesise(rows, *here)
            terms = self.objective(rows, images, *here)
            total = _total(terms, len(images))
            # Summing keeps images apart: the gradient of image n's loss is zero elsewhere.
            slopes = torch.autograd.grad(total.sum(), here) if gradients else ()
        self.names = tuple(terms)
        return torch.stack([total, *terms.values()]).detach(), images.detach(), slopes


class WorkingSet:
    """Evaluates what several groups of images ask for as one batch.

    Args:
        evaluate: the objective.
        images: how many there are in all, N.
        slots: how many are evaluated together at most.
        cuda_graphs: replay evaluations as CUDA graphs.
    """

    def __init__(self, evaluate: Evaluation, *, images: int, slots: int, cuda_graphs: bool) -> None:
        self.evaluate, self.images, self.slots = evaluate, images, slots
        self.graphs = StepGraphs(enabled=cuda_graphs)
        self.part = max(1, slots // PARTS)
        """Images that enter together at least, where as many wait."""

    def __call__(self, asked: Sequence[Asked]) -> list[Answer]:
        """Evaluate all that is asked, in its order."""
        gradients = any(each.gradients for each in asked)
        work = partial(self.evaluate, gradients=gradients)
        sizes = [len(each.rows) for each in asked]
        if sizes == [self.images]:  # all of them, as they lie in memory
            return [self.graphs(gradients, partial(work, None), *asked[0].point)]
        inputs = [torch.cat([each.rows for each in asked])]
        inputs += map(torch.cat, zip(*(each.point for each in asked), strict=True))
        more = self._room(sum(sizes), on=inputs[0].device) - sum(sizes)
        if more:
            inputs = [torch.cat([each, each[:1].expand(more, *each.shape[1:])]) for each in inputs]
        rows, images, slopes = self.graphs(gradients, work, *inputs)
        sizes = [*sizes, more]
        parts = [slope.split(sizes) for slope in slopes]
        several = zip(rows.split(sizes, dim=1), images.split(sizes), strict=True)
        found: list[Answer] = [
            (*pair, [part[k] for part in parts]) for k, pair in enumerate(several)
        ]
        return found[:-1]

    def _room(self, count: int, *, on: torch.device) -> int:
        """How many are evaluated for so many images: on a GPU in eighths, for few shapes."""
        whole = self.part if on.type == "cuda" else 1
        return min(self.slots, -(-count // whole) * whole)


def _total(terms: dict[str, Tensor], n: int) -> Tensor:
    """Add the terms up, image by image: [N]."""
    for name, term in terms.items():
        if term.shape != (n,):
            raise ValueError(f"objective term {name!r} has shape {list(term.shape)}, not [{n}]")
    return torch.stack(list(terms.values())).sum(0)
