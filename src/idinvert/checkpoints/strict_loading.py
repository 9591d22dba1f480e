"""Strict loading: tables of renamed keys, and a loader that reports every mismatched tensor."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from idinvert.checkpoints.tensor_file import FLOATS
from idinvert.errors import CheckpointError, IdinvertError

Network = TypeVar("Network", bound=nn.Module)
Transform = Callable[[Tensor], Tensor]

BUILD_ERRORS = (
    IdinvertError, ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError,
    RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""Exceptions that a network's constructor may raise for invalid arguments."""

_NAMED = 60  # maximum number of keys in each complaint, before "and n more"
_PARTS = 1_000  # maximum modules, parameters and buffers of a network, besides 16 per tensor
_BESIDE = 1 << 26  # maximum numbers in buffers that files do not contain
_LONGEST = 120  # maximum printed characters of a key
_DIGITS = 6  # maximum digits of a layer's number


@dataclass(frozen=True)
class Source:
    """Location and form of one native tensor in a file.

    ``read`` converts the file's form to the native one; ``write`` converts back, and determines
    the shape that the file must have.
    """

    key: str
    read: Transform = Tensor.detach
    write: Transform = Tensor.detach


@dataclass(frozen=True)
class Constant:
    """A tensor of the file with a single valid value, such as a resampling filter."""

    key: str
    value: Tensor


Table = dict[str, Source | Constant]
"""A layout: native name → location of that tensor. Names of constants need only be unique."""


def permuted(key: str, *axes: int) -> Source:
    """Describes a tensor with permuted dimensions in the file; native is ``permute(axes)``."""
    back = [axes.index(axis) for axis in range(len(axes))]
    return Source(key, lambda t: t.permute(axes), lambda t: t.permute(back))


def unsqueezed(key: str, *, before: int = 0, after: int = 0) -> Source:
    """Describes a tensor that has additional dimensions of size 1 in the file."""

    def write(t: Tensor) -> Tensor:
        return t.reshape(*(1,) * before, *t.shape, *(1,) * after)

    def read(t: Tensor) -> Tensor:
        return t.reshape(t.shape[before : t.ndim - after])

    return Source(key, read, write)


def shifted(key: str, by: float) -> Source:
    """Describes a tensor to which the file's network adds a number at run time."""
    return Source(key, lambda t: t + by, lambda t: t - by)


def half_turn(filters: Tensor) -> Tensor:
    """Rotates filters [..., k, k] by 180°: converts filters of a convolution to a correlation."""
    return filters.flip((-2, -1))


def affine(prefix: str) -> Table:
    """Describes ``weight`` and ``bias`` with the same names and forms as in the file."""
    return {part: Source(f"{prefix}.{part}") for part in ("weight", "bias")}


