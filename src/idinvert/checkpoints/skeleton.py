"""Networks built without memory, to learn their shapes before a file is believed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


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
