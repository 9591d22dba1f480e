"""Torch's stream before 1.6: five pickles, then the storages; also what NVlabs' pickles nest."""

from typing import Any

from idinvert.checkpoints.formats.budget import Budget, shown
from idinvert.checkpoints.formats.machine import Machine, Names
from idinvert.checkpoints.formats.opcodes import run
from idinvert.checkpoints.formats.storages import (
    STORAGES,
    Storage,
    allocate,
    buffer,
    storage_type,
)
from idinvert.errors import CheckpointError

MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The stream's first pickle, by which it is known."""

_PROTOCOL = 1001


def read_stream(data: memoryview, *, names: Names, budget: Budget) -> Any:
    """The content of a stream, with this project's stand-ins.

    Args:
        data: The stream, whole.
        names: The globals that its pickles may name.
        budget: What it may cost.

    Raises:
        CheckpointError: Not as torch writes it, damaged, or asks for more than plain data.
    """
    if bytes(data[: len(MAGIC)]) != MAGIC:
        raise CheckpointError("has nested data that is not torch's stream; it was not run")
    storages = _Storages(data, budget=budget)
    machine = Machine(data, names={}, budget=budget, at=len(MAGIC))
    protocol, system = run(machine), run(machine)
    little = system.get("little_endian") if isinstance(system, dict) else None
    if protocol != _PROTOCOL or little is not True:
        raise CheckpointError(
            f"is torch's stream of protocol {shown(str(protocol))}, expected {_PROTOCOL} from a "
            "little-endian machine"
        )
    machine.names, machine.persistent = names, storages.find
    value = run(machine)
    machine.names, machine.persistent = {}, None
    storages.fill(run(machine), at=machine.at)
    return value


def load_from_bytes(arguments: tuple[Any, ...], budget: Budget) -> Storage:
    """In place of ``torch.storage._load_from_bytes``, which unpickles anything: one storage.

    Raises:
        CheckpointError: The nested stream is anything but one storage.
    """
    raw = arguments[0] if len(arguments) == 1 else None
    if not isinstance(raw, bytes | memoryview):
        raise CheckpointError("has a nested storage that is not given by its bytes (damaged)")
    value = read_stream(memoryview(raw), names=STORAGES, budget=budget)
    if not isinstance(value, Storage):
        raise CheckpointError(f"has {shown(value)} where a nested storage is expected")
    return value


class _Storages:
    """Memory is set aside when a storage is first named; the bytes come at the stream's end."""

    def __init__(self, data: memoryview, *, budget: Budget) -> None:
        self.data = data
        self.budget = budget
        self.left = len(data)
        self.named: dict[str, Storage] = {}

    def find(self, identity: Any) -> Storage:
        """The storage of a persistent id, or the part of it that a view names."""
        dtype, key, numel = storage_type(identity, least=5, most=6)
        if key not in self.named:
            found = allocate(numel, dtype, limit=self.left, budget=self.budget)
            self.left -= found.memory.nbytes()
            self.named[key] = found
        found = self.named[key]
        if found.dtype != dtype or found.memory.nbytes() != numel * dtype.itemsize:
            raise CheckpointError(f"gives its storage {shown(key)} two sizes or types (damaged)")
        part = identity[5] if len(identity) == 6 else None
        if part is not None:
            raise CheckpointError("has a storage that is part of another, expected whole ones")
        return found

    def fill(self, keys: Any, *, at: int) -> None:
        """Reads the storages, in the order of their keys."""
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise CheckpointError("has no list of its storages (damaged)")
        if len(set(keys)) != len(keys) or set(keys) != self.named.keys():
            raise CheckpointError("lists other storages than its tensors use (damaged)")
        for key in keys:
            target = self.named[key]
            size = target.memory.nbytes()
            count = int.from_bytes(self.data[at : at + 8], "little", signed=True)
            at += 8
            if count * target.dtype.itemsize != size or at + size > len(self.data):
                raise CheckpointError(
                    f"ends inside its storage {shown(key)}, or gives it another size (truncated)"
                )
            buffer(target)[:] = self.data[at : at + size]
            at += size
        if at != len(self.data):
            raise CheckpointError(f"has {len(self.data) - at:,} bytes after its storages (damaged)")
