"""Names of Python, dnnlib and torch_utils that a pickle may use: containers and stored objects."""

from typing import Any

from idinvert.checkpoints.formats.archive import Stored
from idinvert.checkpoints.formats.budget import Budget, shown
from idinvert.checkpoints.formats.machine import Buildable, Name
from idinvert.checkpoints.formats.plain import StandIn
from idinvert.errors import CheckpointError

_LATIN = ("latin1", "latin-1", "iso-8859-1")
_KEY_TYPES = (str, bytes, int, float)


class Ordered(dict, Buildable):  # type: ignore[type-arg]
    """A dict of another class; attributes beside its items (``_metadata``) are dropped."""

    def build(self, state: Any, budget: Budget) -> None:
        """Drops the attributes."""
        del state, budget


class Attributes(dict, Buildable):  # type: ignore[type-arg]
    """An object that is nothing but its attributes, such as argparse.Namespace, as a dict."""

    def build(self, state: Any, budget: Budget) -> None:
        """Takes the attributes as items."""
        if not isinstance(state, dict):
            raise CheckpointError(f"has {shown(state)} as attributes by name, expected a dict")
        budget.spend_steps(len(state))
        self.update(state)


class StoredObject(StandIn):
    """An object kept as data, until its state is known."""

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name
        self.state: Any = None

    def build(self, state: Any, budget: Budget) -> None:
        """Keeps the state."""
        self.state = state

    def resolve(self, budget: Budget) -> Stored:
        """The object by its class's name."""
        return Stored(self.module, self.name, (), {}, self.state)


def _table() -> dict[tuple[str, str], Name]:
    entries = [
        Name("collections", "OrderedDict", call=_ordered, new=_ordered),
        Name("collections", "defaultdict", call=_default_dict, new=_default_dict),
        Name("collections", "Counter", call=_ordered, new=_ordered),
        Name("collections", "deque", call=_deque),
        Name("argparse", "Namespace", call=_attributes, new=_attributes),
        Name("_codecs", "encode", call=_encode),
        Name("torch_utils.persistence", "_reconstruct_persistent_obj", call=_persistent_object),
    ]
    for module, name in _DICTS:
        entries.append(Name(module, name, call=_ordered, new=_ordered))
    for module, name in _NETWORKS:
        entries.append(Name(module, name, new=_stored(module, name)))
    for module in ("builtins", "__builtin__"):
        entries += [
            Name(module, "set", call=_set, new=_set),
            Name(module, "frozenset", call=_set, new=_set),
            Name(module, "bytes", call=_bytes, new=_bytes),
            Name(module, "bytearray", call=_bytes, new=_bytes),
            Name(module, "complex", call=_complex),
        ]
        entries += [Name(module, name) for name in _BASES]
    for module in ("copyreg", "copy_reg"):
        entries += [
            Name(module, "_reconstructor", call=_reconstructor),
            Name(module, "__newobj__", call=_new_object),
        ]
    for module in ("pathlib", "pathlib._local"):
        for name in ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"):
            entries.append(Name(module, name, call=_path, new=_path))
    return {(entry.module, entry.name): entry for entry in entries}


def _expect(arguments: tuple[Any, ...], *kinds: Any, doing: str) -> None:
    """Refuses arguments of another number or of other types."""
    fits = len(arguments) == len(kinds) and all(map(isinstance, arguments, kinds))
    if not fits:
        got = ", ".join(shown(argument) for argument in arguments[:6])
        raise CheckpointError(f"asks for {doing} of ({got}), which is not how it is written")


def _scalar(value: Any, budget: Budget) -> Any:
    if type(value) is not str:
        budget.spend_number_keys(1)
    if type(value) in _KEY_TYPES:
        return value
    raise CheckpointError(f"has {shown(value)} as a key or member, expected text or a number")


def _ordered(arguments: tuple[Any, ...], budget: Budget) -> Ordered:
    if arguments == ():
        budget.spend_steps(2)
        return Ordered()
    _expect(arguments, list | tuple | dict, doing="a dict")
    pairs = arguments[0].items() if isinstance(arguments[0], dict) else arguments[0]
    budget.spend_steps(2 + 2 * len(pairs))
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise CheckpointError("has a dict that is not made of pairs")
    return Ordered((_scalar(key, budget), value) for key, value in pairs)


def _default_dict(arguments: tuple[Any, ...], budget: Budget) -> Ordered:
    if arguments and not isinstance(arguments[0], Name | None):
        raise CheckpointError(f"has a defaultdict of {shown(arguments[0])}, expected a type")
    return _ordered(arguments[1:], budget)


