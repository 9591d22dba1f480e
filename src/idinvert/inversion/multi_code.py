"""Multi-code inversion: several codes through the first layers, blended, and the rest of G once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from idinvert.annotations import Count, PositiveFloat, PositiveInt, Seed, Space, Weight, WeightOfF
from idinvert.errors import ConfigError
from idinvert.inversion.initialization import (
    DRAWN,
    Init,
    check_choice,
    check_space,
    check_start,
    codes_in,
    native_space,
    seed_of,
    start_codes,
)
from idinvert.inversion.inversion import (
    Inversion,
    Progress,
    check_eval_mode,
    check_images,
    check_layer,
    now,
)
from idinvert.inversion.loop import Descent, gradients, plain
from idinvert.inversion.noise import NoiseKind, noise_for
from idinvert.inversion.optimize_codes import Region
from idinvert.inversion.optimizers import PLAIN, OptimizerName
from idinvert.inversion.perceptual import PerceptualTerm, check_weights, one_layer
from idinvert.losses.terms import absolute_loss, pixel_loss
from idinvert.networks.generator import SynthesisState

BLENDS = ("features", "images")


@dataclass(kw_only=True, eq=False, repr=False)
class MultiCodeInverter(Descent):
    """Optimise N codes of an image and how much each counts in every channel of a layer.

    Each code runs through the first `layer` layers of G. What these hand on is summed over the
    codes, channel c of code n times its importance α_{n,c}, and the rest of G runs once on the sum,
    with a code of its own. That is the features, and in StyleGAN2 also the image so far of a skip
    architecture and the shortcut of a residual one, each with its own α. All α start at 1 / N.

    It takes the settings of `Descent`, but no "lbfgs_gn".

    Args:
        perceptual: F, images [N, 3, R, R] in [-1, 1] to features [N, C, h, w], in eval mode;
            None only where `lambda_vgg` is 0.
        codes: N, besides the code of the layers behind the blend.
        layer: how many layers come before the blend, 1 to L − 1; None for 8 of 14, the original's,
            or as large a share of other depths (4 of 8).
        blend: "features" at `layer`, or "images": the N codes run through all of G and the colours
            of their images are blended, for comparison.
        lambda_pixel: weight of the pixel term.
        lambda_vgg: weight of the perceptual term.
        lr: of the codes and of α.
        init: "random" (M of z drawn by image id and code), "normal" or "uniform"; "mean" for one
            code alone, because equal codes have equal gradients and stay equal.
        space: of the codes: "w", "w_plus" (a code a layer), "z" (through M), or None for G's own.
        noise: what G is given, fixed throughout: constant buffers, drawn by image id, or none.
        seed: for whatever is drawn by image id.

    Raises:
        ConfigError: `lambda_vgg` is not 0 and there is no `perceptual`, or a value makes no sense.

    Source: Gu, Shen and Zhou 2020 (arXiv 1912.07116), Sec. 3; described in "GAN Inversion: A brief
        walkthrough, part III", Sec. 1.3.

    Differs from the paper: there G is PGGAN, whose later layers take no code; here they take one.
        F is the project's layer instead of VGG16's relu3_3. The kept iterate is the best.
    """

    name: ClassVar[str] = "multi_code"
    of_features: ClassVar[bool] = True
    optimizers = PLAIN
    lambda_on: ClassVar[dict[str, float]] = {"vgg16": 1.7e-5}
    """Weights of their own by the name of F; on any other F, the weight that belongs to it.

    Theirs is 0.001 on images standardised by ImageNet's deviations. F here takes the Caffe scale,
    57.6 times as large, and an absolute difference grows as much: 0.001 / 57.6. [inferred]
    """

    perceptual: nn.Module | None
    codes: PositiveInt = 20
    layer: PositiveInt | None = None
    blend: Literal["features", "images"] = "features"
    lambda_pixel: Weight = 1.0
    lambda_vgg: WeightOfF = 1.7e-5
    steps: Count = 3000
    optimizer: OptimizerName = "sgd"
    lr: PositiveFloat = 1.0
    init: Init = "random"
    space: Space | None = None
    noise: NoiseKind = "const"
    seed: Seed = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weights(
            perceptual=self.perceptual,
            lambda_pixel=self.lambda_pixel,
            lambda_vgg=self.lambda_vgg,
        )
        check_choice(self.blend, BLENDS, key="inversion.blend")
        check_start(self.init, space=self.space)
        if self.codes < 1:
            raise ConfigError(f"inversion.codes is {self.codes}: expected 1 code or more")
        if self.init == "mean" and self.codes > 1:
            raise ConfigError(
                f"inversion.init=mean starts all inversion.codes={self.codes} alike, and equal "
                "codes have equal gradients: use inversion.init=random, or inversion.codes=1"
            )
        if self.blend == "images" and self.layer is not None:
            raise ConfigError(
                f"inversion.blend=images runs all of G, but inversion.layer is {self.layer}: set "
                "inversion.layer=null"
            )
        self.features = None
        if self.perceptual is not None and self.lambda_vgg:
            self.features = one_layer(self.perceptual)

    @property
    def networks(self) -> Sequence[nn.Module]:
        """F."""
        return [] if self.perceptual is None else [self.perceptual]

    @property
    def settings(self) -> dict[str, Any]:
        """The choices that a record keeps."""
        drawn = self.noise == "random" or self.init in DRAWN
        return {
            "method": self.name,
            **super().settings,
            "codes": self.codes,
            "layer": self.layer or "auto",
            "blend": self.blend,
            "lambda_pixel": self.lambda_pixel,
            "lambda_vgg": self.lambda_vgg,
            "init": self.init,
            "space": self.space or "native",
            "noise": self.noise,
            **seed_of(self.seed, drawn=drawn),
        }

    def check(self, generator: Any) -> None:
        """Refuse a generator that this method does not fit.

        Raises:
            ConfigError: it has no such layer, nothing is left to run behind it, or no such space.
        """
        check_layer(self.layer, generator=generator)
        check_space(native_space(self.space, generator=generator), generator=generator)

    def invert(
        self,
        images: Tensor,
        *,
        generator: Any,
        ids: Tensor | None = None,
        progress: Progress | None = None,
    ) -> Inversion:
        """Invert a batch; see `Inverter.invert`.

        Returns:
            The kept iterate of every image, with the blended state that G goes on from. Its codes
            are those of the later layers; before them stands the mean of the N codes, which is not
            read. Its terms: "pixel" and "perceptual" (those whose weight is not 0), weighted.

        Raises:
            ConfigError: images and generator do not fit, see also `check`; a network is in training
                mode, or something is drawn and there are no ids.
        """
        return self._invert(images, generator=generator, ids=ids, progress=progress)

    def _invert(
        self,
        images: Tensor,
        *,
        generator: Any,
        ids: Tensor | None,
        progress: Progress | None,
        region: Region | None = None,
    ) -> Inversion:
        """Minimise the terms over a region or the whole images (None)."""
        check_images(images, generator=generator)
        check_eval_mode(self.perceptual, generator)
        self.check(generator)
        space, n = native_space(self.space, generator=generator), self.codes
        layer = generator.num_layers if self.blend == "images" else self.layer
        layer = layer or usual_layer(generator.num_layers)
        begin = now(images.device)

        with gradients():
            images = plain(images)
            given, maps = noise_for(
                self.noise, generator=generator, ids=ids, seed=self.seed, like=images
            )
            of_codes = given if maps is None else [each.repeat_interleave(n, 0) for each in maps]
            share = 1.0 if region is None else region.share
            x = images if region is None else region.inside(images)
            perceptual = None
            if self.features is not None:
                perceptual = PerceptualTerm(
                    self.features, weight=self.lambda_vgg, target=x, distance=absolute_loss
                )

            def blended(codes: Tensor, alpha: Tensor) -> tuple[Tensor, SynthesisState]:
                """All codes as w [B, N + 1, L, w_dim], and what the rest of G goes on from."""
                w = codes_in(space, codes.flatten(0, 1), generator=generator)
                w = w.unflatten(0, codes.shape[:2])
                first = w[:, :n].flatten(0, 1)
                state = generator.synthesis(first, noise=of_codes, stop=layer)
                return w, blend(state, alpha)

            def synthesise(codes: Tensor, alpha: Tensor) -> Tensor:
                w, state = blended(codes, alpha)
                return generator.synthesis(w[:, n], noise=given, resume=state)

            def objective(g: Tensor, codes: Tensor, alpha: Tensor) -> dict[str, Tensor]:
                """‖x − G(w, α)‖² + λ_vgg |F(x) − F(G(w, α))|."""
                y = g if region is None else region.inside(g)
                terms = {}
                if self.lambda_pixel:
                    terms["pixel"] = self.lambda_pixel * pixel_loss(x, y) / share
                if perceptual is not None:
                    terms["perceptual"] = perceptual(y) / share
                return terms

            start = [
                start_codes(
                    self.init,
                    space=space,
                    generator=generator,
                    ids=ids,
                    seed=self.seed,
                    like=images,
                    purpose=f"start {k}" if k else "start",
                )
                for k in range(n + 1)
            ]
            found = self.minimise(
                start=[torch.stack(start, dim=1), self._importance(generator, layer, like=images)],
                synthesise=synthesise,
                objective=objective,
                progress=progress,
            )
            with torch.no_grad():
                w, state = blended(*found.variables)
                kept = torch.cat([w[:, :n].mean(1)[:, :layer], w[:, n, layer:]], dim=1)
        return replace(found, variables=(kept,)).as_inversion(
            space="w_plus", generator=generator, noise=maps, begin=begin, state=state
        )

    def _importance(self, generator: Any, layer: int, *, like: Tensor) -> Tensor:
        """α at the start, 1 / N for every channel of what a layer hands on: [B, N, C]."""
        with torch.no_grad():
            mean = generator.w_avg.to(like)[None]
            maps = generator.synthesis(mean, noise="none", stop=layer).maps
        channels = sum(each.shape[1] for each in maps.values())
        return like.new_full((len(like), self.codes, channels), 1 / self.codes)


def usual_layer(layers: int) -> int:
    """The layer of L that 8 is of 14, the original's, rounded to whole resolutions: even."""
    return 2 * round(layers * 2 / 7)


def blend(state: SynthesisState, alpha: Tensor) -> SynthesisState:
    """Σ_n α_{n,c} F_n: the states of N codes as one, each channel with its own importance.

    Args:
        state: of B·N rows, all codes of the first image first.
        alpha: [B, N, C], for the C channels of all maps in the order of `SynthesisState.maps`.

    Returns:
        The state of B rows.

    Source: Gu et al. 2020, Eq. (2).
    """
    n = alpha.shape[1]
    sizes = [maps.shape[1] for maps in state.maps.values()]
    weights = iter(alpha.split(sizes, dim=2))

    def sum_of(maps: Tensor) -> Tensor:
        return (maps.unflatten(0, (-1, n)) * next(weights)[..., None, None]).sum(1)

    return state.each(sum_of)
