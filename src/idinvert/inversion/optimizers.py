"""The optimisers of the loop: Adam as in the paper, others of torch, and L-BFGS for fewer steps.

"lbfgs_gn" is L-BFGS that begins with the Gauss-Newton matrix of native codes (`curvature.py`).

An optimiser handles N images at once and keeps them independent: what it computes for one image
depends on that image alone. It copies no value to the CPU, so a step never waits for the device.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

OptimizerName = Literal["adam", "sgd", "lbfgs", "lbfgs_gn"]
OPTIMIZERS = ("adam", "sgd", "lbfgs", "lbfgs_gn")
PLAIN = ("adam", "sgd", "lbfgs")
"""Optimisers that need no preconditioner."""

Preconditioner = Callable[[Tensor], Tensor]
Schedule = Callable[[float], float]

RAMP_UP, RAMP_DOWN = 0.05, 0.25


class TorchOptimizer:
    """An optimiser of torch that updates every element by its own gradients alone.

    Adam, SGD, RMSprop and similar ones do; LBFGS and Adafactor use statistics of whole tensors,
    which would make images interdependent.

    Args:
        optimizer: optimises the variables, each [N, ...]; its groups may have their own learning
            rates, which the schedule then scales.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.rates = [group["lr"] for group in optimizer.param_groups]
        self.variables = [v for group in optimizer.param_groups for v in group["params"]]

    def step(
        self, gradients: Sequence[Tensor], losses: Tensor, *, factor: float
    ) -> Sequence[Tensor]:
        """Take one step from the current variables.

        Args:
            gradients: of the summed losses, each like its variable; 0 where an image is frozen.
            losses: total objective at the variables, [N]; only L-BFGS reads them.
            factor: the schedule's factor on the step size.

        Returns:
            The variables, moved in place.
        """
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        for variable, gradient in zip(self.variables, gradients, strict=True):
            variable.grad = gradient
        self.optimizer.step()
        return self.variables


