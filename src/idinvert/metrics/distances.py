"""The distances between two sets of images that go through one space of features."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from idinvert.metrics.fidelity import (
    inception_distances,
    inception_features,
    inception_replicates,
    precision_recall,
)
from idinvert.metrics.frechet import (
    embedded,
    frechet_distance,
    frechet_replicates,
    kernel_distance,
    kernel_replicates,
)
from idinvert.metrics.inputs import image_sets
from idinvert.metrics.swd import swd, swd_replicates


def _none(x: Any, y: Any, paired: bool) -> dict[str, Tensor]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Distance:
    """One or more metrics that compare the same features of two sets.

    Attributes:
        embed: images uint8 `[N, 3, R, R]` to features, of whatever kind.
        values: features of outputs and of reals to metric name and value.
        replicates: the same and whether the sets are paired, to the metrics of resampled sets;
            nothing for a metric without interval.
        floors: metrics for which the distance of two real sets says what could be reached.
    """

    embed: Callable[[Tensor], Any]
    values: Callable[[Any, Any], Mapping[str, float]]
    replicates: Callable[[Any, Any, bool], Mapping[str, Tensor]] = _none
    floors: frozenset[str] = field(default_factory=frozenset)

    def between(self, outputs: Tensor, reals: Tensor) -> Mapping[str, float]:
        """Metric name to value of two sets of images, uint8 `[N, 3, R, R]`, equal N.

        Raises:
            DataError: counts differ, images are not uint8 RGB, or fewer than two.
        """
        image_sets(outputs, reals)
        return self.values(self.embed(outputs), self.embed(reals))


def sliced(*, seed: int, device: torch.device, batch_size: int) -> Distance:
    """SWD, on the images themselves."""
    options: dict[str, Any] = {"seed": seed, "device": device, "batch_size": batch_size}
    return Distance(
        embed=lambda images: images,
        values=lambda x, y: swd(x, y, **options),
        replicates=lambda x, y, paired: swd_replicates(x, y, paired=paired, **options),
        floors=frozenset({"swd"}),
    )


def extractor(
    network: nn.Module,
    *,
    name: str,
    frechet: bool = True,
    kernel: bool = False,
    seed: int = 0,
    batch_size: int = 64,
) -> Distance:
    """`fd_<name>` (where `frechet`) and `kd_<name>` (`kernel`), on a module with `embed`."""
    values: dict[str, Callable[[Tensor, Tensor], float]] = {}
    spreads: dict[str, Callable[..., Tensor]] = {}
    if frechet:
        values[f"fd_{name}"], spreads[f"fd_{name}"] = frechet_distance, frechet_replicates
    if kernel:
        values[f"kd_{name}"], spreads[f"kd_{name}"] = kernel_distance, kernel_replicates
    return Distance(
        embed=lambda images: embedded(images, network, batch_size=batch_size),
        values=lambda x, y: {key: distance(x, y) for key, distance in values.items()},
        replicates=lambda x, y, paired: {
            key: spread(x, y, seed=seed, paired=paired) for key, spread in spreads.items()
        },
        floors=frozenset(values),
    )


def inception(
    names: Collection[str], *, path: Any, seed: int = 0, cuda: bool = False, batch_size: int = 64
) -> Distance:
    """FID, KID and Inception score."""
    options: dict[str, Any] = {"inception_path": path, "cuda": cuda, "batch_size": batch_size}
    return Distance(
        embed=lambda images: inception_features(images, **options),
        values=lambda x, y: inception_distances(names, x, y),
        replicates=lambda x, y, paired: inception_replicates(names, x, y, seed=seed, paired=paired),
        floors=frozenset({"fid", "kid"}),
    )


def prc(*, path: Any, cuda: bool, batch_size: int) -> Distance:
    """Precision and recall, without interval: torch-fidelity tells no image's share in them."""
    return Distance(
        embed=lambda images: images,
        values=lambda x, y: precision_recall(
            x, y, vgg16_path=path, cuda=cuda, batch_size=batch_size
        ),
        floors=frozenset({"prc_precision", "prc_recall", "prc_f_score"}),
    )
