"""Seeded changes to what a checkpoint says: whole files that lie, for the readers of families."""

import random
from typing import Any

import numpy as np
import torch

from idinvert.checkpoints.formats.archive import Stored

HUGE = 1 << 40


def mutate_content(content: Any, rng: random.Random) -> Any:
    """A copy with one to three values, names or tensors changed.

    Args:
        content: Nested dicts, lists, tuples and `Stored`; not changed itself.
        rng: Draws everything.
    """
    for _ in range(rng.choice((1, 1, 2, 3))):
        path = _random_path(content, rng)
        content = _changed(content, path, rng)
    return content


def _children(value: Any) -> list[Any]:
    """Where the parts of a value are, outermost first."""
    if isinstance(value, dict):
        return list(value)
    if isinstance(value, list | tuple):
        return list(range(len(value)))
    return ["state"] if isinstance(value, Stored) else []


def _child(value: Any, place: Any) -> Any:
    return value.state if isinstance(value, Stored) else value[place]


def _random_path(content: Any, rng: random.Random) -> list[Any]:
    path: list[Any] = []
    while _children(content) and (not path or rng.random() < 0.85):
        path.append(rng.choice(_children(content)))
        content = _child(content, path[-1])
    return path


def _changed(content: Any, path: list[Any], rng: random.Random) -> Any:
    """A copy in which what is at the end of the path is changed."""
    if not path:
        return _another(content, rng)
    head, *rest = path
    if isinstance(content, Stored):
        inner = _changed(content.state, rest, rng)
        state = inner if isinstance(inner, dict) else {"_modules": inner}
        return Stored(content.module, content.name, content.arguments, content.keywords, state)
    if isinstance(content, dict) and not rest and rng.random() < 0.5:
        return _renamed(content, head, rng)
    parts = content if isinstance(content, dict) else dict(enumerate(content))
    made = {k: _changed(v, rest, rng) if k == head else v for k, v in parts.items()}
    return made if isinstance(content, dict) else type(content)(made.values())


def _renamed(content: dict[Any, Any], name: Any, rng: random.Random) -> dict[Any, Any]:
    """Without an entry, with it under another name, or with one more."""
    made = {k: v for k, v in content.items() if k != name}
    digits = str(name).translate(str.maketrans("012345678", "123456789"))
    new = rng.choice((None, f"{name}.x", digits, 7, f"{name}9999999999", "" if name else "x"))
    if new is not None:
        made[new] = content[name]
    if rng.random() < 0.3:
        made[name] = content[name]
    return made


def _another(value: Any, rng: random.Random) -> Any:
    """Another value, of the same kind or not."""
    if isinstance(value, torch.Tensor) and rng.random() < 0.7:
        return _another_tensor(value, rng)
    if isinstance(value, np.ndarray) and rng.random() < 0.7:
        return _another_tensor(torch.from_numpy(value.copy()), rng).numpy()
    if type(value) is int and rng.random() < 0.7:
        return rng.choice((0, -1, value + 1, 2 * value, HUGE, value * 1_000_003, float(value)))
    return rng.choice((
        None, True, 0, -1, HUGE, 1e300, float("nan"), "", "x", b"x", [], {}, (), [[]], {"x": None},
        torch.zeros(()), torch.zeros(0), torch.zeros(3, 3), np.zeros(2), [value], {"x": value},
        Stored("torch_utils.persistence", "Generator", (), {}, {}),
    ))  # fmt: skip


def _another_tensor(value: torch.Tensor, rng: random.Random) -> torch.Tensor:
    other = rng.randrange(8)
    if other == 0:
        return value[None]
    if other == 1:
        return value.flatten()
    if other == 2 and value.dim():
        return torch.cat([value, value])
    if other == 3 and value.dim():
        return value[:0]
    if other == 4:
        return torch.full_like(value, float("nan")) if value.is_floating_point() else value + 1
    if other == 5:
        return value.long() if value.is_floating_point() else value.float()
    if other == 6 and value.dim() > 1:
        return value.transpose(0, -1).contiguous()
    return value * 1e30 if value.is_floating_point() else value[None]
