"""The perceptual term of an inversion; F's features of the target are computed once."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from idinvert.errors import ConfigError
from idinvert.inversion.working_set import Rows, at
from idinvert.losses.terms import feature_loss

Features = Callable[[Tensor], list[Tensor]]


def check_weights(*, perceptual: nn.Module | None, **weights: float) -> None:
    """Refuse negative weights, a `lambda_vgg` without F, and image terms that are all 0.

    Args:
        perceptual: F, or None.
        weights: by their key in `inversion`; `lambda_vgg` is that of F.

    Raises:
        ConfigError: names the key to change.
    """
    if perceptual is None and weights["lambda_vgg"] != 0:
        raise ConfigError(
            f"inversion.lambda_vgg is {weights['lambda_vgg']}, but there is no perceptual network: "
            "give one, or set inversion.lambda_vgg=0"
        )
    got = ", ".join(f"{name}={value}" for name, value in weights.items())
    if any(value < 0 for value in weights.values()):
        raise ConfigError(f"got {got}: expected weights of 0 or more; change inversion.*")
    if "lambda_pixel" in weights and not weights["lambda_pixel"] and not weights["lambda_vgg"]:
        raise ConfigError(f"got {got}: nothing to compare images by; set inversion.lambda_pixel=1")


def one_layer(network: nn.Module) -> Features:
    """Return F with the single layer that Eq. (2) and Eq. (4) compare."""
    return lambda images: [network(images)]


def all_taps(network: nn.Module) -> Features:
    """Return F with all layers that it taps; for VGG16 conv1_1, conv1_2, conv3_2 and conv4_2.

    Raises:
        ConfigError: F has no method `taps`.
    """
    taps: Any = getattr(network, "taps", None)
    if taps is None:
        raise ConfigError(
            f"{type(network).__name__} gives one layer of features and this method compares "
            "several; change perceptual"
        )
    return taps


class PerceptualTerm:
    """λ times the distance of features, summed over layers, for each image.

    Args:
        features: images [N, 3, R, R] in [-1, 1] to features, each [N, C, h, w].
        weight: λ.
        target: x, [N, 3, R, R]; its features are computed here, once.
        distance: distance of two batches of features, [N]; by default the mean squared difference.
    """

    def __init__(
        self,
        features: Features,
        *,
        weight: float,
        target: Tensor,
        distance: Callable[[Tensor, Tensor], Tensor] = feature_loss,
    ) -> None:
        self.features, self.weight, self.distance = features, weight, distance
        with torch.no_grad():
            self.targets = [f.to(target.dtype) for f in features(target)]

    def __call__(self, images: Tensor, rows: Rows = None) -> Tensor:
        """Return the weighted term [m] for images G(w) [m, 3, R, R] of the targets in `rows`."""
        pairs = zip(at(self.targets, rows), self.features(images), strict=True)
        losses = [self.distance(f_x, f.to(f_x.dtype)) for f_x, f in pairs]
        return self.weight * torch.stack(losses).sum(0)

    def responses(self, images: Tensor) -> list[tuple[Tensor, float]]:
        """Return the features that are compared and their weight, for each layer."""
        return [(f, self.weight) for f in self.features(images)]
