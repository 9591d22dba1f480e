"""Semantic diffusion: a part of one image grown into the context of another (Sec. 4.3)."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from idinvert.editing.masks import crop_mask, fit_mask, read_mask
from idinvert.errors import ConfigError
from idinvert.inversion.descent import Descent
from idinvert.inversion.draw import seed_of
from idinvert.inversion.fit import fit_codes
from idinvert.inversion.inversion import (
    Inversion,
    Progress,
    check_codes,
    check_evaluating,
    check_images,
)
from idinvert.inversion.loop import gradients, plain
from idinvert.inversion.noise import NoiseKind, noise_for
from idinvert.inversion.optimizers import PLAIN, check_optimizer
from idinvert.inversion.perceptual import PerceptualTerm, check_weights, one_layer
from idinvert.inversion.starts import (
    Space,
    check_choice,
    check_latent,
    check_space,
    encoded_start,
)
from idinvert.inversion.timing import now
from idinvert.losses.pixel import pixel_loss

FILLS = {"grey": 0.0, "black": -1.0}
AVERAGES = ("image", "mask")


class DiffusionInverter:
    """Invert stitched images with a loss that sees the pasted part alone.

    An `Inverter` over the images of `masks.paste`: it starts at E(stitched), which already blends
    the two, and minimises the first two terms of Eq. (4) inside the mask, where the stitched image
    is the target. The rest is free to follow; there is no domain regulariser, as in the authors'
    code.

    Args:
        encoder: E, images [N, 3, R, R] to codes [N, L, w_dim], in eval mode.
        perceptual: F, images [N, 3, R, R] in [-1, 1] to features [N, C, h, w], in eval mode;
            None only where `lambda_vgg` is 0.
        latent: E's own space: "w_plus", "w" or "z".
        mask: an image file, white where the target is; None for a box.
        size: the box's side in pixels; None for the authors' 110 of 256.
        centre: its centre (x, y) in pixels; None for the authors' (125, 145) of 256.
        fill: what both images are outside the mask when they are compared: "grey" (0, the authors'
            PyTorch code) or "black" (-1, their TensorFlow code). It tells for F alone.
        average: "image", the authors': the terms are means over all elements, so a small mask
            weighs little; or "mask": divided by the mask's share of the image.
        lambda_vgg: weight of the perceptual term.
        steps: optimisation steps.
        optimizer: "adam" or "lbfgs", which takes fewer steps (`optimizers.py`).
        lr: Adam's learning rate; the size of L-BFGS's first step.
        betas: Adam's constants.
        schedule: factor on a step: "constant", "cosine" or "ramps".
        space: "w_plus" moves every layer's code, "w" one code for all layers (the mean of E's), "z"
            the z that M makes codes of; None for E's own.
        noise: what G is given, fixed throughout: constant buffers (or the encoder's maps), drawn
            by image id, or none.
        seed: for noise drawn by image id.
        early_stop: freeze an image after this many steps without a gain; None for never.
        early_stop_gain: the share of its loss that an image must have lost for that to be a gain.
        keep_best: return the iterate of least loss of every image, not the last one.

    Raises:
        ConfigError: a value makes no sense.
        DataError: the mask's file cannot be read.

    Source: Sec. 4.3, Fig. 6, App. A1 (Fig. 16).

    Differs from the paper: it gives no weights and no crop; they are those of the authors' code.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        perceptual: nn.Module | None,
        latent: str = "w_plus",
        mask: str | Path | None = None,
        size: int | None = None,
        centre: Sequence[int] | None = None,
        fill: Literal["grey", "black"] = "grey",
        average: Literal["image", "mask"] = "image",
        lambda_vgg: float = 5e-5,
        steps: int = 100,
        optimizer: Literal["adam", "lbfgs"] = "adam",
        lr: float = 0.01,
        betas: Sequence[float] = (0.9, 0.999),
        schedule: str = "constant",
        space: Space | None = None,
        noise: NoiseKind = "const",
        seed: int = 0,
        early_stop: int | None = None,
        early_stop_gain: float = 0.01,
        keep_best: bool = True,
    ) -> None:
        check_optimizer(optimizer, PLAIN)
        check_weights(perceptual=perceptual, lambda_vgg=lambda_vgg)
        check_choice(fill, tuple(FILLS), key="inversion.fill")
        check_choice(average, AVERAGES, key="inversion.average")
        if mask is not None and (size is not None or centre is not None):
            raise ConfigError(
                f"got inversion.mask={mask} and a box (inversion.size, inversion.centre): expected "
                "the one or the other"
            )
        if centre is not None and len(centre) != 2:
            raise ConfigError(f"inversion.centre is {list(centre)}: expected [x, y] in pixels")
        self.encoder, self.perceptual = encoder, perceptual
        self.picture = None if mask is None else read_mask(mask)
        self.size = size
        self.centre = None if centre is None else (int(centre[0]), int(centre[1]))
        self.fill, self.average, self.lambda_vgg = fill, average, lambda_vgg
        self.descent = Descent(
            steps=steps,
            optimizer=optimizer,
            lr=lr,
            betas=betas,
            schedule=schedule,
            early_stop=early_stop,
            early_stop_gain=early_stop_gain,
            keep_best=keep_best,
        )
        self.space = check_latent(latent, space)
        self.noise: NoiseKind = noise
        self.seed = seed

    @property
    def networks(self) -> Sequence[nn.Module]:
        """E and F."""
        return [net for net in (self.encoder, self.perceptual) if net is not None]

    @property
    def settings(self) -> dict[str, Any]:
        """The choices that a record keeps."""
        part: dict[str, Any] = {
            "size": self.size,
            "centre": None if self.centre is None else list(self.centre),
        }
        if self.picture is not None:
            shape = str(tuple(self.picture.shape)).encode()
            content = hashlib.sha256(shape + self.picture.numpy().tobytes()).hexdigest()[:12]
            part = {"mask": content}
        return {
            "method": "diffusion",
            **self.descent.settings,
            **part,
            "fill": self.fill,
            "average": self.average,
            "lambda_vgg": self.lambda_vgg,
            "space": self.space,
            "noise": self.noise,
            **seed_of(self.seed, drawn=self.noise == "random"),
        }

    def mask_for(self, resolution: int) -> Tensor:
        """The mask at a resolution: float32 [1, R, R], 1 where the target is; for `masks.paste`."""
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
        """Diffuse a batch of stitched images; see `Inverter.invert`.

        Args:
            images: what `masks.paste` gave, float [N, 3, R, R] in [-1, 1].
            generator: frozen G in eval mode.
            ids: image ids, int64 [N]; needed where noise is drawn.
            progress: called with (steps done, steps in all).
            masks: masks of their own for these images, [N, 1, R, R]; None for `mask_for`.

        Returns:
            The kept iterate of every image; its start is E's blend.

        Raises:
            ConfigError: if images, masks, encoder and generator do not fit, or a network is in
                training mode.
        """
        check_images(images, generator=generator)
        check_evaluating(self.encoder, self.perceptual, generator)
        space = self.space
        check_space(space, generator=generator)
        side = generator.resolution
        begin = now(images.device)

        with gradients():
            stitched = plain(images)
            if masks is None:
                m = self.mask_for(side)
            else:
                m = fit_mask(plain(masks), resolution=side, key="masks")
            m = m.to(stitched).expand(len(stitched), 1, side, side)
            share = m.mean((1, 2, 3)) if self.average == "mask" else torch.ones_like(m[:, 0, 0, 0])
            x = inside(stitched, m, fill=FILLS[self.fill])
            with torch.no_grad():
                encoding = self.encoder.encode(stitched)  # type: ignore[operator]
                check_codes(encoding.codes, generator=generator)
            perceptual = None
            if self.perceptual is not None and self.lambda_vgg:
                features = one_layer(self.perceptual)
                perceptual = PerceptualTerm(features, weight=self.lambda_vgg, target=x)
            noise = noise_for(
                self.noise,
                generator=generator,
                ids=ids,
                seed=self.seed,
                like=x,
                encoded=encoding.noise,
            )

            def objective(g: Tensor, w: Tensor) -> dict[str, Tensor]:
                y = inside(g, m, fill=FILLS[self.fill])
                terms = {"pixel": pixel_loss(x, y) / share}
                if perceptual is not None:
                    terms["perceptual"] = perceptual(y) / share
                return terms

            return fit_codes(
                encoded_start(encoding, space=space, like=x),
                space=space,
                generator=generator,
                noise=noise,
                objective=objective,
                descent=self.descent,
                begin=begin,
                progress=progress,
            )


def inside(images: Tensor, mask: Tensor, *, fill: float) -> Tensor:
    """Images as they are where the mask is 1, and of one colour where it is 0."""
    return images * mask + fill * (1 - mask)
