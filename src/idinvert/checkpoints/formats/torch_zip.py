"""Torch's zip container (1.6 and later): one pickle, and one stored member a storage."""

from typing import Any

import torch

from idinvert.checkpoints.formats import zip_directory
from idinvert.checkpoints.formats.budget import Budget, shown
from idinvert.checkpoints.formats.machine import Machine
from idinvert.checkpoints.formats.names import ALL
from idinvert.checkpoints.formats.opcodes import run
from idinvert.checkpoints.formats.plain import plain
from idinvert.checkpoints.formats.storages import Storage, allocate, buffer, storage_type
from idinvert.checkpoints.formats.zip_directory import Member
from idinvert.errors import CheckpointError

_PICKLE = "data.pkl"


def is_torch(members: dict[str, Member]) -> bool:
    """Whether a zip's files are those of torch's container."""
    return _root(members) is not None


def read_torch_zip(data: memoryview, members: dict[str, Member], *, budget: Budget) -> Any:
    """The content of torch's zip container.

    Args:
        data: The whole file.
        members: Its files.
        budget: What it may cost.

    Raises:
        CheckpointError: Not as torch writes it, damaged, or asks for more than plain data.
    """
    root = _root(members)
    assert root is not None
    if f"{root}constants.pkl" in members or any(n.startswith(f"{root}code/") for n in members):
        raise CheckpointError("is a TorchScript program, expected a checkpoint of tensors")
    order = members.get(f"{root}byteorder")
    if order and zip_directory.content(data, order, budget=budget) != b"little":
        raise CheckpointError("was written on a big-endian machine, expected little-endian")
    storages = _Storages(data, members, root=f"{root}data/", budget=budget)
    entry = members[f"{root}{_PICKLE}"]
    stream = memoryview(zip_directory.content(data, entry, budget=budget))
    machine = Machine(stream, names=ALL, budget=budget, persistent=storages.find)
    value = run(machine)
    if machine.at != len(stream):
        raise CheckpointError("has bytes after the end of its pickle (damaged)")
    return plain(value, budget=budget)


class _Storages:
    """Reads a member into memory when its storage is first named."""

    def __init__(
        self, data: memoryview, members: dict[str, Member], *, root: str, budget: Budget
    ) -> None:
        self.data = data
        self.members = members
        self.root = root
        self.budget = budget
        self.read: dict[str, Storage] = {}

    def find(self, identity: Any) -> Storage:
        """The storage of a persistent id."""
        dtype, key, numel = storage_type(identity, least=5, most=5)
        member = self.members.get(self.root + key)
        if member is None or member.method != zip_directory.STORED:
            raise CheckpointError(f"has no stored data for its storage {shown(key)}")
        if type(numel) is not int or numel * dtype.itemsize != member.size:
            raise CheckpointError(
                f"declares {shown(str(numel))} elements of {dtype} for a storage of "
                f"{member.size:,} bytes"
            )
        if key not in self.read:
            self.read[key] = self._fill(member)
        return Storage(self.read[key].memory, dtype)

    def _fill(self, member: Member) -> Storage:
        found = allocate(member.size, torch.uint8, limit=len(self.data), budget=self.budget)
        target = buffer(found)
        target[:] = self.data[member.at : member.at + member.packed]
        zip_directory.check(target, member)
        return found


def _root(members: dict[str, Member]) -> str | None:
    """The folder that holds the pickle, with its slash."""
    roots = [name.removesuffix(_PICKLE) for name in members if name.endswith(f"/{_PICKLE}")]
    return roots[0] if len(roots) == 1 and roots[0].count("/") == 1 else None
