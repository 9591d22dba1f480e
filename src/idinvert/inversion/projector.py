"""StyleGAN2's projector, which optimises one w and the noise maps of an image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from idinvert.annotations import (
    Count,
    PositiveFloat,
    PositiveInt,
    ScheduleName,
    Seed,
    Weight,
    WeightOfF,
)
from idinvert.errors import ConfigError
from idinvert.inversion.initialization import (
    DRAWN,
    CodeStatistics,
    Init,
    check_choice,
    check_space,
    check_start,
    code_statistics,
    image_rng,
    native_space,
    require_ids,
    seed_of,
    start_codes,
)
from idinvert.inversion.inversion import Inversion, Method, Request, now
from idinvert.inversion.loop import Descent
from idinvert.inversion.noise import NoiseKind, draw_noise, noise_regulariser, normalised
from idinvert.inversion.optimizers import PLAIN
from idinvert.inversion.perceptual import Features, PerceptualTerm, all_taps, check_weights
from idinvert.inversion.working_set import Rows, at, gradients, plain
from idinvert.losses.terms import pixel_loss

NOISES = ("optimise", "const", "random", "none")
_LARGEST = 256


@dataclass(kw_only=True, eq=False, repr=False)
class ProjectorInverter(Descent, Method):
    """Optimise one w and all noise maps from w̄, with decaying noise on w.

    w̄ and the deviation of w are measured on `samples` codes. The learning rate ramps up and down.
    Noise drawn by image id is added to w over the first `noise_ramp` of the steps. Each step
    normalises the noise maps to mean 0 and mean square 1; a regulariser keeps them uncorrelated.

    A generator whose mapping gives one w per layer has no single w: for it, `space` None is W+,
    with a w̄, deviation and added noise for each layer, and `space="w"` is refused.

    It takes the settings of `Descent`, except the optimiser "lbfgs_gn". `lr` is the learning rate
    of w and of the noise maps. The original uses the schedule "ramps" and keeps the last iterate.
    `keep_best` keeps the iterate with the lowest loss, including the noise on its w.

    Args:
        perceptual: F, with a method `taps(images) -> list[Tensor]`, in eval mode; None only where
            `lambda_vgg` is 0.
        lambda_pixel: weight of the pixel term, which the original does not have.
        lambda_vgg: weight of each layer's perceptual term.
        lambda_noise: weight of the noise maps' regulariser, if they are optimised.
        init: "mean" (of `samples`), or another of `initialization.start_codes`.
        space: "w", "w_plus", or None for the generator's own; not "z", because the added noise
            and its size are defined in w.
        noise: "optimise", or fixed: "const", "random" (drawn by image id), "none".
        noise_factor: size of the noise added to w, in units of w's deviation.
        noise_ramp: the share of the steps over which it decays to 0, above 0.
        samples: number of codes for w̄ and the deviation.
        samples_seed: seed of their draw.
        seed: seed of everything that is drawn by image id.

    Raises:
        ConfigError: a value is invalid, or F is missing or has no method `taps`.

    Source: Karras et al. 2020 (arXiv 1912.04958), App. D; their PyTorch projector.

    Differs from the paper: the distance is that of F's layers, each a mean over elements, instead
    of LPIPS on VGG16; as in the original, images above 256 px are reduced to 256 by area averages.
    Images are optimised in batches, each with its own random draws.
    """

    name: ClassVar[str] = "projector"
    optimizers = PLAIN

    perceptual: nn.Module | None
    lambda_pixel: Weight = 0.0
    lambda_vgg: WeightOfF = 5e-5
    lambda_noise: Weight = 1e5
    steps: Count = 1000
    lr: PositiveFloat = 0.1
    schedule: ScheduleName = "ramps"
    init: Init = "mean"
    space: Literal["w_plus", "w"] | None = None
    noise: Literal["optimise"] | NoiseKind = "optimise"
    noise_factor: Weight = 0.05
    noise_ramp: Weight = 0.75
    samples: PositiveInt = 10_000
    samples_seed: Seed = 123
    seed: Seed = 0
    keep_best: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weights(
            perceptual=self.perceptual,
            lambda_pixel=self.lambda_pixel,
            lambda_vgg=self.lambda_vgg,
            lambda_noise=self.lambda_noise,
        )
        if self.space is not None:
            check_choice(self.space, ("w_plus", "w"), key="inversion.space")
        check_start(self.init, space=self.space)
        check_choice(self.noise, NOISES, key="inversion.noise")
        if self.noise_factor < 0 or self.noise_ramp <= 0 or self.samples < 2:
            raise ConfigError(
                f"got noise_factor={self.noise_factor}, noise_ramp={self.noise_ramp}, "
                f"samples={self.samples}: expected 0 or more, above 0, and 2 or more; change "
                "inversion.*"
            )
        self.features: Features | None = None
        if self.perceptual is not None and self.lambda_vgg:
            self.features = all_taps(self.perceptual)
        self._measured: tuple[Any, CodeStatistics] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that are stored in records."""
        drawn = self.noise in ("optimise", "random") or self.init in DRAWN or self.noise_factor > 0
        named = ["lambda_pixel", "lambda_vgg", "lambda_noise", "init", "space", "noise"]
        named += ["noise_factor", "noise_ramp", "samples", "samples_seed"]
        found = {"method": self.name, **super().settings}
        found |= {name: getattr(self, name) for name in named}
        return found | {"space": self.space or "native"} | seed_of(self.seed, drawn=drawn)

    def check(self, generator: Any) -> None:
        """Refuse a generator without the chosen space."""
        check_space(native_space(self.space, generator=generator), generator=generator)

    def _run(self, asked: Request) -> Inversion:
        """Minimise the terms "pixel", "perceptual" and "noise"; the result includes noise maps."""
        generator, ids = asked.generator, asked.ids
        space = native_space(self.space, generator=generator)
        layers = generator.num_layers
        rows = 1 if space == "w" else layers
        begin = now(asked.images.device)

        with gradients():
            x = plain(asked.images)
            known = self._statistics(generator)
            deviation = known.deviation[:rows, None].to(x)  # [K, 1]
            if self.init == "mean":
                w = known.mean[:rows].to(x).expand(len(x), -1, -1)  # [N, K, w_dim]
            else:
                w = start_codes(
                    self.init, space=space, generator=generator, ids=ids, seed=self.seed, like=x
                )
            fixed, maps, free = self._noise(asked, like=x)
            perceptual = None
            if self.features is not None:
                features = at_most_256(self.features)
                perceptual = PerceptualTerm(features, weight=self.lambda_vgg, target=x)
            rngs = self._rngs(ids)

            def perturb(t: float, places: range, w: Tensor, *free: Tensor) -> Sequence[Tensor]:
                size = self.noise_factor * max(0.0, 1 - t / self.noise_ramp) ** 2
                if size == 0:
                    return (w, *free)
                drawn = [torch.randn(w.shape[1:], generator=rngs[i]) for i in places]
                return (w + size * deviation * torch.stack(drawn).to(w), *free)

            def synthesise(rows: Rows, w: Tensor, *free: Tensor) -> Tensor:
                noise = list(free) or at(fixed, rows)
                return generator.synthesis(w.expand(-1, layers, -1), noise=noise)

            def objective(rows: Rows, g: Tensor, w: Tensor, *free: Tensor) -> dict[str, Tensor]:
                terms = {}
                if self.lambda_pixel:
                    terms["pixel"] = self.lambda_pixel * pixel_loss(at(x, rows), g)
                if perceptual is not None:
                    terms["perceptual"] = perceptual(g, rows)
                if free and self.lambda_noise:
                    terms["noise"] = self.lambda_noise * noise_regulariser(free)
                return terms

            def project(w: Tensor, *free: Tensor) -> Sequence[Tensor]:
                return (w, *map(normalised, free))

            found = self.minimise(
                start=[w, *free],
                synthesise=synthesise,
                objective=objective,
                perturb=perturb,
                project=project,
                progress=asked.progress,
            )
        given = list(found.variables[1:]) or maps
        return found.as_inversion(space=space, generator=generator, noise=given, begin=begin)

    def _statistics(self, generator: Any) -> CodeStatistics:
        """Return w̄ and the deviation, which are measured once for a generator."""
        if self._measured is None or self._measured[0] is not generator:
            known = code_statistics(generator, samples=self.samples, seed=self.samples_seed)
            self._measured = (generator, known)
        return self._measured[1]

    def _noise(
        self, asked: Request, *, like: Tensor
    ) -> tuple[str | list[Tensor], list[Tensor] | None, list[Tensor]]:
        """Return G's noise argument and maps if noise is fixed, and the maps to optimise."""
        if self.noise != "optimise":
            return *self._given_noise(asked, like=like), []
        drawn = draw_noise(
            shapes=asked.generator.noise_shapes,
            ids=require_ids(asked.ids, key="inversion.noise=optimise draws its first noise"),
            seed=self.seed,
            dtype=like.dtype,
            device=like.device,
        )
        return "const", None, drawn

    def _rngs(self, ids: Tensor | None) -> list[torch.Generator]:
        """Return a random generator for each image's noise on w."""
        if not self.noise_factor:
            return []
        ids = require_ids(ids, key="inversion.noise_factor draws noise on w")
        return [image_rng(self.seed, i, purpose="perturb") for i in ids.tolist()]


def at_most_256(features: Features) -> Features:
    """Return F with images above 256 px reduced to 256 by area averages first."""

    def shrunk(images: Tensor) -> list[Tensor]:
        if images.shape[-1] > _LARGEST:
            images = functional.interpolate(images, size=(_LARGEST, _LARGEST), mode="area")
        return features(images)

    return shrunk
