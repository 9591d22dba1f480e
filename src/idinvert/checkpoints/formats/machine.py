"""The pickle machine: an own interpreter, which never imports a name and never calls what it names.

A global is looked up by its two names in an explicit table, whose makers are this project's own
functions on plain data. Python's ``pickle`` is not used, so nothing of a file reaches it.
"""

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from idinvert.checkpoints.formats.budget import Budget, shown
from idinvert.errors import CheckpointError

_LINE = 1_024  # bytes of a line that holds a name or a number
_KEY_PARTS = 8  # entries of a tuple that is a dict key
_KEY_TYPES = (str, bytes, int, float, bool, complex, type(None))


class Name:
    """A global of the table, looked up and left as data; never the thing itself.

    Args:
        module: As the file says it.
        name: As the file says it.
        call: What REDUCE with this name makes of its arguments; None refuses.
        new: What NEWOBJ with this name makes of its arguments; None refuses.
        value: Data that goes with the name, such as the dtype of a storage class.
    """

    __slots__ = ("call", "module", "name", "new", "value")

    def __init__(
        self,
        module: str,
        name: str,
        *,
        call: "Maker | None" = None,
        new: "Maker | None" = None,
        value: Any = None,
    ) -> None:
        self.module = module
        self.name = name
        self.call = call
        self.new = new
        self.value = value

    @property
    def path(self) -> str:
        """Both names, with a dot."""
        return f"{self.module}.{self.name}"


Maker = Callable[[tuple[Any, ...], Budget], Any]
Names = Mapping[tuple[str, str], Name]


class Buildable:
    """One of this project's own stand-ins, the only objects that BUILD writes to."""

    def build(self, state: Any, budget: Budget) -> None:
        """Takes the state that a file gives the object.

        Raises:
            CheckpointError: Objects of this kind have none.
        """
        raise CheckpointError(f"the state of a {type(self).__name__} is set, and it has none")


class Machine:
    """The state of the interpreter: the stream, the stack, the memo. `opcodes.run` drives it.

    Args:
        data: The bytes.
        names: The globals that may be named.
        budget: What it may cost.
        persistent: What a persistent id stands for; None refuses them.
        at: Where to start.

    Attributes:
        at: Just behind the last opcode read.
    """

    def __init__(
        self,
        data: memoryview,
        *,
        names: Names,
        budget: Budget,
        persistent: Callable[[Any], Any] | None = None,
        at: int = 0,
    ) -> None:
        self.data = data
        self.names = names
        self.budget = budget
        self.persistent = persistent
        self.at = at
        self.stack: list[Any] = []  # of the innermost open container
        self.marks: list[list[Any]] = []  # the stacks around it
        self.memo: dict[int, Any] = {}

    def restart(self) -> None:
        """Forgets all values, before the next pickle of the stream."""
        self.stack, self.marks, self.memo = [], [], {}

    # What opcodes read from the stream.

    def take(self, count: int) -> memoryview:
        """The next bytes of the stream."""
        if count < 0 or count > len(self.data) - self.at:
            raise CheckpointError(
                f"says that {count:,} bytes follow at byte {self.at:,}, but only "
                f"{len(self.data) - self.at:,} are left (truncated or damaged)"
            )
        found = self.data[self.at : self.at + count]
        self.at += count
        return found

    def number(self, count: int, *, signed: bool = False) -> int:
        """A little-endian integer of the stream."""
        return int.from_bytes(self.take(count), "little", signed=signed)

    def line(self, limit: int = _LINE) -> bytes:
        """The bytes up to the next newline, at most ``limit``."""
        reach = 256
        while True:
            chunk = bytes(self.data[self.at : self.at + reach])
            end = chunk.find(b"\n")
            if end >= 0:
                self.at += end + 1
                return chunk[:end]
            if reach >= limit or len(chunk) < reach:
                raise CheckpointError(f"has no end of line after byte {self.at:,} (damaged)")
            reach *= 4

    # The stack.

    def push(self, value: Any) -> None:
        """Puts a value on the stack."""
        self.stack.append(value)

    def pop(self) -> Any:
        """Takes the top of the stack."""
        if not self.stack:
            raise CheckpointError(f"takes a value that is not there before byte {self.at:,}")
        return self.stack.pop()

    def top(self, kind: type | tuple[type, ...], doing: str) -> Any:
        """The top of the stack, which must be one of this project's containers."""
        if not self.stack or not isinstance(self.stack[-1], kind):
            found = shown(self.stack[-1]) if self.stack else "nothing"
            raise CheckpointError(f"asks to {doing} {found}, which is not done")
        return self.stack[-1]

    def marked(self) -> list[Any]:
        """The values above the last mark, which is taken away."""
        if not self.marks:
            raise CheckpointError(f"closes a container that is not open before byte {self.at:,}")
        found, self.stack = self.stack, self.marks.pop()
        return found

    def key(self, value: Any) -> Hashable:
        """A dict key or set member: text, or a number, or a short tuple of these."""
        if type(value) is str or type(value) is bytes:
            return value
        self.budget.spend_number_keys(1)
        parts = value if type(value) is tuple else (value,)
        if len(parts) <= _KEY_PARTS and all(type(part) in _KEY_TYPES for part in parts):
            return value
        raise CheckpointError(
            f"has {shown(value)} as a dict key, expected text, a number or a few of them"
        )

    def find(self, module: Any, name: Any) -> Name:
        """The table's entry for a global."""
        found = self.names.get((module, name)) if _texts(module, name) else None
        if found is None:
            asked = f"{module}.{name}" if _texts(module, name) else name
            raise CheckpointError(
                f"asks for the global {shown(asked)}, which is not on the list of names that a "
                "checkpoint may use (tensors, arrays, plain containers); it was not run"
            )
        return found

    def make(self, what: Any, arguments: Any, *, new: bool) -> Any:
        """The value that a name of the table makes of its arguments."""
        maker = (what.new if new else what.call) if type(what) is Name else None
        if maker is None or type(arguments) is not tuple:
            called = what.path if type(what) is Name else shown(what)
            raise CheckpointError(
                f"asks to {'construct' if new else 'call'} {called} with {shown(arguments)}, which "
                "is not on the list of what a checkpoint may do; it was not run"
            )
        return maker(arguments, self.budget)

    def set_items(self, target: dict[Any, Any], flat: list[Any]) -> None:
        """Writes alternating keys and values into a dict."""
        if len(flat) % 2:
            raise CheckpointError("has a dict key without a value")
        for index in range(0, len(flat), 2):
            target[self.key(flat[index])] = flat[index + 1]


def _texts(*values: Any) -> bool:
    return all(type(value) is str for value in values)
