"""Multi-code inversion: the first layers of G run on several codes, the rest on their blend."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from idinvert.annotations import Count, PositiveFloat, PositiveInt, Space
from idinvert.errors import ConfigError
from idinvert.inversion.features import FeatureInverter
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
from idinvert.inversion.inversion import Inversion, Request, now
from idinvert.inversion.optimizers import OptimizerName
from idinvert.inversion.working_set import Rows, at, gradients, plain
from idinvert.networks.generator import SynthesisState

BLENDS = ("features", "images")


@dataclass(kw_only=True, eq=False, repr=False)
class MultiCodeInverter(FeatureInverter):
    """Optimise N codes per image and their importance for every channel of a layer.

    Each code runs through the first `layer` layers of G. Their outputs are summed over the codes,
    channel c of code n weighted by its importance α_{n,c}, and the rest of G runs once on the sum,
    with a code of its own. The outputs are the features and, in StyleGAN2, also the partial image
    of a skip architecture or the shortcut of a residual one, each with its own α. All α start at
    1 / N.

    Args:
        codes: N; the layers after the blend have one more code.
        layer: number of layers before the blend, 1 to L − 1; None for 8 of 14, as in the original,
            or the same share of other depths (4 of 8).
        blend: "features" at `layer`, or "images": the N codes run through all of G and their
            images are blended per colour channel, for comparison.
        lr: learning rate of the codes and of α.
        init: "random" (M of z drawn by image id and code), "normal" or "uniform"; "mean" only for
            one code, because equal codes have equal gradients and stay equal.
        space: of the codes: "w", "w_plus" (one code per layer), "z" (through M), or None for G's
            own.

    Raises:
        ConfigError: a value is invalid.

    Source: Gu, Shen and Zhou 2020 (arXiv 1912.07116), Sec. 3; described in "GAN Inversion: A brief
        walkthrough, part III", Sec. 1.3.

    Differs from the paper: its G is PGGAN, whose later layers take no code; here they take one.
        F is the project's layer instead of VGG16's relu3_3. The kept iterate is the best.
    """

    name: ClassVar[str] = "multi_code"

    codes: PositiveInt = 20
    layer: PositiveInt | None = None
    blend: Literal["features", "images"] = "features"
    steps: Count = 3000
    optimizer: OptimizerName = "sgd"
    lr: PositiveFloat = 1.0
    init: Init = "random"
    space: Space | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
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

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that are stored in records."""
        return {
            **super().settings,
            "codes": self.codes,
            "blend": self.blend,
            "init": self.init,
            "space": self.space or "native",
            **seed_of(self.seed, drawn=self.noise == "random" or self.init in DRAWN),
        }

    def check(self, generator: Any) -> None:
        """Refuse a generator without such a layer or space; see `FeatureInverter.check`."""
        super().check(generator)
        check_space(native_space(self.space, generator=generator), generator=generator)

    def _run(self, asked: Request) -> Inversion:
        """Minimise ‖x − G(w, α)‖² + λ_vgg |F(x) − F(G(w, α))|.

        The returned codes of the layers before the blend are the mean of the N codes.
        """
        generator, n = asked.generator, self.codes
        space = native_space(self.space, generator=generator)
        layer = generator.num_layers if self.blend == "images" else self.layer
        layer = layer or usual_layer(generator.num_layers)
        begin = now(asked.images.device)

        with gradients():
            images = plain(asked.images)
            given, maps = self._given_noise(asked, like=images)

            def blended(rows: Rows, codes: Tensor, alpha: Tensor) -> tuple[Tensor, SynthesisState]:
                """Return all codes as w [B, N + 1, L, w_dim], and the state G resumes from."""
                w = codes_in(space, codes.flatten(0, 1), generator=generator)
                w = w.unflatten(0, codes.shape[:2])
                noise: Any = given
                if maps is not None:
                    noise = [each.repeat_interleave(n, 0) for each in at(maps, rows)]
                state = generator.synthesis(w[:, :n].flatten(0, 1), noise=noise, stop=layer)
                return w, blend(state, alpha)

            def synthesise(rows: Rows, codes: Tensor, alpha: Tensor) -> Tensor:
                w, state = blended(rows, codes, alpha)
                return generator.synthesis(w[:, n], noise=at(given, rows), resume=state)

            start = [
                start_codes(
                    self.init,
                    space=space,
                    generator=generator,
                    ids=asked.ids,
                    seed=self.seed,
                    like=images,
                    purpose=f"start {k}" if k else "start",
                )
                for k in range(n + 1)
            ]
            found = self.minimise(
                start=[torch.stack(start, dim=1), self._importance(generator, layer, like=images)],
                synthesise=synthesise,
                objective=self.terms(images, observation=asked.observation),
                progress=asked.progress,
            )
            with torch.no_grad():
                w, state = blended(None, *found.variables)
                kept = torch.cat([w[:, :n].mean(1)[:, :layer], w[:, n, layer:]], dim=1)
        return replace(found, variables=(kept,)).as_inversion(
            space="w_plus", generator=generator, noise=maps, begin=begin, state=state
        )

    def _importance(self, generator: Any, layer: int, *, like: Tensor) -> Tensor:
        """Return the initial α, 1 / N for every output channel of a layer: [B, N, C]."""
        with torch.no_grad():
            mean = generator.w_avg.to(like)[None]
            maps = generator.synthesis(mean, noise="none", stop=layer).maps
        channels = sum(each.shape[1] for each in maps.values())
        return like.new_full((len(like), self.codes, channels), 1 / self.codes)


def usual_layer(layers: int) -> int:
    """Return the layer of L like the original's 8 of 14, even: the end of a resolution."""
    return 2 * round(layers * 2 / 7)


def blend(state: SynthesisState, alpha: Tensor) -> SynthesisState:
    """Blend the states of N codes, Σ_n α_{n,c} F_n, with one importance per code and channel.

    Args:
        state: B·N rows, all codes of the first image first.
        alpha: [B, N, C], for the C channels of all maps in the order of `SynthesisState.maps`.

    Returns:
        The blended state, B rows.

    Source: Gu et al. 2020, Eq. (2).
    """
    n = alpha.shape[1]
    sizes = [maps.shape[1] for maps in state.maps.values()]
    weights = iter(alpha.split(sizes, dim=2))

    def sum_of(maps: Tensor) -> Tensor:
        return (maps.unflatten(0, (-1, n)) * next(weights)[..., None, None]).sum(1)

    return state.each(sum_of)
