"""A strict reader of tensors by name: whatever is missing, extra or misshapen is named at once."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from idinvert.errors import CheckpointError

_NAMED = 60  # keys named for each complaint before "and n more"
_LONGEST = 120  # characters of a key that are printed


class Consumer:
    """Takes tensors out of a flat dictionary, one by one, and accounts for every key.

    Complaints are gathered and raised together by `finish`, so that a user sees all of them in one
    message. Until then a tensor that is missing or misshapen is stood in for by an empty one on
    the ``meta`` device, which has the shape that was asked for and takes no memory.

    Args:
        tensors: Name to tensor or array, as read from the file.
        what: What they are, for messages: ``"ffhq.pkl, network G_ema (NVlabs)"``.
        key: The config key that named the file, for messages.
    """

    def __init__(self, tensors: Mapping[str, Any], *, what: str, key: str) -> None:
        # A file may have anything for a key; whatever is no text is shown as it is written.
        self._left = {name if type(name) is str else repr(name): v for name, v in tensors.items()}
        self.what, self.key = what, key
        self._missing: list[str] = []
        self._misshapen: list[str] = []

    def __contains__(self, name: str) -> bool:
        """Whether a key is there and not yet taken."""
        return name in self._left

    def names(self) -> list[str]:
        """The keys not yet taken, in the file's order."""
        return list(self._left)

    def shape(self, name: str, *, ndim: int) -> tuple[int, ...]:
        """The shape of a tensor from which an architecture is read; it is not taken.

        Raises:
            CheckpointError: The tensor is not there, or has not that many dimensions.
        """
        if name not in self._left:
            self.fail(f"{_shown(name)} is missing, and the architecture cannot be read without it")
        found = self._left[name]
        size = tuple(getattr(found, "shape", ()))
        if not isinstance(found, Tensor | np.ndarray) or len(size) != ndim or 0 in size:
            self.fail(f"{_shown(name)} is {_describe(found)}, expected {ndim} dimensions")
        return size

    def take(self, name: str, *, shape: Sequence[int]) -> Tensor:
        """Takes a tensor as float32 on the CPU.

        Args:
            name: Its key.
            shape: The shape it must have.

        Returns:
            Tensor of that shape; where it is missing or misshapen, one without data (``meta``).
        """
        nothing = torch.empty(tuple(shape), device="meta")
        if name not in self._left:
            self._missing.append(name)
            return nothing
        found = self._left.pop(name)
        value = _as_tensor(found)
        if value is None or tuple(value.shape) != tuple(shape):
            self._misshapen.append(f"{_shown(name)} {_describe(found)} instead of {tuple(shape)}")
            return nothing
        return value.detach().to(device="cpu", dtype=torch.float32)

    def constant(self, name: str, expected: Tensor, *, needed: bool = True) -> None:
        """Takes a tensor that has only one right value, such as a filter, and compares it.

        Args:
            name: Its key.
            expected: The value.
            needed: Whether its absence is a complaint.
        """
        if name not in self._left and not needed:
            return
        found = self.take(name, shape=expected.shape)
        if found.is_meta:
            return
        if not torch.allclose(found, expected.float(), rtol=1e-3, atol=1e-5):
            self._misshapen.append(f"{_shown(name)} has other values than the native network's")

    def drop(self, names: Iterable[str]) -> None:
        """Takes keys that have no bearing on the network, without looking at them."""
        for name in names:
            self._left.pop(name, None)

    def finish(self) -> None:
        """Ends the reading.

        Raises:
            CheckpointError: A key was missing, misshapen, or not asked for; all are named.
        """
        complaints = []
        for kind, names in (
            ("missing", [_shown(name) for name in self._missing]),
            ("extra", [_shown(name) for name in self._left]),
            ("misshapen", self._misshapen),
        ):
            if names:
                rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
                complaints.append(f"{kind}: {', '.join(names[:_NAMED])}{rest}")
        if complaints:
            self.fail(f"tensors do not fit ({'; '.join(complaints)})")

    def fail(self, reason: str) -> NoReturn:
        """Ends the reading at once.

        Raises:
            CheckpointError: Always; it says what, why, and which key to change.
        """
        raise CheckpointError(f"{self.what}: {reason}; change {self.key}")


def _as_tensor(found: Any) -> Tensor | None:
    """The tensor, or None where it is none of real floating-point numbers in memory."""
    if isinstance(found, np.ndarray) and found.dtype.kind == "f" and found.dtype.itemsize <= 8:
        native = np.ascontiguousarray(found, dtype=found.dtype.newbyteorder("="))
        return torch.from_numpy(native.copy()).reshape(found.shape)
    if isinstance(found, Tensor) and found.layout == torch.strided and not found.is_meta:
        return found if found.is_floating_point() and not found.is_quantized else None
    return None


def _describe(found: Any) -> str:
    """Shape, and type where it is not the usual one."""
    if not isinstance(found, Tensor | np.ndarray):
        return f"of type {type(found).__name__}"
    size = str(tuple(found.shape))
    kind = str(found.dtype).removeprefix("torch.")
    return size if kind == "float32" else f"{size} {kind}"


def _shown(name: Any) -> str:
    """A key as it can be printed, whatever is in it."""
    text = str(name)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
