"""The base class of methods that optimise features of G at a layer, besides codes."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from idinvert.annotations import PositiveInt, Seed, Weight, WeightOfF
from idinvert.inversion.initialization import seed_of
from idinvert.inversion.inversion import check_layer
from idinvert.inversion.loop import Descent
from idinvert.inversion.noise import NoiseKind
from idinvert.inversion.observation import Observation, Restorer
from idinvert.inversion.optimizers import PLAIN
from idinvert.inversion.perceptual import PerceptualTerm, check_weights, one_layer
from idinvert.inversion.working_set import Objective, Rows, at
from idinvert.losses.terms import absolute_loss, pixel_loss


@dataclass(kw_only=True, eq=False, repr=False)
class FeatureInverter(Descent, Restorer):
    """The settings and the image terms of methods that optimise features of G.

    They take the settings of `Descent`, except the optimiser "lbfgs_gn". The kept iterate includes
    the state from which G resumes; its codes are used from that layer on.

    Args:
        perceptual: F, images [N, 3, R, R] in [-1, 1] to features [N, C, h, w], in eval mode;
            None only where `lambda_vgg` is 0.
        layer: number of layers of G before the features, 1 to L − 1.
        lambda_pixel: weight of the pixel term.
        lambda_vgg: weight of the perceptual term, a mean absolute difference.
        noise: the noise of G, fixed throughout: constant buffers (or the encoder's noise maps, if
            it predicts any), drawn by image id, or none.
        seed: seed of everything that is drawn by image id.

    Raises:
        ConfigError: `lambda_vgg` is not 0 and there is no `perceptual`, or a value is invalid.
    """

    name: ClassVar[str]
    of_features: ClassVar[bool] = True
    optimizers = PLAIN
    lambda_on: ClassVar[dict[str, float]] = {"vgg16": 1.7e-5}
    """The methods' own weights by the name of F; any other F has its own default weight.

    mGANprior's is 0.001 on images standardised by ImageNet's deviations. F here takes the Caffe
    scale, 57.6 times as large, and an absolute difference grows as much: 0.001 / 57.6. [inferred]
    """

    perceptual: nn.Module | None
    layer: PositiveInt | None = None
    lambda_pixel: Weight = 1.0
    lambda_vgg: WeightOfF = 1.7e-5
    noise: NoiseKind = "const"
    seed: Seed = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weights(
            perceptual=self.perceptual,
            lambda_pixel=self.lambda_pixel,
            lambda_vgg=self.lambda_vgg,
        )
        self.features = None
        if self.perceptual is not None and self.lambda_vgg:
            self.features = one_layer(self.perceptual)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that are stored in records."""
        return {
            "method": self.name,
            **super().settings,
            "layer": self.layer or "auto",
            "lambda_pixel": self.lambda_pixel,
            "lambda_vgg": self.lambda_vgg,
            "noise": self.noise,
            **seed_of(self.seed, drawn=self.noise == "random"),
        }

    def check(self, generator: Any) -> None:
        """Refuse a generator that this method does not fit.

        Raises:
            ConfigError: it has no such layer, or no layer after it.
        """
        check_layer(self.layer, generator=generator)

    def pixels(self, x: Tensor, y: Tensor) -> Tensor:
        """Distance of images [N, 3, R, R], per image: [N]."""
        return pixel_loss(x, y)

    def terms(self, images: Tensor, *, observation: Observation | None) -> Objective:
        """Return the objective of G's images, with the weighted terms "pixel" and "perceptual".

        Args:
            images: targets x, [N, 3, R, R].
            observation: compares only what it observes of them; None compares whole images.
        """
        phi = Observation() if observation is None else observation
        x, share = phi.seen(images), phi.share
        perceptual = None
        if self.features is not None:
            perceptual = PerceptualTerm(
                self.features,
                weight=self.lambda_vgg,
                target=phi.picture(x),
                distance=absolute_loss,
            )

        def of(rows: Rows, g: Tensor, *variables: Tensor) -> dict[str, Tensor]:
            y, part = phi.at(rows).seen(g), at(share, rows)
            found = {}
            if self.lambda_pixel:
                found["pixel"] = self.lambda_pixel * self.pixels(at(x, rows), y) / part
            if perceptual is not None:
                found["perceptual"] = perceptual(phi.picture(y), rows) / part
            return found

        return of
