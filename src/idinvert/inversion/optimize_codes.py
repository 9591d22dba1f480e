"""Optimise codes by Eq. (4): in-domain inversion and methods with other terms or weights."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from idinvert.annotations import Count, PositiveFloat, Seed, Space, Weight, WeightOfF
from idinvert.inversion.curvature import Preconditioner, Response, preconditioner
from idinvert.inversion.initialization import (
    DRAWN,
    INITS,
    SPACES,
    Init,
    check_choice,
    check_latent,
    check_space,
    check_start,
    codes_in,
    encoded_start,
    seed_of,
    start_codes,
)
from idinvert.inversion.inversion import Inversion, Request, check_codes, now
from idinvert.inversion.loop import Descent
from idinvert.inversion.noise import NoiseKind
from idinvert.inversion.observation import Observation, Restorer
from idinvert.inversion.perceptual import PerceptualTerm, all_taps, check_weights, one_layer
from idinvert.inversion.working_set import Rows, at, gradients, plain
from idinvert.losses.terms import code_loss, pixel_loss

WEIGHTS = ("lambda_pixel", "lambda_vgg", "lambda_dom")


@dataclass(kw_only=True, eq=False, repr=False)
class OptimizeCodes(Descent, Restorer):
    """Optimise codes so that G reproduces the image, with the terms that a preset selects.

    The terms are means over their elements, as in the authors' code. The presets below differ in
    their terms, weights, start and number of steps. They all take the settings of `Descent`.

    Args:
        perceptual: F, images [N, 3, R, R] in [-1, 1] to features [N, C, h, w], in eval mode;
            None only where `lambda_vgg` is 0.
        lambda_vgg: weight of the perceptual term.
        init: "random" (M of a z drawn by image id), "mean" (w̄), "normal" (the authors' own start
            without an encoder) or "uniform", see `initialization.start_codes`; "encoder" (E(x)) if
            there is an encoder.
        space: "w_plus" optimises one code per layer, "w" one code for all layers (the mean of
            E's), "z" the input of M, with the domain regulariser on z, too; None for E's own.
        noise: the noise of G, fixed throughout: constant buffers (or the encoder's noise maps, if
            it predicts any, Sec. 6.3), drawn by image id, or none.
        seed: seed of everything that is drawn by image id.

    Attributes:
        encoder: E, images [N, 3, R, R] to codes [N, L, w_dim], in eval mode, or None.
        latent: E's own space: "w_plus", "w" or "z".
        lambda_pixel: weight of the pixel term.
        lambda_dom: weight of the domain regulariser; its gradient flows through E∘G. E includes its
            offset (Eq. 6) if it has one.

    Raises:
        ConfigError: `lambda_vgg` is not 0 and there is no `perceptual`, a value is invalid, or
            E's z is required and E gives none.

    Source: Eq. (4), Sec. 3.2.
    """

    name: ClassVar[str]
    several_layers: ClassVar[bool] = False
    """Whether the perceptual term compares all layers that F taps, or the one of Eq. (4)."""

    perceptual: nn.Module | None
    lambda_vgg: WeightOfF = 5e-5
    lr: PositiveFloat = 0.01
    init: Literal["encoder"] | Init = "random"
    space: Space | None = "w_plus"
    noise: NoiseKind = "const"
    seed: Seed = 0
    # Only some presets have these; they declare them again, as keywords.
    encoder: nn.Module | None = field(default=None, init=False)
    latent: str = field(default="w_plus", init=False)
    lambda_pixel: Weight = field(default=1.0, init=False)
    lambda_dom: Weight = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weights(perceptual=self.perceptual, **self.weights)
        if self.encoder is None:
            check_choice(self.space, SPACES, key="inversion.space")
            check_start(self.init, space=self.space)
        else:
            check_choice(self.init, ("encoder", *INITS), key="inversion.init")
            needs_z = self.init == "encoder" or self.lambda_dom > 0
            self.space = check_latent(self.latent, self.space, needs_z=needs_z)
            if self.init != "encoder":
                check_start(self.init, space=self.space)
        self.features = None
        if self.perceptual is not None and self.lambda_vgg:
            self.features = (all_taps if self.several_layers else one_layer)(self.perceptual)
        # For one generator and observation; measured once.
        self._known: tuple[tuple[Any, Any], Preconditioner] | None = None

    @property
    def weights(self) -> dict[str, float]:
        """The weights that this preset takes as keywords, by name."""
        taken = [each.name for each in fields(self) if each.init]
        return {name: getattr(self, name) for name in WEIGHTS if name in taken}

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that are stored in records."""
        return {
            "method": self.name,
            **super().settings,
            **self.weights,
            "init": self.init,
            "space": self.space,
            "noise": self.noise,
            **seed_of(self.seed, drawn=self.noise == "random" or self.init in DRAWN),
        }

    def check(self, generator: Any) -> None:
        """Refuse a generator without the chosen space."""
        check_space(str(self.space), generator=generator)

    def _run(self, asked: Request) -> Inversion:
        """Minimise Eq. (4); the image terms compare whole images or their observations."""
        generator, observation, space = asked.generator, asked.observation, str(self.space)
        begin = now(asked.images.device)

        with gradients():
            images = plain(asked.images)
            start, encoded = self._start(images, generator=generator, ids=asked.ids)
            noise, maps = self._given_noise(asked, like=images, encoded=encoded)
            phi = Observation() if observation is None else observation
            x, share = phi.seen(images), phi.share
            perceptual = None
            if self.features is not None:
                target = phi.picture(x)
                perceptual = PerceptualTerm(self.features, weight=self.lambda_vgg, target=target)
            # E in the space that is optimised: [N, L, w_dim], or z [N, z_dim].
            encoder: Any = getattr(self.encoder, "z", None) if space == "z" else self.encoder

            def synthesise(rows: Rows, w: Tensor) -> Tensor:
                codes = codes_in(space, w, generator=generator)
                return generator.synthesis(codes, noise=at(noise, rows))

            def objective(rows: Rows, g: Tensor, w: Tensor) -> dict[str, Tensor]:
                """Eq. (4): ‖x − G(w)‖² + λ_vgg ‖F(x) − F(G(w))‖² + λ_dom ‖w − E(G(w))‖²."""
                y, part = phi.at(rows).seen(g), at(share, rows)
                terms = {}
                if self.lambda_pixel:
                    terms["pixel"] = self.lambda_pixel * pixel_loss(at(x, rows), y) / part
                if perceptual is not None:
                    terms["perceptual"] = perceptual(phi.picture(y), rows) / part
                if self.lambda_dom:
                    d = code_loss(*torch.broadcast_tensors(w, encoder(g).to(x.dtype)))
                    terms["domain"] = self.lambda_dom * d
                return terms

            def responses(g: Tensor, w: Tensor) -> list[Response]:
                y = phi.seen(g)
                found = [(y, self.lambda_pixel)]
                found += [] if perceptual is None else perceptual.responses(phi.picture(y))
                return found + ([(w - encoder(g), self.lambda_dom)] if self.lambda_dom else [])

            if self.optimizer == "lbfgs_gn" and (
                self._known is None or self._known[0] != (generator, observation)
            ):
                inverse = preconditioner(
                    generator=generator,
                    space=space,
                    responses=responses,
                    noise=noise if isinstance(noise, str) else "const",
                    like=start,
                )
                self._known = (generator, observation), inverse
            found = self.minimise(
                start=[start],
                synthesise=synthesise,
                objective=objective,
                preconditioner=None if self._known is None else self._known[1],
                progress=asked.progress,
            )
        return found.as_inversion(space=space, generator=generator, noise=maps, begin=begin)

    def _start(
        self, images: Tensor, *, generator: Any, ids: Tensor | None
    ) -> tuple[Tensor, Sequence[Tensor] | None]:
        """Return the initial codes, in the shapes of `codes_in`, and E's noise maps if any.

        Args:
            images: x, [N, 3, R, R].
            generator: frozen G.
            ids: image ids [N], for random draws.
        """
        space, noise = str(self.space), None
        if self.encoder is not None:
            with torch.no_grad():
                encoding = self.encoder.encode(images)  # type: ignore[operator]
                check_codes(encoding.codes, generator=generator)
            noise = encoding.noise
            if self.init == "encoder":
                return encoded_start(encoding, space=space, like=images), noise
        start = start_codes(
            self.init, space=space, generator=generator, ids=ids, seed=self.seed, like=images
        )
        return start, noise


@dataclass(kw_only=True, eq=False, repr=False)
class InDomainInverter(OptimizeCodes):
    """The paper's domain-regularised optimisation: starts from E(x), with E as a regulariser.

    Differs from the paper: the paper does not state the number of steps. The authors' code takes
    100; for Table 1 the authors state 1,000. The kept iterate is the best, not the last.
    """

    name = "in_domain"

    encoder: nn.Module = field()
    latent: str = "w_plus"
    lambda_dom: Weight = 2.0
    steps: Count = 100
    init: Literal["encoder"] | Init = "encoder"
    space: Space | None = None


@dataclass(kw_only=True, eq=False, repr=False)
class FreeInverter(OptimizeCodes):
    """The first two terms of Eq. (4) alone, from a code that does not depend on the image.

    Fig. 1(b), top, calls this optimising the code "freely" based on the generator only. It is an
    additional row beside the paper's: it shows the effect of the encoder's start and regulariser.
    """

    name = "free"

    steps: Count = 1000


@dataclass(kw_only=True, eq=False, repr=False)
class Image2StyleGANInverter(OptimizeCodes):
    """Optimise W+ codes from w̄ on pixels and several layers of F, without an encoder.

    The layers are conv1_1, conv1_2, conv3_2 and conv4_2 (after their ReLU) if F is VGG16, and
    otherwise all that F taps (its method `taps(images) -> list[Tensor]`). `lambda_vgg` is the
    weight of each of them. The original starts from w̄ for faces and from "uniform" otherwise.

    Source: Abdal et al. 2019 (arXiv 1904.03189), Sec. 3 and 4; [16] of the paper.

    Differs from the paper: its authors published no code. The kept iterate is the best, not the
    last.
    """

    name = "image2stylegan"
    several_layers = True
    lambda_on: ClassVar[dict[str, float]] = {"vgg16": 3e-4}
    """The method's own weights by the name of F; any other F has its own default weight.

    The original weight is 1 for VGG16 on images in [0, 1], standardised by ImageNet's deviations,
    0.226 on average. F here takes 0-255 (the Caffe scale): 255 · 0.226 = 57.6 times as large, and
    so are features except for their biases. 1 / 57.6² = 3e-4. [inferred]
    """

    lambda_pixel: Weight = 1.0
    lambda_vgg: WeightOfF = 3e-4
    steps: Count = 5000
    init: Literal["encoder"] | Init = "mean"
