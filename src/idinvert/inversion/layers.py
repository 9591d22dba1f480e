"""Layer inversion: starts from E(x) and optimises residuals on the features of G's first layers."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from idinvert.annotations import Count, PositiveFloat, PositiveInt, ScheduleName, Weight
from idinvert.inversion.features import FeatureInverter
from idinvert.inversion.inversion import Inversion, Request, check_codes, now
from idinvert.inversion.working_set import Rows, at, gradients, plain
from idinvert.losses.terms import absolute_loss
from idinvert.networks.generator import SynthesisState


@dataclass(kw_only=True, eq=False, repr=False)
class LayersInverter(FeatureInverter):
    """Optimise small changes of E(x) and of the outputs of the first layers of G.

    r_0 = E(x) + δ_0 and r_i = g_i(r_{i−1}) + δ_i, up to the last of `layer` layers; the remaining
    layers, G_f, render the image. G_f can generate everything that G can, and more: what the image
    still lacks is what even G_f cannot generate. All δ start at 0.

    Args:
        encoder: E, images [N, 3, R, R] to codes [N, L, w_dim], in eval mode.
        layer: n, the number of layers with residuals; the codes have one, too.
        lambda_reg: weight of Σ_i ‖δ_i‖², each a mean over elements.
        schedule: "halvings" as in the original: halved after 4, 6 and 9 fifteenths of the steps.

    Source: Bau et al. 2019 (Seeing What a GAN Cannot Generate, arXiv 1910.11626), Sec. 3.2 and 3.3;
        described in "GAN Inversion: A brief walkthrough, part IV".

    Differs from the paper: its G is PGGAN. E is any encoder of G instead of one trained layer by
        layer, and F is the project's. In StyleGAN, δ_0 applies to the codes of all layers.
    """

    name: ClassVar[str] = "layers"

    encoder: nn.Module = field()
    layer: PositiveInt = 3
    lambda_reg: Weight = 1.0
    steps: Count = 3000
    lr: PositiveFloat = 0.01
    schedule: ScheduleName = "halvings"

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that are stored in records."""
        return {**super().settings, "lambda_reg": self.lambda_reg}

    def pixels(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean absolute difference per image: [N]."""
        return absolute_loss(x, y)

    def _run(self, asked: Request) -> Inversion:
        """Minimise |x − G_f(r_n)| + λ_vgg |F(x) − F(G_f(r_n))| + λ_reg Σ ‖δ_i‖²."""
        generator, begin = asked.generator, now(asked.images.device)
        with gradients():
            images = plain(asked.images)
            with torch.no_grad():
                encoding = self.encoder.encode(images)  # type: ignore[operator]
                check_codes(encoding.codes, generator=generator)
                encoded = encoding.codes.to(images.dtype)  # [N, L, w_dim]
            noise, maps = self._given_noise(asked, like=images, encoded=encoding.noise)

            def states(
                rows: Rows, w: Tensor, deltas: Sequence[Tensor | float]
            ) -> list[SynthesisState]:
                """Return r_1 … r_n, each in a full state of G."""
                found: list[SynthesisState] = []
                given = at(noise, rows)
                for i, delta in enumerate(deltas):
                    before = found[-1] if found else None
                    state = generator.synthesis(w, noise=given, stop=i + 1, resume=before)
                    found.append(state._replace(features=state.features + delta))
                return found

            def synthesise(rows: Rows, code: Tensor, *deltas: Tensor) -> Tensor:
                w = at(encoded, rows) + code
                state = states(rows, w, deltas)[-1]
                return generator.synthesis(w, noise=at(noise, rows), resume=state)

            of_images = self.terms(images, observation=asked.observation)

            def objective(rows: Rows, g: Tensor, *deltas: Tensor) -> dict[str, Tensor]:
                found = of_images(rows, g)
                if self.lambda_reg:
                    powers = [delta.square().flatten(1).mean(1) for delta in deltas]
                    found["residuals"] = self.lambda_reg * torch.stack(powers).sum(0)
                return found

            with torch.no_grad():
                first = [state.features for state in states(None, encoded, [0.0] * self.layer)]
            found = self.minimise(
                start=[torch.zeros_like(each) for each in (encoded, *first)],
                synthesise=synthesise,
                objective=objective,
                progress=asked.progress,
            )
            with torch.no_grad():
                w = encoded + found.variables[0]
                state = states(None, w, found.variables[1:])[-1]
        return replace(found, variables=(w,)).as_inversion(
            space="w_plus", generator=generator, noise=maps, begin=begin, state=state
        )
