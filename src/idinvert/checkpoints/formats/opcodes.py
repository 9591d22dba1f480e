"""The opcodes of a pickle, one small function each, and the loop over them."""

import codecs
import struct
from collections.abc import Callable
from typing import Any

from idinvert.checkpoints.formats.machine import Buildable, Machine
from idinvert.errors import CheckpointError

_HIGHEST_PROTOCOL = 5
_MARKS = 256  # open containers at one time
_LONG_BYTES = 64  # of an integer
_DIGITS = 160  # of an integer in decimal
_VIEWED = 512  # byte strings from here on stay views of the file, so that arrays copy once
_STOP = ord(".")


def run(machine: Machine) -> Any:
    """Reads one pickle, up to and with its STOP.

    Returns:
        The one value: nested containers that still hold this project's stand-ins; see `plain`.

    Raises:
        CheckpointError: Any opcode, name or value that is not allowed, or a broken stream.
    """
    machine.restart()
    data, steps, budget = machine.data, _STEPS, machine.budget
    while machine.at < len(data):
        code = data[machine.at]
        machine.at += 1
        if code == _STOP:
            if len(machine.stack) != 1 or machine.marks:
                raise CheckpointError("its pickle ends with open values, expected exactly one")
            return machine.stack.pop()
        step = steps.get(code)
        if step is None:
            raise CheckpointError(
                f"uses the pickle opcode {_REFUSED.get(code, hex(code))} at byte "
                f"{machine.at - 1:,}, which no checkpoint needs"
            )
        budget.spend_steps(1)
        step(machine)
    raise CheckpointError("ends inside its pickle (truncated), expected an end mark")


def text(raw: bytes | memoryview) -> str:
    """UTF-8 text; bytes that are none are written out, so that messages can always be printed."""
    return str(raw, "utf-8", "backslashreplace")


def _bytes(raw: memoryview) -> bytes | memoryview:
    return raw if len(raw) >= _VIEWED else bytes(raw)


def _old_text(raw: bytes | memoryview) -> str | bytes | memoryview:
    """Python 2's ``str`` is text or data: text where it is ASCII, data elsewhere."""
    if len(raw) >= _VIEWED:
        head = bytes(raw[:_VIEWED])
        if not head.isascii():
            return raw if isinstance(raw, memoryview) else memoryview(raw)
    plain = bytes(raw)
    return plain.decode("ascii") if plain.isascii() else plain


def _integer(raw: bytes) -> int | bool:
    if raw in (b"00", b"01"):
        return raw == b"01"
    digits = raw.removesuffix(b"L")
    if len(digits) > _DIGITS:
        raise CheckpointError(f"has an integer of {len(digits)} digits, expected at most {_DIGITS}")
    return int(digits)


def _long(machine: Machine, count: int) -> None:
    if not 0 <= count <= _LONG_BYTES:
        raise CheckpointError(f"has an integer of {count:,} bytes, expected at most {_LONG_BYTES}")
    machine.push(machine.number(count, signed=True))


def _put(machine: Machine, index: int) -> None:
    machine.memo[index] = machine.top(object, "remember")


def _get(machine: Machine, index: int) -> None:
    if index not in machine.memo:
        raise CheckpointError(f"asks for the remembered value {index:,}, which it never stored")
    machine.push(machine.memo[index])


def _proto(machine: Machine) -> None:
    protocol = machine.number(1)
    if protocol > _HIGHEST_PROTOCOL:
        raise CheckpointError(
            f"is a pickle of protocol {protocol}, expected at most {_HIGHEST_PROTOCOL}"
        )


def _frame(machine: Machine) -> None:
    length = machine.number(8)
    if length > len(machine.data) - machine.at:
        raise CheckpointError(
            f"has a frame of {length:,} bytes, but only {len(machine.data) - machine.at:,} are left"
        )


def _mark(machine: Machine) -> None:
    if len(machine.marks) >= _MARKS:
        raise CheckpointError(f"opens more than {_MARKS} containers within each other")
    machine.marks.append(machine.stack)
    machine.stack = []


def _pop_or_mark(machine: Machine) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.marked()


def _pop_mark(machine: Machine) -> None:
    machine.marked()


def _some(count: int) -> Callable[[Machine], None]:
    def close(machine: Machine) -> None:
        values = [machine.pop() for _ in range(count)]
        machine.push(tuple(reversed(values)))

    return close


def _dict(machine: Machine) -> None:
    target: dict[Any, Any] = {}
    machine.set_items(target, machine.marked())
    machine.push(target)


def _empty(kind: type) -> Callable[[Machine], None]:
    def push(machine: Machine) -> None:
        machine.budget.spend_steps(2)  # a container weighs more than a number
        machine.push(kind())

    return push


def _frozenset(machine: Machine) -> None:
    machine.push(frozenset(machine.key(value) for value in machine.marked()))


def _append(machine: Machine) -> None:
    value = machine.pop()
    machine.top(list, "append to").append(value)


def _appends(machine: Machine) -> None:
    values = machine.marked()
    machine.top(list, "append to").extend(values)


def _set_item(machine: Machine) -> None:
    value, key = machine.pop(), machine.pop()
    machine.set_items(machine.top(dict, "write into"), [key, value])


def _set_items(machine: Machine) -> None:
    flat = machine.marked()
    machine.set_items(machine.top(dict, "write into"), flat)


