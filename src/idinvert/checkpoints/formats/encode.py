"""Encodes records and plain values as a flat list in JSON; `decode` rebuilds the tree.

A value is a number, a text, None, or ``[index]`` of a node. Nodes precede those that refer to
them, and a shared value is one node. A node is a list whose first entry is its type:

- ``d`` keys and values in turn; ``l``, ``t``, ``s`` the members of a list, tuple or set;
- ``c`` real and imaginary part; ``b`` the index of a blob of bytes;
- ``T`` blob, type, offset, size, stride; ``A`` blob, type, shape, order, whether it is a scalar;
- ``O`` module, class, arguments, keywords, state.
"""

import sys
from typing import Any

from idinvert.checkpoints.formats import records
from idinvert.errors import CheckpointError
from idinvert.untrusted import shown

MAX_DEPTH = 128
"""Maximum nesting of containers; a generator of NVlabs is about 20 deep."""

SOURCE_KEYS = frozenset(["module_src", "build_module_src", "_orig_module_src"])
"""Keys of source text in a file, which is dropped unread."""

_KEY_PARTS = 8  # maximum entries of a tuple that is a dict key
_KEY_TYPES = (str, bytes, int, float, bool, complex, type(None))
_BITS = 512  # maximum size of an integer


class Encoder:
    """Walks a tree depth first; each container is encoded once, but counted at every reference.

    Args:
        blobs: List to which the bytes of tensors and arrays are appended.
    """

    def __init__(self, blobs: list[Any]) -> None:
        self.blobs = blobs
        self.nodes: list[list[Any]] = []
        self.done: dict[int, tuple[Any, int]] = {}
        self.sent: dict[int, int] = {}  # index of bytes by their id
        self.open: set[int] = set()
        self.alive: list[Any] = []  # temporary objects, kept so that no id is reused

    def encode(self, root: Any) -> dict[str, Any]:
        """Returns the header's entries.

        Raises:
            CheckpointError: The tree contains itself, is too deep, or unpacks to too many values.
        """
        value, count = self._visit(root, 0)
        records.budget.spend_values(count)
        return {"root": value, "nodes": self.nodes, "blobs": [len(blob) for blob in self.blobs]}

    def _visit(self, value: Any, depth: int) -> tuple[Any, int]:
        """Returns a value as JSON, and the number of values in its unfolded tree."""
        if value is None or type(value) in (bool, float):
            return value, 1
        if type(value) is int:
            if value.bit_length() > _BITS:
                raise CheckpointError(f"has an integer of more than {_BITS} bits")
            return value, 1
        if isinstance(value, str):
            records.budget.spend_bytes(len(value))
            return value if value.isascii() else _printable(value), 1
        if isinstance(value, records.Name):
            return value.path, 1
        if id(value) in self.done:
            return self.done[id(value)]
        if id(value) in self.open:
            raise CheckpointError("holds a container that contains itself, expected a tree")
        if depth >= MAX_DEPTH:
            raise CheckpointError(f"is nested deeper than {MAX_DEPTH} containers, expected less")
        self.open.add(id(value))
        self.alive.append(value)
        found = self._container(value, depth + 1)
        self.open.discard(id(value))
        self.done[id(value)] = found
        return found

    def _container(self, value: Any, depth: int) -> tuple[Any, int]:
        if isinstance(value, dict):
            parts: list[Any] = []
            for key, part in value.items():
                parts += (self._key(key), part)
            return self._node("d", parts, depth)
        if isinstance(value, list | tuple):
            return self._node("l" if isinstance(value, list) else "t", value, depth)
        if isinstance(value, set | frozenset):
            return self._node("s", [self._key(part) for part in value], depth)
        foreign = isinstance(value, type) and issubclass(value, records.Module)
        if foreign or (isinstance(value, records.Module) and value.state is None):
            value.refuse()
        if isinstance(value, records.Object):
            given = [_without_source(part) for part in (value.keywords or {}, value.state)]
            self.alive += given
            return self._node("O", [value.module, value.name, value.arguments, *given], depth)
        if isinstance(value, records.Array):
            return self._array(value, depth)
        if isinstance(value, complex):
            return self._add(["c", value.real, value.imag]), 1
        if isinstance(value, bytes | bytearray | memoryview):
            records.budget.spend_bytes(len(value))
            return self._add(["b", self._blob(value)]), 1
        if isinstance(value, records.Storage):
            value = records.Tensor(value, value.dtype, 0, (value.count,), (1,))
        if isinstance(value, records.Tensor):
            place = [self._blob(value.storage), value.dtype]
            return self._add(["T", *place, value.offset, value.size, value.stride]), 1
        if isinstance(value, records.DType):
            return value.code, 1
        raise CheckpointError(f"holds {shown(value)}, expected tensors, arrays and plain data")

    def _array(self, value: records.Array, depth: int) -> tuple[Any, int]:
        if value.dtype is None:
            raise CheckpointError("has an array that was never filled (damaged)")
        if value.dtype.objects:
            nested = value.nested()
            self.alive.append(nested)
            return self._visit(nested, depth)
        place = [self._blob(value.data), value.dtype.code, value.shape, value.order]
        return self._add(["A", *place, value.scalar]), 1

    def _node(self, kind: str, parts: Any, depth: int) -> tuple[list[int], int]:
        node, total = [kind], 3
        for part in parts:
            made, count = self._visit(part, depth)
            node.append(made)
            total += count
            if total > records.budget.values:
                records.budget.spend_values(total)
        return self._add(node), total

    def _add(self, node: list[Any]) -> list[int]:
        self.nodes.append(node)
        return [len(self.nodes) - 1]

    def _blob(self, source: Any) -> int:
        """Returns the index of some bytes; those of a storage are sent once."""
        data = source.data if isinstance(source, records.Storage) else source
        if data is None:
            raise CheckpointError("has a storage without its data (truncated)")
        if id(data) not in self.sent:
            self.sent[id(data)] = len(self.blobs)
            self.blobs.append(data)
        return self.sent[id(data)]

    def _key(self, value: Any) -> Any:
        """Checks a dict key or set member: text, or a number, or a short tuple of these."""
        if type(value) is str:
            return sys.intern(value)
        records.budget.spend_number_keys(1)
        parts = value if type(value) is tuple else (value,)
        if len(parts) <= _KEY_PARTS and all(type(part) in _KEY_TYPES for part in parts):
            return value
        raise CheckpointError(
            f"has {shown(value)} as a dict key, expected text, a number or a few of them"
        )


def _printable(value: str) -> str:
    """Escapes lone surrogates, so that messages can always be printed."""
    return value.encode("utf-8", "backslashreplace").decode()


def _without_source(state: Any) -> Any:
    if isinstance(state, dict) and not SOURCE_KEYS.isdisjoint(state):
        return {key: part for key, part in state.items() if key not in SOURCE_KEYS}
    return state
