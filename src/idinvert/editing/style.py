"""Style transfer: match the feature statistics of other images in the upper layers of codes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from idinvert.annotations import PositiveFloat, PositiveInt
from idinvert.errors import ConfigError
from idinvert.inversion.loop import Descent
from idinvert.inversion.perceptual import all_taps
from idinvert.inversion.working_set import at, gradients, plain

Statistics = Literal["moments", "gram"]


@dataclass(kw_only=True, eq=False, repr=False)
class StyleTransfer(Descent):
    """Optimise the upper layers of codes until F's statistics match those of other images.

    The lower layers, which determine the content, do not change. The loss is the sum over the
    layers that F taps of ‖s(F_l(y)) − s(F_l(G(w)))‖² / ‖s(F_l(y))‖², where y is the style image.

    Args:
        perceptual: F, with a method `taps(images) -> list[Tensor]`, in eval mode.
        first: the first layer that is optimised.
        statistics: s: "moments" (mean and standard deviation of each channel) or "gram" (products
            of channels), over the positions of a layer.

    Raises:
        ConfigError: there is no F, or it has no method `taps`.

    Source: Gatys et al. 2016 for Gram matrices, Huang and Belongie 2017 for moments; "GAN
        Inversion: A brief walkthrough, part IV" names style transfer as an application.
    """

    perceptual: Any
    first: int
    statistics: Statistics
    steps: PositiveInt = 100
    lr: PositiveFloat = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.perceptual is None:
            raise ConfigError(
                "task.statistics compares features, and there is no perceptual network: give one "
                "(perceptual=…), or leave task.statistics out"
            )
        self.taps = all_taps(self.perceptual)

    def of(self, images: Tensor) -> list[Tensor]:
        """Return the statistics of images [N, 3, R, R] for each layer, each [N, K]."""
        return [statistics_of(maps, kind=self.statistics) for maps in self.taps(images)]

    def distance(self, images: Tensor, targets: Sequence[Tensor]) -> Tensor:
        """Return the loss of images against target statistics, [N]."""
        pairs = zip(self.of(images), targets, strict=True)
        terms = [(s - t).square().sum(1) / t.square().sum(1) for s, t in pairs]
        return torch.stack(terms).sum(0)

    def transfer(self, codes: Tensor, styles: Tensor, *, generator: Any, noise: Any) -> Tensor:
        """Return codes [N, L, w_dim] with the content of `codes` and the style of `styles`.

        Args:
            codes: codes of the content, float [N, L, w_dim].
            styles: images [N, 3, R, R] in [-1, 1].
            generator: frozen G.
            noise: the noise argument of G.
        """
        with gradients():
            lower = plain(codes)[:, : self.first]
            with torch.no_grad():
                targets = self.of(plain(styles))
            found = self.minimise(
                start=[plain(codes)[:, self.first :]],
                synthesise=lambda rows, upper: generator.synthesis(
                    torch.cat([at(lower, rows), upper], dim=1), noise=at(noise, rows)
                ),
                objective=lambda rows, images, upper: {
                    "style": self.distance(images, at(targets, rows))
                },
            )
        return torch.cat([lower, found.variables[0]], dim=1)


def statistics_of(maps: Tensor, *, kind: Statistics) -> Tensor:
    """Return statistics of features [N, C, h, w] over their positions: [N, 2C] or [N, C²]."""
    flat = maps.flatten(2)
    if kind == "gram":
        return (flat @ flat.transpose(1, 2) / flat.shape[2]).flatten(1)
    deviation = (flat.var(2, unbiased=False) + 1e-8).sqrt()
    return torch.cat([flat.mean(2), deviation], dim=1)