class LBFGS:
    """L-BFGS for each image separately, one evaluation per step.

    Each image has its own memory of the last steps and gradient changes, its own direction and its
    own step length. There is no inner line search: the loop evaluates a trial point. If the loss
    decreased too little (Armijo's rule), the next trial is a shorter step from the same base, by
    quadratic interpolation; otherwise the trial becomes the base. So a step costs as much as one of
    Adam, and images at different stages of their search share a batch.

    Args:
        variables: the variables, each [N, ...].
        lr: root mean square of an image's first step over its variables, as in Adam. Not read if
            there is a preconditioner.
        memory: number of pairs of steps and gradient changes that are kept.
        preconditioner: multiplies gradients [N, D] with an initial estimate of the inverse
            Hessian; None for a multiple of the identity.

    Source: Nocedal and Wright, Numerical Optimization (2006), Alg. 7.4, 7.5; Eq. (3.6a), (3.57).
    """

    ARMIJO = 1e-4
    SHORTEN = (0.1, 0.5)
    CURVATURE = 1e-10

    def __init__(
        self,
        variables: Sequence[Tensor],
        *,
        lr: float,
        memory: int = 10,
        preconditioner: Preconditioner | None = None,
    ) -> None:
        self.variables, self.preconditioner = variables, preconditioner
        self.sizes = [v[0].numel() for v in variables]
        point = self._flat(variables)
        n, numbers = point.shape
        self.first = lr * numbers**0.5  # length of the first step
        self.s = point.new_zeros(memory, n, numbers)  # steps, oldest first
        self.y = torch.zeros_like(self.s)  # gradient changes
        self.rho = point.new_zeros(memory, n, 1)  # 1 / (s · y); 0: no pair
        self.scale = point.new_ones(n, 1)  # of the initial inverse Hessian
        self.base: tuple[Tensor, Tensor, Tensor] | None = None  # point, gradient [N, D], loss
        self.direction = torch.zeros_like(point)
        self.length = point.new_ones(n, 1)

    def step(
        self, gradients: Sequence[Tensor], losses: Tensor, *, factor: float
    ) -> Sequence[Tensor]:
        """See `TorchOptimizer.step`."""
        point, gradient, loss = self._flat(self.variables), self._flat(gradients), losses[:, None]
        if self.base is None:
            if self.preconditioner is None:
                norm = gradient.norm(dim=1, keepdim=True)
                self.scale = torch.where(norm > 0, self.first / norm, 0.0)
            self.base = (point, gradient, loss)
            self.direction = -self._first_guess(gradient)
        else:
            self._look(point, gradient, loss)
        to = self.base[0] + factor * self.length * self.direction
        for variable, part in zip(self.variables, to.split(self.sizes, dim=1), strict=True):
            variable.copy_(part.view_as(variable))
        return self.variables

    def _look(self, point: Tensor, gradient: Tensor, loss: Tensor) -> None:
        """Accept the trial as the new base if it is good enough, else shorten the step."""
        assert self.base is not None
        start, before, least = self.base
        s, y = point - start, gradient - before
        slope = _dot(before, s)  # first-order change of the loss; below 0
        taken = loss <= least + self.ARMIJO * slope  # False where it is not finite
        curvature = _dot(s, y)
        learnt = taken & (curvature > self.CURVATURE * _dot(y, y))
        self._remember(learnt, s, y, curvature)

        # Eq. (3.57): the minimum of the parabola through both losses with this slope.
        best = -slope / (2 * (loss - least - slope))
        low, high = self.SHORTEN
        shorter = self.length * torch.where(best.isfinite(), best, low).clamp(low, high)
        self.base = (
            torch.where(taken, point, start),
            torch.where(taken, gradient, before),
            torch.where(taken, loss, least),
        )
        self.length = torch.where(taken, 1.0, shorter)
        self.direction = torch.where(taken, -self._times_inverse(self.base[1]), self.direction)

    def _remember(self, learnt: Tensor, s: Tensor, y: Tensor, curvature: Tensor) -> None:
        """Store the new pair of each image in `learnt`; the others' memories do not change."""
        self.s = torch.where(learnt, torch.cat([self.s[1:], s[None]]), self.s)
        self.y = torch.where(learnt, torch.cat([self.y[1:], y[None]]), self.y)
        self.rho = torch.where(learnt, torch.cat([self.rho[1:], 1 / curvature[None]]), self.rho)
        guess = y if self.preconditioner is None else self.preconditioner(y)
        self.scale = torch.where(learnt, curvature / _dot(y, guess), self.scale)

    def _times_inverse(self, gradient: Tensor) -> Tensor:
        """Multiply the inverse Hessian's estimate with a gradient [N, D]: two loops of Alg. 7.4."""
        q, alphas, pairs = gradient, [], list(zip(self.s, self.y, self.rho, strict=True))
        for s, y, rho in reversed(pairs):
            alphas.append(rho * _dot(s, q))
            q = q - alphas[-1] * y
        q = self._first_guess(q)
        for s, y, rho in pairs:
            q = q + (alphas.pop() - rho * _dot(y, q)) * s
        return q

    def _first_guess(self, gradient: Tensor) -> Tensor:
        """Multiply the initial estimate of the inverse Hessian with a gradient [N, D]."""
        known = self.preconditioner
        return self.scale * (gradient if known is None else known(gradient))

    @staticmethod
    def _flat(tensors: Sequence[Tensor]) -> Tensor:
        """Return a copy with one row per image, [N, D]."""
        return torch.cat([t.detach().flatten(1) for t in tensors], dim=1)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner products of rows, [N, 1]."""
    return (a * b).sum(1, keepdim=True)


def cosine(t: float) -> float:
    """Half a cosine from 1 at t = 0 to 0 at t = 1."""
    return 0.5 + 0.5 * math.cos(math.pi * t)


def ramps(t: float) -> float:
    """Ramp up linearly over the first 5 %, down by half a cosine over the last 25 %; 1 between.

    Source: the projector of StyleGAN2 (Karras et al. 2020, App. D).
    """
    down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t) / RAMP_DOWN))
    return down * min(1.0, t / RAMP_UP)


def halvings(t: float) -> float:
    """Halve after 4, 6 and 9 fifteenths.

    Source: layer inversion (Bau et al. 2019): 800, 1,200 and 1,800 of 3,000 steps.
    """
    return 0.5 ** sum(t >= at / 15 for at in (4, 6, 9))


SCHEDULES: dict[str, Schedule | None] = {
    "constant": None,
    "cosine": cosine,
    "ramps": ramps,
    "halvings": halvings,
}
"""The factor on the step size as a function of progress in [0, 1); None is constant."""
