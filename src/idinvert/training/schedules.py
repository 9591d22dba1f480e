"""Learning-rate schedules as functions of images seen."""

from dataclasses import dataclass
from typing import Protocol

from idinvert.annotations import Count, PositiveFloat, PositiveInt, Weight


class Schedule(Protocol):
    """A factor on the learning rate."""

    def __call__(self, nimg: int) -> float:
        """Returns the factor after ``nimg`` images."""


@dataclass(frozen=True, kw_only=True)
class Constant:
    """A constant learning rate."""

    def __call__(self, nimg: int) -> float:
        """Returns one."""
        return 1.0


@dataclass(frozen=True, kw_only=True)
class ExponentialDecay:
    """``factor ** (nimg / every_nimg)``, smooth as in the authors' code (0.8 per quarter of a run).

    It counts images rather than iterations: with a schedule in iterations made for 32 GPUs, a
    single GPU would train for days at a learning rate near zero.
    """

    factor: PositiveFloat = 0.8
    every_nimg: PositiveInt = 3_500_000

    def __call__(self, nimg: int) -> float:
        """Returns the factor after ``nimg`` images."""
        return self.factor ** (nimg / self.every_nimg)


@dataclass(frozen=True, kw_only=True)
class LinearTail:
    """One until ``start_nimg``, then linearly down to ``final`` at ``end_nimg``."""

    start_nimg: Count
    end_nimg: Count
    final: Weight = 0.1

    def __call__(self, nimg: int) -> float:
        """Returns the factor after ``nimg`` images."""
        span = max(1, self.end_nimg - self.start_nimg)
        done = min(1.0, max(0.0, (nimg - self.start_nimg) / span))
        return 1.0 - (1.0 - self.final) * done