def _attributes(arguments: tuple[Any, ...], budget: Budget) -> Attributes:
    _expect(arguments, doing="attributes by name")
    budget.spend_steps(2)
    return Attributes()


def _deque(arguments: tuple[Any, ...], budget: Budget) -> list[Any]:
    if arguments == ():
        return []
    _expect(arguments[:1], list | tuple, doing="a deque")
    budget.spend_steps(len(arguments[0]))
    return list(arguments[0])


def _set(arguments: tuple[Any, ...], budget: Budget) -> set[Any]:
    if arguments == ():
        return set()
    _expect(arguments, list | tuple | set | frozenset, doing="a set")
    budget.spend_steps(2 + 2 * len(arguments[0]))
    return {_scalar(value, budget) for value in arguments[0]}


def _encode(arguments: tuple[Any, ...], budget: Budget) -> bytes | memoryview:
    """How protocol 2 writes bytes: as text in Latin-1."""
    _expect(arguments, str, str, doing="an encoding")
    if arguments[1] not in _LATIN:
        raise CheckpointError(f"asks for the encoding {shown(arguments[1])}, expected latin1")
    budget.spend_bytes(len(arguments[0]))
    return arguments[0].encode("latin-1")


def _bytes(arguments: tuple[Any, ...], budget: Budget) -> bytes | memoryview:
    if arguments == ():
        return b""
    if isinstance(arguments[0], str):
        return _encode(arguments, budget)
    _expect(arguments, bytes | memoryview, doing="bytes")
    return arguments[0]


def _complex(arguments: tuple[Any, ...], budget: Budget) -> complex:
    _expect(arguments, int | float, int | float, doing="a complex number")
    return complex(*arguments)


def _path(arguments: tuple[Any, ...], budget: Budget) -> str:
    _expect(arguments, *[str] * len(arguments), doing="a path")
    budget.spend_bytes(sum(map(len, arguments)))
    return "/".join(arguments).replace("//", "/", 1)


def _new_object(arguments: tuple[Any, ...], budget: Budget) -> Any:
    if not arguments or not isinstance(arguments[0], Name) or arguments[0].new is None:
        raise CheckpointError("asks to construct something that is not on the list of names")
    return arguments[0].new(arguments[1:], budget)


def _reconstructor(arguments: tuple[Any, ...], budget: Budget) -> Any:
    """How protocols 0 and 1 write an object: its class, a base, and the base's own value."""
    _expect(arguments, Name, Name, object, doing="an object")
    what, base, value = arguments
    if what.new is None or base.name not in ("object", "dict"):
        raise CheckpointError(f"asks to construct {what.path}, which is not on the list of names")
    return what.new((value,) if isinstance(value, dict) else (), budget)


def _stored(module: str, name: str) -> Any:
    def make(arguments: tuple[Any, ...], budget: Budget) -> StoredObject:
        _expect(arguments, doing=name)
        budget.spend_steps(2)
        return StoredObject(module, name)

    return make


def _persistent_object(arguments: tuple[Any, ...], budget: Budget) -> Stored:
    """NVlabs' modules carry their source text; the state is kept, the source is not looked at."""
    _expect(arguments, dict, doing="a persistent object")
    meta = arguments[0]
    name, state = meta.get("class_name"), meta.get("state")
    if meta.get("type") != "class" or not isinstance(name, str) or not isinstance(state, dict):
        raise CheckpointError(
            "has a persistent object without a class's name and a state, expected NVlabs' layout"
        )
    given = state.get("_init_args", ()), state.get("_init_kwargs", {})
    _expect(given, list | tuple, dict, doing="a persistent object's arguments")
    budget.spend_steps(4 + len(state) + len(given[0]))
    rest = {key: part for key, part in state.items() if key not in ("_init_args", "_init_kwargs")}
    return Stored("torch_utils.persistence", name, tuple(given[0]), given[1], rest)


_BASES = ("object", "dict", "list", "tuple", "str", "int", "float", "bool", "unicode", "long")

_DICTS = (
    ("dnnlib.util", "EasyDict"),
    ("dnnlib", "EasyDict"),
    ("easydict", "EasyDict"),
    ("pytorch_lightning.utilities.parsing", "AttributeDict"),
    ("lightning.pytorch.utilities.parsing", "AttributeDict"),
    ("lightning_fabric.utilities.data", "AttributeDict"),
)

_NETWORKS = (
    ("dnnlib.tflib.network", "Network"),
    ("dnnlib.tflib", "Network"),
    ("tfutil", "Network"),
)

CONTAINERS = _table()
"""By module and name."""
