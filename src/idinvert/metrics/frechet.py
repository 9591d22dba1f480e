"""Fréchet and kernel distance on any feature extractor; named after it, never FID or KID."""

import uuid
from collections.abc import Callable
from typing import cast

import torch
import torch_fidelity
from torch import Tensor, nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from idinvert.data.convert import to_float
from idinvert.metrics.image_set import image_sets

KERNEL_SUBSETS = 100
KERNEL_SUBSET_SIZE = 1000


def extractor_distances(
    outputs: Tensor,
    reals: Tensor,
    *,
    extractor: nn.Module,
    name: str,
    frechet: bool = True,
    kernel: bool = False,
    batch_size: int = 64,
    seed: int = 2020,
) -> dict[str, float]:
    """Distances between two sets of images in the space of `extractor.embed`.

    Args:
        outputs: uint8 `[N, 3, R, R]`.
        reals: uint8 `[N, 3, R, R]`, equal N.
        extractor: module with `embed(images [b, 3, R, R] in [-1, 1]) -> [b, D]`; run in evaluation
            mode on its own device, and left as it was.
        name: of the extractor; becomes part of the metric's name.
        frechet: compute `fd_<name>`.
        kernel: compute `kd_<name>` and `kd_<name>_std` (unbiased MMD², cubic polynomial kernel, 100
            subsets of min(1000, N) images).
        batch_size: images a batch.
        seed: of the kernel distance's subsets.

    Returns:
        metric name to value.

    Raises:
        DataError: counts differ or images are not uint8 RGB.
    """
    first, second = image_sets(outputs, reals, metric=f"fd_{name}" if frechet else f"kd_{name}")
    registered = f"idinvert-{name}-{uuid.uuid4().hex}"
    training = extractor.training
    torch_fidelity.register_feature_extractor(registered, _adapter(extractor))
    try:
        extractor.eval()
        values = torch_fidelity.calculate_metrics(
            input1=first,
            input2=second,
            feature_extractor=registered,
            fid=frechet,
            kid=kernel,
            kid_subsets=KERNEL_SUBSETS,
            kid_subset_size=min(KERNEL_SUBSET_SIZE, len(first)),
            rng_seed=seed,
            batch_size=batch_size,
            cuda=False,  # the adapter moves each batch to the extractor's device
            cache=False,  # keyed by names alone, it would return old numbers for new images
            save_cpu_ram=True,  # no worker processes
            verbose=False,
        )
    finally:
        FEATURE_EXTRACTORS_REGISTRY.pop(registered)
        extractor.train(training)
    results = {}
    if frechet:
        results[f"fd_{name}"] = values["frechet_inception_distance"]
    if kernel:
        results[f"kd_{name}"] = values["kernel_inception_distance_mean"]
        results[f"kd_{name}_std"] = values["kernel_inception_distance_std"]
    return results


def _adapter(extractor: nn.Module) -> type[FeatureExtractorBase]:
    """A class as torch-fidelity registers it, around a module that exists already."""
    embed = cast(Callable[[Tensor], Tensor], extractor.embed)

    class Adapter(FeatureExtractorBase):
        def __init__(self, name: str, features_list: list[str], **_) -> None:
            super().__init__(name, features_list)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return ("embedding",)

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "embedding"

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        def forward(self, images: Tensor) -> tuple[Tensor]:
            embedding = embed(to_float(images.to(_device(extractor))))
            return (embedding.double(),)  # [b, D]; the distances in float64

    return Adapter


def _device(module: nn.Module) -> torch.device:
    tensors = [*module.parameters(), *module.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")
