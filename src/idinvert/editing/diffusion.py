"""Semantic diffusion: blends a part of one image into the context of another (Sec. 4.3)."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from idinvert.annotations import Count, PathText, PositiveInt, Space
from idinvert.editing.masks import crop_mask, fit_mask, read_mask
from idinvert.errors import ConfigError
from idinvert.inversion.initialization import Init, check_choice
from idinvert.inversion.inversion import Inversion, Progress, Request, check_images
from idinvert.inversion.observation import Region
from idinvert.inversion.optimize_codes import OptimizeCodes
from idinvert.inversion.optimizers import PLAIN
from idinvert.inversion.working_set import gradients, plain

FILLS = {"grey": 0.0, "black": -1.0}
AVERAGES = ("image", "mask")


@dataclass(kw_only=True, eq=False, repr=False)
class DiffusionInverter(OptimizeCodes):
    """Invert stitched images with a loss on the pasted region alone.

    An `Inverter` for the images of `masks.paste`: it starts at E(stitched), which already blends
    the two, and minimises the first two terms of Eq. (4) inside the mask, where the stitched image
    is the target. Pixels outside are unconstrained; there is no domain regulariser, as in the
    authors' code. Other settings are those of `OptimizeCodes`, except the optimiser "lbfgs_gn".

    Args:
        mask: an image file, white where the target is; None for a box.
        size: the box's side in pixels; None for the authors' 110 of 256.
        centre: its centre (x, y) in pixels; None for the authors' (125, 145) of 256.
        fill: value of both images outside the mask when they are compared: "grey" (0, the authors'
            PyTorch code) or "black" (-1, their TensorFlow code). It affects F alone.
        average: "image", as the authors: the terms are means over all elements, so a small mask
            has a small weight; or "mask": divided by the mask's share of the image.

    Raises:
        ConfigError: a value is invalid.
        DataError: the mask's file cannot be read.

    Source: Sec. 4.3, Fig. 6, App. A1 (Fig. 16).

    Differs from the paper: it states no weights and no crop; they are from the authors' code.
    """

    name = "diffusion"
    optimizers = PLAIN

    encoder: nn.Module = field()
    latent: str = "w_plus"
    mask: PathText | None = None
    size: PositiveInt | None = None
    centre: tuple[Count, Count] | None = None
    fill: Literal["grey", "black"] = "grey"
    average: Literal["image", "mask"] = "image"
    steps: PositiveInt = 100
    init: Literal["encoder"] | Init = field(default="encoder", init=False)
    space: Space | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self.fill, tuple(FILLS), key="inversion.fill")
        check_choice(self.average, AVERAGES, key="inversion.average")
        if self.mask is not None and (self.size is not None or self.centre is not None):
            raise ConfigError(
                f"got inversion.mask={self.mask} and a box (inversion.size, inversion.centre): "
                "expected the one or the other"
            )
        if not isinstance(self.mask, str | Path | None):
            raise ConfigError(
                f"got inversion.mask={self.mask!r}: expected the path of an image file, white "
                "where the target is, or null for a box; change inversion.mask"
            )
        if self.centre is not None and len(self.centre) != 2:
            raise ConfigError(f"inversion.centre is {list(self.centre)}: expected [x, y] in pixels")
        self.picture = None if self.mask is None else read_mask(self.mask)
        self.centre = None if self.centre is None else (int(self.centre[0]), int(self.centre[1]))

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that are stored in records."""
        part: dict[str, Any] = {
            "size": self.size,
            "centre": None if self.centre is None else list(self.centre),
        }
        if self.picture is not None:
            shape = str(tuple(self.picture.shape)).encode()
            content = hashlib.sha256(shape + self.picture.numpy().tobytes()).hexdigest()[:12]
            part = {"mask": content}
        shared = {key: value for key, value in super().settings.items() if key != "init"}
        return shared | part | {"fill": self.fill, "average": self.average}

    def mask_for(self, resolution: int) -> Tensor:
        """Return the mask for `masks.paste`: float32 [1, R, R], 1 where the target is."""
        if self.picture is not None:
            return fit_mask(self.picture, resolution=resolution)
        return crop_mask(resolution, size=self.size, centre=self.centre)

    def invert(
        self,
        images: Tensor,
        *,
        generator: Any,
        ids: Tensor | None = None,
        progress: Progress | None = None,
        masks: Tensor | None = None,
    ) -> Inversion:
        """Diffuse a batch of pasted images; see `Inverter.invert`.

        Args:
            images: the images of `masks.paste`, float [N, 3, R, R] in [-1, 1].
            generator, ids, progress: see `Inverter.invert`.
            masks: one mask per image, [N, 1, R, R]; None for `mask_for`.

        Returns:
            The kept iterate of every image; its start is E's blend.
        """
        check_images(images, generator=generator)
        side = generator.resolution
        with gradients():
            if masks is None:
                m = self.mask_for(side)
            else:
                m = fit_mask(plain(masks), resolution=side, key="masks")
            m = m.to(plain(images)).expand(len(images), 1, side, side)
            share = m.mean((1, 2, 3)) if self.average == "mask" else torch.ones_like(m[:, 0, 0, 0])
            region = Region(mask=m, fill=FILLS[self.fill], share=share)
        return self._invert(Request(images, generator, ids, progress, region))