class StrictStateDict:
    """A file's state dict from which tensors are taken one by one; every key must be used.

    Errors are collected and raised together by `finish`, so that a user sees all of them in one
    message. Until then a missing or misshapen tensor is replaced by an empty one on the ``meta``
    device, which has the requested shape and uses no memory.

    Args:
        tensors: Name to tensor or array, as read from the file.
        what: Description for messages: ``"ffhq.pkl, network G_ema (NVlabs)"``.
        key: The config key that named the file, for messages.
    """

    def __init__(self, tensors: Mapping[str, Any], *, what: str, key: str) -> None:
        # A file may use any object as a key; keys that are not text are shown by their repr.
        self._left = {name if type(name) is str else repr(name): v for name, v in tensors.items()}
        self.what, self.key = what, key
        self._missing: list[str] = []
        self._misshapen: list[str] = []
        self._infinite: list[str] = []

    def __contains__(self, name: str) -> bool:
        """Returns whether a key is present and not yet taken."""
        return name in self._left

    def names(self) -> list[str]:
        """Returns the keys not yet taken, in the file's order."""
        return list(self._left)

    def extent(self, before: str, after: str = ".") -> int:
        """Returns one more than the highest number n with a key ``{before}{n}{after}…``.

        A missing key in between is reported when it is taken.
        """
        highest = -1
        for name in self._left:
            digits = (
                name.removeprefix(before).partition(after)[0] if name.startswith(before) else ""
            )
            if digits.isdecimal() and digits.isascii() and len(digits) < _DIGITS:
                highest = max(highest, int(digits))
        return highest + 1

    def holds(self, table: Table) -> bool:
        """Returns whether at least one of a table's tensors is present."""
        return any(source.key in self._left for source in table.values())

    def shape(self, name: str, *, ndim: int) -> tuple[int, ...]:
        """Returns the shape of a tensor without taking it, to infer an architecture.

        Raises:
            CheckpointError: It is missing, or does not have `ndim` dimensions.
        """
        if name not in self._left:
            self.fail(f"{_shown(name)} is missing, and the architecture cannot be read without it")
        found = self._left[name]
        size = tuple(getattr(found, "shape", ()))
        if not isinstance(found, Tensor | np.ndarray) or len(size) != ndim or 0 in size:
            self.fail(f"{_shown(name)} is {_describe(found)}, expected {ndim} dimensions")
        return size

    def native_shape(self, source: Source | Constant, *, ndim: int) -> torch.Size:
        """Like `shape`, but in the native form, which has `ndim` dimensions."""
        assert isinstance(source, Source)
        with without_memory():
            foreign = source.write(torch.empty((1,) * ndim)).ndim
            return source.read(torch.empty(self.shape(source.key, ndim=foreign))).shape

    def take(
        self, name: str, *, shape: Sequence[int], dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Takes a tensor of this shape, on the CPU; a mismatch returns one without data (``meta``).

        Any real floating-point dtype is converted to ``dtype``; integers, such as BatchNorm's batch
        counter, must already have it.
        """
        nothing = torch.empty(tuple(shape), device="meta")
        if name not in self._left:
            self._missing.append(name)
            return nothing
        found = self._left.pop(name)
        value = _as_tensor(found, dtype)
        if value is None or tuple(value.shape) != tuple(shape):
            self._misshapen.append(f"{_shown(name)} {_describe(found)} instead of {tuple(shape)}")
            return nothing
        value = value.detach().to(device="cpu", dtype=dtype)
        if not value.isfinite().all():
            self._infinite.append(_shown(name))
            return nothing
        return value

    def constant(self, name: str, expected: Tensor) -> None:
        """Takes a tensor with a single valid value, such as a filter, and compares it."""
        found = self.take(name, shape=expected.shape)
        if not found.is_meta and not torch.allclose(found, expected.float(), rtol=1e-3, atol=1e-5):
            self._misshapen.append(f"{_shown(name)} has other values than the native network's")

    def drop(self, names: Iterable[str]) -> None:
        """Removes keys that are irrelevant to the network, without checking their tensors."""
        for name in names:
            self._left.pop(name, None)

    def finish(self) -> None:
        """Raises a CheckpointError that names all keys that are missing, misshapen or unused."""
        complaints = []
        for kind, names in (
            ("missing", [_shown(name) for name in self._missing]),
            ("extra", [_shown(name) for name in self._left]),
            ("misshapen", self._misshapen),
            ("not finite in float32 (a training that diverged, or damage)", self._infinite),
        ):
            if names:
                rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
                complaints.append(f"{kind}: {', '.join(names[:_NAMED])}{rest}")
        if complaints:
            self.fail(f"tensors do not fit ({'; '.join(complaints)})")

    def fail(self, reason: str) -> NoReturn:
        """Raises a CheckpointError with the description, the reason, and the key to change."""
        raise CheckpointError(f"{self.what}: {reason}; change {self.key}")


def load(
    make: Callable[[], Network],
    table: Table | None,
    state: StrictStateDict,
    *,
    absent: Iterable[str] = (),
    extra: bool = False,
) -> Network:
    """Builds a network and fills it, after checking every tensor.

    Args:
        make: Builds the network; first called without memory, so that a file cannot claim more
            memory than its own size.
        table: Location of each tensor; None if the keys are the native ones.
        state: The file's tensors.
        absent: Native tensors that keep their initial values, drawn with a fixed seed.
        extra: Whether the file may contain more than the network, such as deeper layers.

    Returns:
        The network in ``eval()``, without gradients.

    Raises:
        CheckpointError: A tensor is missing, extra or misshapen, or the architecture is impossible.
    """
    try:
        with without_memory(), _at_most(_PARTS + 16 * len(state.names())):
            skeleton = make()
            shapes = skeleton.state_dict()
        beside = sum(b.numel() for name, b in skeleton.named_buffers() if name not in shapes)
        if beside > _BESIDE:
            state.fail(f"the architecture asks for {beside:,} numbers that no file holds")
    except CheckpointError:
        raise
    except BUILD_ERRORS as error:
        reason = str(error).partition("\n")[0]
        state.fail(f"no native network has this architecture ({reason})")
    table = {name: Source(name) for name in shapes} if table is None else table
    sources = {name: source for name, source in table.items() if isinstance(source, Source)}
    with without_memory():
        forms = {name: source.write(shapes.pop(name)) for name, source in sources.items()}
    left = shapes.keys() - set(absent)
    assert not left, f"the layout says nothing of {sorted(left)}"
    values = {}
    for name, source in sources.items():
        found = state.take(source.key, shape=forms[name].shape, dtype=forms[name].dtype)
        # Arithmetic on a placeholder (``meta``) would load torch's compiler, which takes seconds.
        values[name] = found if found.is_meta else source.read(found)
    for entry in table.values():
        if isinstance(entry, Constant):
            state.constant(entry.key, entry.value)
    if extra:
        state.drop(state.names())
    state.finish()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        network = make()
    network.load_state_dict(values, strict=False)
    return network.eval().requires_grad_(False)


@contextmanager
def _at_most(parts: int) -> Iterator[None]:
    """Stops the construction of a network that has far more parts than its file has tensors.

    Raises:
        ValueError: In the body of the context, at the first part above the limit.
    """
    left = parts

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError(f"it asks for more than {parts:,} parts, and the file has fewer")

    module = nn.modules.module
    handles = [
        module.register_module_parameter_registration_hook(count),
        module.register_module_buffer_registration_hook(count),
        module.register_module_module_registration_hook(count),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def without_memory() -> Iterator[None]:
    """Context in which everything is built with shapes but without data (the ``meta`` device).

    Sizes claimed by a hostile file then use no memory. Arithmetic in constructors is skipped as far
    as shapes allow, because on that device it would load torch's compiler, which takes seconds.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"), _ShapesAlone():
        yield


_SAME_SHAPE = (Tensor.normal_, Tensor.uniform_, nn.init.normal_, nn.init.uniform_, Tensor.flip)
_ELEMENTWISE = {
    getattr(Tensor, name)
    for name in (
        "add", "sub", "mul", "div", "__add__", "__radd__", "__sub__", "__rsub__", "__mul__",
        "__rmul__", "__truediv__", "gt", "ge", "lt", "le", "__and__",
    )
}  # fmt: skip


class _ShapesAlone(TorchFunctionMode):
    """Skips random draws and arithmetic; constants in the code are computed as usual."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.randn:
            return torch.empty(*args, **{k: v for k, v in kwargs.items() if k != "generator"})
        if func is torch.tensor:
            kwargs = {"device": "cpu"} | kwargs
        if func in _SAME_SHAPE:
            return args[0] if args else kwargs["tensor"]
        if func in _ELEMENTWISE and _keeps_shape(*args[:2]):
            return args[0]
        return func(*args, **kwargs)


def _keeps_shape(one: Any, other: Any = 0) -> bool:
    """Returns whether an elementwise function's result has the first argument's shape, on meta."""
    if not isinstance(one, Tensor) or not one.is_meta:
        return False
    return isinstance(other, int | float) or (
        isinstance(other, Tensor) and other.shape == one.shape
    )


def text_keys(content: Any) -> dict[str, Any]:
    """Returns the content as a dict by name; {} if it is not one."""
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        return {}
    return content


def _as_tensor(found: Any, dtype: torch.dtype) -> Tensor | None:
    """Returns the tensor; None if it is not in memory or cannot be converted to the dtype."""
    if isinstance(found, np.ndarray) and found.dtype.kind == "f" and found.dtype.itemsize <= 8:
        native = np.ascontiguousarray(found, dtype=found.dtype.newbyteorder("="))
        return torch.from_numpy(native.copy()).reshape(found.shape)
    if isinstance(found, Tensor) and found.layout == torch.strided and not found.is_meta:
        real = found.dtype in FLOATS
        return found if found.dtype == dtype or (real and dtype.is_floating_point) else None
    return None


def _describe(found: Any) -> str:
    """Returns the shape, and the dtype if it is not float32."""
    if not isinstance(found, Tensor | np.ndarray):
        return f"of type {type(found).__name__}"
    size = str(tuple(found.shape))
    kind = str(found.dtype).removeprefix("torch.")
    return size if kind == "float32" else f"{size} {kind}"


def _shown(name: Any) -> str:
    """Returns a printable form of a key."""
    text = str(name)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