def _add_items(machine: Machine) -> None:
    values = machine.marked()
    machine.top(set, "add to").update(machine.key(value) for value in values)


def _global(machine: Machine) -> None:
    module, name = text(machine.line()), text(machine.line())
    machine.push(machine.find(module, name))


def _stack_global(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.push(machine.find(module, name))


def _reduce(machine: Machine) -> None:
    arguments, what = machine.pop(), machine.pop()
    machine.push(machine.make(what, arguments, new=False))


def _new_object(machine: Machine) -> None:
    arguments, what = machine.pop(), machine.pop()
    machine.push(machine.make(what, arguments, new=True))


def _new_object_ex(machine: Machine) -> None:
    keywords, arguments, what = machine.pop(), machine.pop(), machine.pop()
    if keywords != {}:
        raise CheckpointError("asks to construct an object with keywords, which is not done")
    machine.push(machine.make(what, arguments, new=True))


def _build(machine: Machine) -> None:
    state = machine.pop()
    machine.top(Buildable, "set the state of").build(state, machine.budget)


def _persistent(machine: Machine) -> None:
    identity = machine.pop()
    if machine.persistent is None:
        raise CheckpointError("refers to an object outside its pickle, expected none here")
    machine.push(machine.persistent(identity))


def _line_text(machine: Machine) -> None:  # protocol 0 writes Python 2 text as a literal
    raw = machine.line(len(machine.data))
    if len(raw) < 2 or raw[:1] != raw[-1:] or raw[:1] not in (b"'", b'"'):
        raise CheckpointError("has a text without its quotes (damaged)")
    machine.push(_old_text(codecs.escape_decode(raw[1:-1])[0]))  # type: ignore[attr-defined]


def _escaped_text(raw: bytes) -> str:
    plain = raw.decode("raw-unicode-escape", "replace")
    return text(plain.encode("utf-8", "backslashreplace"))


_REFUSED = {
    ord("P"): "PERSID",
    ord("i"): "INST",
    ord("o"): "OBJ",
    0x82: "EXT1",
    0x83: "EXT2",
    0x84: "EXT4",
    0x97: "NEXT_BUFFER",
    0x98: "READONLY_BUFFER",
}
"""Opcodes by their names: objects made of classes by name, numbered globals, foreign memory."""

_STEPS: dict[int, Callable[[Machine], None]] = {
    0x80: _proto,
    0x95: _frame,
    # Constants.
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    # Numbers.
    ord("I"): lambda m: m.push(_integer(m.line())),
    ord("L"): lambda m: m.push(_integer(m.line())),
    ord("J"): lambda m: m.push(m.number(4, signed=True)),
    ord("K"): lambda m: m.push(m.number(1)),
    ord("M"): lambda m: m.push(m.number(2)),
    0x8A: lambda m: _long(m, m.number(1)),
    0x8B: lambda m: _long(m, m.number(4, signed=True)),
    ord("F"): lambda m: m.push(float(m.line(_DIGITS))),
    ord("G"): lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    # Python 2's str.
    ord("S"): _line_text,
    ord("T"): lambda m: m.push(_old_text(m.take(m.number(4, signed=True)))),
    ord("U"): lambda m: m.push(_old_text(m.take(m.number(1)))),
    # Text.
    ord("V"): lambda m: m.push(_escaped_text(m.line(len(m.data)))),
    ord("X"): lambda m: m.push(text(m.take(m.number(4)))),
    0x8C: lambda m: m.push(text(m.take(m.number(1)))),
    0x8D: lambda m: m.push(text(m.take(m.number(8)))),
    # Bytes.
    ord("B"): lambda m: m.push(_bytes(m.take(m.number(4)))),
    ord("C"): lambda m: m.push(_bytes(m.take(m.number(1)))),
    0x8E: lambda m: m.push(_bytes(m.take(m.number(8)))),
    0x96: lambda m: m.push(_bytes(m.take(m.number(8)))),
    # Containers.
    ord("("): _mark,
    ord("0"): _pop_or_mark,
    ord("1"): _pop_mark,
    ord("2"): lambda m: m.push(m.top(object, "repeat")),
    ord(")"): lambda m: m.push(()),
    ord("t"): lambda m: m.push(tuple(m.marked())),
    0x85: _some(1),
    0x86: _some(2),
    0x87: _some(3),
    ord("]"): _empty(list),
    ord("l"): lambda m: m.push(m.marked()),
    ord("a"): _append,
    ord("e"): _appends,
    ord("}"): _empty(dict),
    ord("d"): _dict,
    ord("s"): _set_item,
    ord("u"): _set_items,
    0x8F: _empty(set),
    0x90: _add_items,
    0x91: _frozenset,
    # The memo.
    ord("p"): lambda m: _put(m, _integer(m.line())),
    ord("q"): lambda m: _put(m, m.number(1)),
    ord("r"): lambda m: _put(m, m.number(4)),
    0x94: lambda m: _put(m, len(m.memo)),
    ord("g"): lambda m: _get(m, _integer(m.line())),
    ord("h"): lambda m: _get(m, m.number(1)),
    ord("j"): lambda m: _get(m, m.number(4)),
    # Names and what is made of them.
    ord("c"): _global,
    0x93: _stack_global,
    ord("R"): _reduce,
    0x81: _new_object,
    0x92: _new_object_ex,
    ord("b"): _build,
    ord("Q"): _persistent,
}
