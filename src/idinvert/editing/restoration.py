"""Damages of images for restoration: their observations, and restorations without a generator."""

import hashlib
import importlib.util
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Gt, Le
from torch import Tensor
from torch.nn import functional

from idinvert.annotations import Count, PathText, PositiveInt, Seed
from idinvert.editing.masks import crop_mask, read_mask
from idinvert.errors import ConfigError, Note
from idinvert.inversion.observation import (
    LowResolution,
    Luma,
    Observation,
    Projection,
    Region,
    least_variation,
)

Size = tuple[int, int]
"""Width and height in pixels."""
Plain = Callable[[Observation, Tensor], Tensor]
"""Restores images [N, 3, R, R] from φ and observed values y, without a generator."""
FACTOR = 4
_HALF = 128


class Damage(ABC):
    """A kind of damage, which `observe=` selects."""

    name: ClassVar[str]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that are stored in records; files by content."""
        return dict(vars(self))

    @property
    @abstractmethod
    def plain(self) -> Mapping[str, Plain]:
        """Restorations for comparison, by name; the first is the usual one."""

    @abstractmethod
    def observation(self, resolution: int, sizes: Collection[Size]) -> Observation:
        """Return φ for images of a resolution.

        Args:
            resolution: R, of the generator.
            sizes: original sizes of the pictures, which are then read at R.

        Raises:
            ConfigError: a setting does not fit the images.
        """


@dataclass(frozen=True, kw_only=True)
class Colourisation(Damage):
    """The luma of images is known: Y = 0.299 R + 0.587 G + 0.114 B."""

    name = "colourisation"
    plain: ClassVar[Mapping[str, Plain]] = {"grey": lambda phi, seen: phi.lifted(seen)}

    def observation(self, resolution: int, sizes: Collection[Size]) -> Observation:
        return Luma()


@dataclass(frozen=True, kw_only=True)
class SuperResolution(Damage):
    """The mean of every square of factor × factor pixels is known.

    Args:
        factor: None for that of own pictures, and 4 otherwise.
    """

    name = "super_resolution"
    plain: ClassVar[Mapping[str, Plain]] = {
        "bicubic": lambda phi, seen: phi.picture(seen),
        "least_variation": least_variation,
    }

    factor: PositiveInt | None = None

    @property
    def settings(self) -> dict[str, Any]:
        return {"factor": self.factor or FACTOR}

    def observation(self, resolution: int, sizes: Collection[Size]) -> Observation:
        factor = self.factor or FACTOR
        if resolution % factor:
            known = [k for k in range(2, resolution + 1) if resolution % k == 0]
            near = min(known, key=lambda k: abs(k - factor))
            raise ConfigError(
                f"observe.factor={factor} does not divide the {resolution} px of the generator: "
                f"did you mean {near}? Known: {', '.join(map(str, known))}"
            )
        return LowResolution(factor)

    def of_pictures(self, sizes: Mapping[str, Size], resolution: int) -> "SuperResolution":
        """Return a copy with the factor of own low-resolution pictures, cropped to central squares.

        Args:
            sizes: sizes of the pictures, by name.
            resolution: R, of the generator.

        Raises:
            ConfigError: the squares differ in size, do not divide R, or do not match the factor.
        """
        sides = {name: min(size) for name, size in sizes.items()}
        known = [r for r in range(1, resolution) if resolution % r == 0]
        for name, side in sides.items():
            if side in known and self.factor in (None, resolution // side):
                continue
            wanted = known if self.factor is None else [max(1, resolution // self.factor)]
            near = min(wanted, key=lambda r: abs(r - side))
            beyond = f", not less than the {resolution} px of the generator" * (side >= resolution)
            more = f" (known: {', '.join(map(str, wanted))})" * (len(wanted) > 1)
            raise ConfigError(
                f"{name} has {'x'.join(map(str, sizes[name]))} pixels{beyond}: "
                f"observe=super_resolution takes low-resolution pictures, {near} px on the shorter "
                f"side{more}; change images, or measure on large ones by data=folder"
            )
        if len(set(sides.values())) > 1:
            one, other = min(sides, key=sides.__getitem__), max(sides, key=sides.__getitem__)
            raise ConfigError(
                f"{one} has {sides[one]} px on the shorter side and {other} {sides[other]}: "
                "observe=super_resolution takes pictures of one size; give each size by a call"
            )
        return SuperResolution(factor=resolution // next(iter(sides.values())))


@dataclass(frozen=True, kw_only=True)
class Inpainting(Damage):
    """All pixels outside a hole are known.

    Args:
        mask: an image file, white in the hole; None for a box.
        size: the box's side in pixels; None for 110 of 256.
        centre: its centre (x, y) in pixels; None for (125, 145) of 256.

    Raises:
        ConfigError: both a mask and a box, or a mask that is entirely black or white.
        DataError: the mask cannot be read.
    """

    name = "inpainting"

    mask: PathText | None = None
    size: PositiveInt | None = None
    centre: tuple[Count, Count] | None = None

    def __post_init__(self) -> None:
        if self.mask is None:
            return
        if self.size is not None or self.centre is not None:
            raise ConfigError(
                f"got observe.mask={self.mask} and a box (observe.size, observe.centre): expected "
                "the one or the other"
            )
        _check_hole(self._picture >= _HALF, of=f"observe.mask={self.mask}")

    @property
    def _picture(self) -> Tensor:
        assert self.mask is not None, "a box has none"
        words = {"white": "a picture is to be filled in", "black": "it is known"}
        return read_mask(self.mask, key="observe.mask", **words)

    @property
    def settings(self) -> dict[str, Any]:
        if self.mask is not None:
            shape = str(tuple(self._picture.shape)).encode()
            content = hashlib.sha256(shape + self._picture.numpy().tobytes())
            return {"mask": content.hexdigest()[:12]}
        return {"size": self.size, "centre": None if self.centre is None else list(self.centre)}

    @property
    def plain(self) -> Mapping[str, Plain]:
        found: dict[str, Plain] = {"biharmonic": biharmonic, "least_variation": least_variation}
        if importlib.util.find_spec("skimage") is None:
            del found["biharmonic"]
            text = "left out scikit-image's inpainting: pip install 'idinvert[restoration]'"
            warnings.warn(text, Note, stacklevel=2)
        return found

    def observation(self, resolution: int, sizes: Collection[Size]) -> Observation:
        if self.mask is None and self.size is None and set(sizes) != {(resolution, resolution)}:
            raise ConfigError(
                "your own pictures need observe.mask=FILE, white where they are to be "
                "filled in, or a box: observe.size=PIXELS, observe.centre=[X,Y]"
            )
        if self.mask is None:
            centre = None if self.centre is None else (self.centre[0], self.centre[1])
            hole = crop_mask(resolution, size=self.size, centre=centre, key="observe").bool()
        else:
            hole = self._fitted(resolution, sizes)
        words = "the mask" if self.mask is None else f"observe.mask={self.mask}"
        _check_hole(hole, of=f"{words} at {resolution} px")
        mask = (~hole).double()[None]
        return Region(mask=mask, fill=0.0, share=mask.mean())

    def _fitted(self, resolution: int, sizes: Collection[Size]) -> Tensor:
        """Return the hole at R, bool [1, R, R], cropped like pictures, with pixels partly in it."""
        picture = self._picture
        height, width = picture.shape[-2:]
        own = set(sizes) - {(resolution, resolution)}
        if (width, height) != (resolution, resolution) and set(sizes) != {(width, height)}:
            said = f" or {'x'.join(map(str, own.pop()))}, that of the pictures" if own else ""
            raise ConfigError(
                f"observe.mask={self.mask} has {width}x{height} pixels: expected "
                f"{resolution}x{resolution}, the generator's size{said}"
            )
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        square = (picture >= _HALF).float()[..., top : top + side, left : left + side]
        if side < resolution:
            return functional.interpolate(square[None], size=(resolution, resolution))[0] > 0
        return functional.adaptive_max_pool2d(square, resolution) > 0


@dataclass(frozen=True, kw_only=True)
class Compressive(Damage):
    """A number of random projections of the pixels is known.

    Args:
        ratio: their number, as a share of the 3R² values of an image, in (0, 1].
        seed: seed of the projection.
    """

    name = "compressive"
    plain: ClassVar[Mapping[str, Plain]] = {
        "pseudo_inverse": lambda phi, seen: phi.lifted(seen),
        "least_variation": least_variation,
    }

    ratio: Annotated[float, Gt(0), Le(1)] = 0.1
    seed: Seed = 0

    def __post_init__(self) -> None:
        if not 0 < self.ratio <= 1:
            raise ConfigError(f"observe.ratio={self.ratio}: expected a share above 0, at most 1")

    def observation(self, resolution: int, sizes: Collection[Size]) -> Observation:
        if resolution & (resolution - 1):
            raise ConfigError(
                f"observe=compressive takes images of a side that is a power of 2, not {resolution}"
            )
        return Projection(resolution=resolution, ratio=self.ratio, seed=self.seed)


def _check_hole(hole: Tensor, *, of: str) -> None:
    """Refuse a mask without a hole, or without known pixels.

    Raises:
        ConfigError: names the mask.
    """
    if not hole.any() or hole.all():
        colour, lacks = ("white", "known") if hole.any() else ("black", "filled in")
        raise ConfigError(
            f"{of} is {colour} all over: expected white where a picture is to be filled in, black "
            f"where it is known; nothing would be {lacks}"
        )


def biharmonic(phi: Observation, seen: Tensor) -> Tensor:
    """Fill the hole with scikit-image's `restoration.inpaint_biharmonic`."""
    from skimage.restoration import inpaint_biharmonic

    assert isinstance(phi, Region), "of inpainting"
    hole = (phi.mask[0, 0] == 0).cpu().numpy()
    pictures = seen.double().permute(0, 2, 3, 1).cpu().numpy()
    filled = [inpaint_biharmonic(one, hole, channel_axis=-1) for one in pictures]
    return torch.from_numpy(np.stack(filled)).permute(0, 3, 1, 2).to(seen)
