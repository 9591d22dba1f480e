"""Networks as other projects store them: tensors by layer, with a project's names and forms.

A subclass per architecture lists the layers and computes what they do; a subclass of that per
project says how the project names and shapes them, after that project's source.
"""

from collections.abc import Iterable
from typing import Any, ClassVar

from torch import Tensor

from .reference import normal

Shapes = dict[str, tuple[int, ...]]
"""Tensor of a layer to its native shape."""


class LayerFiles:
    """The names and forms of tensors in a file.

    ``names`` has the template of a layer's name by its kind, or of one tensor's by
    ``kind.tensor``; ``parts`` has what is put behind a layer's name for a tensor.
    """

    names: ClassVar[dict[str, str]]
    parts: ClassVar[dict[str, str]]
    last: int  # number of the highest resolution

    def to_file(self, kind: str, tensor: str, value: Tensor) -> Any:
        """A tensor in the file's form."""
        return value

    def to_native(self, kind: str, tensor: str, value: Tensor) -> Tensor:
        """A tensor of the file as ``[out, in, k, k]``, ``[out, in]``, ``[C, 4, 4]`` or ``[C]``."""
        return value

    def filters(self, kind: str, i: int) -> dict[str, Tensor]:
        """Resampling filters that the file holds beside a layer."""
        return {}

    def fields(self, kind: str, i: int) -> dict[str, Any]:
        """What stands in the templates of names, beside ``i`` and ``side``."""
        return {}

    def side(self, kind: str, i: int) -> int:
        """Side in pixels of what a layer computes; D's and E's blocks count from the image on."""
        doublings = {"conv": (i + 1) // 2, "rgb": i, "g_shortcut": i}.get(kind, self.last - i)
        return 4 << max(0, doublings)

    def scale(self, kind: str, tensor: str) -> float:
        """Deviation of a tensor's random numbers."""
        return 1.0

    def name(self, kind: str, i: int = 0, tensor: str = "") -> str:
        """The name of a tensor in the file."""
        template = self.names.get(f"{kind}.{tensor}")
        if template is None:
            template = self.names[kind] + (self.parts[tensor] if tensor else "")
        return template.format(i=i, n=i + 1, side=self.side(kind, i), **self.fields(kind, i))

    def get(self, p: dict[str, Tensor], kind: str, i: int = 0, tensor: str = "weight") -> Tensor:
        """A tensor of the file in its native form."""
        return self.to_native(kind, tensor, p[self.name(kind, i, tensor)])

    def fill(self, layers: Iterable[tuple[str, int, Shapes]], seed: int) -> dict[str, Any]:
        """Random tensors by their names in the file."""
        found: dict[str, Any] = {}
        for kind, i, shapes in layers:
            for tensor, shape in shapes.items():
                scale = self.scale(kind, tensor)
                value = normal(*shape, seed=1000 * seed + len(found), scale=scale)
                found[self.name(kind, i, tensor)] = self.to_file(kind, tensor, value)
            found |= self.filters(kind, i)
        return found


def layer(into: int, out: int, *kernel: int) -> Shapes:
    """The shapes of a dense layer or convolution."""
    return {"weight": (out, into, *kernel), "bias": (out,)}
