"""Evaluate the objective of images at different steps as one batch."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from idinvert.acceleration import StepGraphs

Rows = Tensor | None
"""Indices of images in an inverter's input, int64 [m]; None for all, in order."""
Synthesise = Callable[..., Tensor]
"""Called with (rows, *variables), each [m, ...]; returns images [m, 3, R, R]."""
Objective = Callable[..., dict[str, Tensor]]
"""Called with (rows, images, *variables); returns weighted terms by name, each [m]."""
Answer = tuple[Tensor, Tensor, Sequence[Tensor]]
"""Totals and terms [1 + terms, m], images [m, 3, R, R], the totals' gradients per variable."""
PARTS = 8
"""A working set changes by eighths: fewer changes, and fewer shapes to record or compile."""


def at(given: Any, rows: Rows) -> Any:
    """Select rows of a tensor [N, ...], or of each tensor in a list.

    A value that is shared by all images (a string, a number, a 0-d tensor) is returned unchanged.
    """
    if isinstance(given, list):
        return [at(each, rows) for each in given]
    if rows is None or not isinstance(given, Tensor) or not given.ndim:
        return given
    return given[rows]


@contextmanager
def gradients() -> Iterator[None]:
    """Enable gradients, even within `no_grad` or `inference_mode`."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def plain(tensor: Tensor) -> Tensor:
    """Return a detached tensor that autograd may save; a copy if it is an inference tensor."""
    return tensor.clone() if tensor.is_inference() else tensor.detach()


@dataclass(frozen=True)
class Asked:
    """A request for the evaluation that some images need for their next step.

    Attributes:
        rows: indices of the images, int64 [m].
        point: the value of every variable, each [m, ...].
        gradients: whether gradients are required.
    """

    rows: Tensor
    point: Sequence[Tensor]
    gradients: bool


class Evaluation:
    """The objective and its gradient at a point: the part of a step that runs the networks.

    Inputs and outputs are tensors of fixed shapes, and no state of earlier steps is needed.

    Args:
        synthesise, objective: see `Synthesise` and `Objective`.
    """

    def __init__(self, synthesise: Synthesise, objective: Objective) -> None:
        self.synthesise, self.objective = synthesise, objective
        self.names: tuple[str, ...] = ()  # of the terms, known after the first call

    def __call__(self, rows: Rows, *point: Tensor, gradients: bool) -> Answer:
        """Evaluate at a point, see `Asked`; the results are detached."""
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
    """Evaluates the requests of several groups of images as one batch.

    Args:
        evaluate: the objective.
        images: N, the number of images in total.
        slots: how many are evaluated together at most.
        cuda_graphs: replay evaluations as CUDA graphs.
    """

    def __init__(self, evaluate: Evaluation, *, images: int, slots: int, cuda_graphs: bool) -> None:
        self.evaluate, self.images, self.slots = evaluate, images, slots
        self.graphs = StepGraphs(enabled=cuda_graphs)
        self.part = max(1, slots // PARTS)
        """Smallest number of images that enter together, if that many wait."""

    def __call__(self, asked: Sequence[Asked]) -> list[Answer]:
        """Evaluate all requests; the answers are in the same order."""
        gradients = any(each.gradients for each in asked)
        work = partial(self.evaluate, gradients=gradients)
        sizes = [len(each.rows) for each in asked]
        if sizes == [self.images]:  # all images, without copying
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
        """Return the padded batch size: on a GPU a multiple of `part`, for fewer shapes."""
        whole = self.part if on.type == "cuda" else 1
        return min(self.slots, -(-count // whole) * whole)


def _total(terms: dict[str, Tensor], n: int) -> Tensor:
    """Add up the terms for each image: [N]."""
    for name, term in terms.items():
        if term.shape != (n,):
            raise ValueError(f"objective term {name!r} has shape {list(term.shape)}, not [{n}]")
    return torch.stack(list(terms.values())).sum(0)
