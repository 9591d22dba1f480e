"""From the machine's values to plain data: stand-ins resolved, cycles and unfolding bounded."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from torch import Tensor

from idinvert.checkpoints.formats.archive import Stored
from idinvert.checkpoints.formats.budget import MAX_DEPTH, Budget, shown
from idinvert.checkpoints.formats.machine import Buildable, Name
from idinvert.errors import CheckpointError

_LEAVES = frozenset([str, bytes, int, float, bool, complex, type(None), np.ndarray, Tensor])

SOURCE_KEYS = frozenset(["module_src", "build_module_src", "_orig_module_src"])
"""Where a file carries source text; it is dropped unread."""


class StandIn(Buildable, ABC):
    """What stands for a value that is only known when the whole pickle was read."""

    @abstractmethod
    def resolve(self, budget: Budget) -> Any:
        """The value itself: a leaf, or containers that are walked in its place."""


def plain(root: Any, *, budget: Budget) -> Any:
    """Copies a tree of the machine into plain data; what is shared stays shared.

    Args:
        root: What `opcodes.run` returned.
        budget: What it may cost.

    Returns:
        See `Archive`: a finite tree, also for a reader who does not know what is shared.

    Raises:
        CheckpointError: It contains itself, is too deep, or unfolds to too many values.
    """
    value, count = _Walk(budget).visit(root, depth=0)
    budget.spend_nodes(count)
    return value


class _Walk:
    """Depth first; every container is copied once, and counted as often as it is reached."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.done: dict[int, tuple[Any, int]] = {}
        self.open: set[int] = set()
        self.alive: list[Any] = []  # what was resolved, so that no id is given twice

    def visit(self, value: Any, *, depth: int) -> tuple[Any, int]:
        """The plain value, and of how many values it consists when unfolded."""
        kind = type(value)
        if kind in _LEAVES:
            return value, 1
        identity = id(value)
        if identity in self.done:
            return self.done[identity]
        if identity in self.open:
            raise CheckpointError("holds a container that contains itself, expected a tree")
        if depth >= MAX_DEPTH:
            raise CheckpointError(f"is nested deeper than {MAX_DEPTH} containers, expected less")
        self.open.add(identity)
        made, count = self._copy(value, depth=depth + 1)
        if count > self.budget.nodes:
            self.budget.spend_nodes(count)
        self.open.discard(identity)
        self.done[identity] = (made, count)
        return made, count

    def _copy(self, value: Any, *, depth: int) -> tuple[Any, int]:
        if isinstance(value, dict):
            return self._dict(value, depth=depth)
        if isinstance(value, list | tuple):
            kind = list if isinstance(value, list) else tuple
            parts = [self.visit(part, depth=depth) for part in value]
            return kind(part for part, _ in parts), 1 + sum(count for _, count in parts)
        if isinstance(value, set | frozenset):
            return set(value), 1 + len(value)  # the machine lets in text and numbers alone
        if isinstance(value, Stored):
            return self._stored(value, depth=depth)
        if isinstance(value, StandIn):
            resolved = value.resolve(self.budget)
            self.alive.append(resolved)
            return self.visit(resolved, depth=depth)
        if isinstance(value, memoryview):
            self.budget.spend_bytes(len(value))
            return bytes(value), 1
        if isinstance(value, Name):
            return value.path, 1
        raise CheckpointError(f"holds {shown(value)}, expected tensors, arrays and plain data")

    def _dict(self, value: dict[Any, Any], *, depth: int) -> tuple[dict[Any, Any], int]:
        made, total = {}, 1
        for key, part in value.items():
            made[key], count = self.visit(part, depth=depth)
            total += 1 + count
        return made, total

    def _stored(self, value: Stored, *, depth: int) -> tuple[Stored, int]:
        given = [_without_source(part) for part in (value.arguments, value.keywords, value.state)]
        self.alive.append(given)
        parts = [self.visit(part, depth=depth) for part in given]
        arguments, keywords, state = (part for part, _ in parts)
        made = Stored(value.module, value.name, arguments, keywords, state)
        return made, 1 + sum(count for _, count in parts)


def _without_source(state: Any) -> Any:
    if isinstance(state, dict) and not SOURCE_KEYS.isdisjoint(state):
        return {key: part for key, part in state.items() if key not in SOURCE_KEYS}
    return state
