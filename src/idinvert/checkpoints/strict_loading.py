"""Strict loading: a table of renamed keys, and a load that names every tensor that does not fit."""

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
"""What a network's constructor makes of arguments that are nonsense."""

_NAMED = 60  # keys named for each complaint before "and n more"
_PARTS = 4_000  # modules, parameters and buffers of any network, besides 16 for each tensor
_BESIDE = 1 << 26  # numbers in buffers that files do not hold
_LONGEST = 120  # characters of a key that are printed
_DIGITS = 6  # of a layer's number


@dataclass(frozen=True)
class Source:
    """Where one native tensor is stored in a file, and in which form.

    ``read`` leads from the file's form to the native one; ``write`` leads back, and tells the shape
    that the file must hold.
    """

    key: str
    read: Transform = Tensor.detach
    write: Transform = Tensor.detach


@dataclass(frozen=True)
class Constant:
    """A tensor of the file that has only one right value, such as a resampling filter."""

    key: str
    value: Tensor


Table = dict[str, Source | Constant]
"""A layout: native name to where that tensor is stored. The names of constants are only unique."""


def permuted(key: str, *axes: int) -> Source:
    """A tensor whose dimensions the file has in another order; native is ``permute(axes)``."""
    back = [axes.index(axis) for axis in range(len(axes))]
    return Source(key, lambda t: t.permute(axes), lambda t: t.permute(back))


def unsqueezed(key: str, *, before: int = 0, after: int = 0) -> Source:
    """A tensor that has more dimensions of size 1 in the file."""

    def write(t: Tensor) -> Tensor:
        return t.reshape(*(1,) * before, *t.shape, *(1,) * after)

    def read(t: Tensor) -> Tensor:
        return t.reshape(t.shape[before : t.ndim - after])

    return Source(key, read, write)


def shifted(key: str, by: float) -> Source:
    """A tensor to which the file's network adds a number at run time."""
    return Source(key, lambda t: t + by, lambda t: t - by)


def half_turn(filters: Tensor) -> Tensor:
    """Filters [..., k, k] turned by half a turn: a convolution's for a correlation's."""
    return filters.flip((-2, -1))


def affine(prefix: str) -> Table:
    """``weight`` and ``bias``, which have the same names and forms in the file."""
    return {part: Source(f"{prefix}.{part}") for part in ("weight", "bias")}


class StrictStateDict:
    """A file's state dict from which tensors are taken one by one, every key accounted for.

    Complaints are gathered and raised together by `finish`, so that a user sees all of them in one
    message. Until then a tensor that is missing or misshapen is stood in for by an empty one on
    the ``meta`` device, which has the shape that was asked for and takes no memory.

    Args:
        tensors: Name to tensor or array, as read from the file.
        what: What they are, for messages: ``"ffhq.pkl, network G_ema (NVlabs)"``.
        key: The config key that named the file, for messages.
    """

    def __init__(self, tensors: Mapping[str, Any], *, what: str, key: str) -> None:
        # A file may use anything as a key; a key that is no text is shown by its repr.
        self._left = {name if type(name) is str else repr(name): v for name, v in tensors.items()}
        self.what, self.key = what, key
        self._missing: list[str] = []
        self._misshapen: list[str] = []
        self._infinite: list[str] = []

    def __contains__(self, name: str) -> bool:
        """Whether a key is there and not yet taken."""
        return name in self._left

    def names(self) -> list[str]:
        """The keys not yet taken, in the file's order."""
        return list(self._left)

    def extent(self, before: str, after: str = ".") -> int:
        """One more than the highest number n of which there is a key ``{before}{n}{after}…``.

        A key that is missing in between is then named by whoever takes it.
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
        """Whether one of a table's tensors is there."""
        return any(source.key in self._left for source in table.values())

    def shape(self, name: str, *, ndim: int) -> tuple[int, ...]:
        """The shape of a tensor from which an architecture is read; the tensor is not taken.

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
        """As `shape`, in the native form, which has `ndim` dimensions."""
        assert isinstance(source, Source)
        with without_memory():
            foreign = source.write(torch.empty((1,) * ndim)).ndim
            return source.read(torch.empty(self.shape(source.key, ndim=foreign))).shape

    def take(
        self, name: str, *, shape: Sequence[int], dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Takes a tensor of this shape, on the CPU; one without data (``meta``) if it does not fit.

        Any real floating-point type becomes ``dtype``; integers, such as BatchNorm's count of
        batches, must have it.
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
        """Takes a tensor that has only one right value, such as a filter, and compares it."""
        found = self.take(name, shape=expected.shape)
        if not found.is_meta and not torch.allclose(found, expected.float(), rtol=1e-3, atol=1e-5):
            self._misshapen.append(f"{_shown(name)} has other values than the native network's")

    def drop(self, names: Iterable[str]) -> None:
        """Takes keys that have no bearing on the network, without looking at them."""
        for name in names:
            self._left.pop(name, None)

    def finish(self) -> None:
        """Raises a CheckpointError that names all keys missing, misshapen, or not asked for."""
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
        """Raises a CheckpointError that says what, why, and which key to change."""
        raise CheckpointError(f"{self.what}: {reason}; change {self.key}")


def load(
    make: Callable[[], Network],
    table: Table | None,
    state: StrictStateDict,
    *,
    absent: Iterable[str] = (),
    extra: bool = False,
) -> Network:
    """Builds a network and fills it, only once every tensor is known to fit.

    Args:
        make: Makes the network; called first without memory, so that a file cannot ask for more
            than it holds.
        table: Where each tensor is stored; None where the keys are the native ones.
        state: The file's tensors.
        absent: Native tensors that keep their initial values, drawn with a fixed seed.
        extra: Whether the file may hold more than the network, such as deeper layers.

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
        # Arithmetic on a stand-in (``meta``) would load torch's compiler, which takes seconds.
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
    """Ends the building of a network that has far more parts than its file has tensors.

    Raises:
        ValueError: From within, where the next part would be made.
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
    """Whatever is built inside has shapes and no numbers (the ``meta`` device).

    Sizes that a hostile file claims then cost nothing. What constructors do with numbers is left
    out as far as shapes allow: on that device it would load torch's compiler, seconds for nothing.
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
    """Leaves out drawing and arithmetic; constants written in the code are computed as ever."""

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
    """Whether the result of an elementwise function has the shape of the first, without numbers."""
    if not isinstance(one, Tensor) or not one.is_meta:
        return False
    return isinstance(other, int | float) or (
        isinstance(other, Tensor) and other.shape == one.shape
    )


def text_keys(content: Any) -> dict[str, Any]:
    """The content as a dict by name; {} where it is none."""
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        return {}
    return content


def _as_tensor(found: Any, dtype: torch.dtype) -> Tensor | None:
    """The tensor, or None where it is none in memory that can become one of that type."""
    if isinstance(found, np.ndarray) and found.dtype.kind == "f" and found.dtype.itemsize <= 8:
        native = np.ascontiguousarray(found, dtype=found.dtype.newbyteorder("="))
        return torch.from_numpy(native.copy()).reshape(found.shape)
    if isinstance(found, Tensor) and found.layout == torch.strided and not found.is_meta:
        real = found.dtype in FLOATS
        return found if found.dtype == dtype or (real and dtype.is_floating_point) else None
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
