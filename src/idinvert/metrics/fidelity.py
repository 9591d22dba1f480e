"""FID, KID, Inception score and precision/recall by torch-fidelity, from local weights only."""

import pickle
from collections.abc import Collection
from pathlib import Path

import torch
import torch_fidelity
from torch import Tensor

from idinvert.data.content import file_hash
from idinvert.errors import CheckpointError, ConfigError
from idinvert.metrics.image_set import image_sets
from idinvert.weights.registry import locate

INCEPTION_KEY = "metric.inception_path"
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
PRC_KEY = "metric.prc_vgg16_path"
INCEPTION_METRICS = ("fid", "kid", "isc")
SUBSET_SIZE = 1000

_RENAMED = {
    "frechet_inception_distance": "fid",
    "kernel_inception_distance_mean": "kid",
    "kernel_inception_distance_std": "kid_std",
    "inception_score_mean": "isc",
    "inception_score_std": "isc_std",
    "precision": "prc_precision",
    "recall": "prc_recall",
    "f_score": "prc_f_score",
}


def inception_weights(path: str | Path | None = None) -> Path:
    """Find the Inception weights of FID and make sure that they are those.

    Args:
        path: local file; None for the project's cache of weights.

    Returns:
        The file: the weights of 2015-12-05 as torch-fidelity publishes them.

    Raises:
        MissingWeightsError: not on this machine; names file, URL, sha256 and
            `metric.inception_path`.
        CheckpointError: another file; a distance on other weights must not be called FID.
    """
    found = locate("inception", path=path, key=INCEPTION_KEY)
    digest = file_hash(found)
    if digest != INCEPTION_SHA256:
        raise CheckpointError(
            f"{found} is not the Inception of FID: sha256 {digest}, expected {INCEPTION_SHA256}. "
            "Give the published "
            f"file with {INCEPTION_KEY}=..., or use another extractor under its own name "
            "(fd_<extractor>)"
        )
    _refuse_code(found, key=INCEPTION_KEY)
    return found


def inception_metrics(
    names: Collection[str],
    outputs: Tensor,
    reals: Tensor,
    *,
    inception_path: str | Path | None = None,
    cuda: bool = False,
    batch_size: int = 64,
) -> dict[str, float]:
    """FID, KID and Inception score with inception-v3-compat; the features are extracted once.

    Args:
        names: any of `fid`, `kid`, `isc`.
        outputs: uint8 `[N, 3, R, R]`.
        reals: uint8 `[N, 3, R, R]`, equal N.
        inception_path: local weights file; None for the project's cache of weights.
        cuda: run on the current CUDA device.
        batch_size: images a batch.

    Returns:
        `fid`; `kid` and `kid_std` (100 subsets of min(1000, N)); `isc` and `isc_std` (of the
        outputs, 10 splits).

    Raises:
        ConfigError: an unknown name, or Inception score on fewer than 10 images.
        MissingWeightsError: see `inception_weights`.
        CheckpointError: see `inception_weights`.
    """
    unknown = sorted(set(names) - set(INCEPTION_METRICS))
    if unknown or not names:
        raise ConfigError(
            f"inception_metrics computes {', '.join(INCEPTION_METRICS)}; got {sorted(names)}"
        )
    first, second = image_sets(outputs, reals, metric=" ".join(names))
    if "isc" in names and len(first) < 10:
        raise ConfigError(f"isc takes 10 splits, so at least 10 images; got {len(first)}")
    values = torch_fidelity.calculate_metrics(
        input1=first,
        input2=second,
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(inception_weights(inception_path)),
        fid="fid" in names,
        kid="kid" in names,
        isc="isc" in names,
        kid_subset_size=min(SUBSET_SIZE, len(first)),
        **_common(cuda, batch_size),
    )
    return {_RENAMED[key]: value for key, value in values.items()}


def precision_recall(
    outputs: Tensor,
    reals: Tensor,
    *,
    vgg16_path: str | Path | None = None,
    cuda: bool = False,
    batch_size: int = 64,
) -> dict[str, float]:
    """Improved precision and recall (Kynkäänniemi et al.) on VGG16, 3 nearest neighbours.

    A call of its own: torch-fidelity hands one weights file to every extractor of a call.

    Args:
        outputs: uint8 `[N, 3, R, R]`.
        reals: uint8 `[N, 3, R, R]`, equal N of at least 4.
        vgg16_path: torchvision's VGG16 (IMAGENET1K_V1) as a local file; None for torch's own cache.
        cuda: run on the current CUDA device.
        batch_size: images a batch.

    Returns:
        `prc_precision`, `prc_recall`, `prc_f_score`.

    Raises:
        MissingWeightsError: not on this machine; names file, URL, sha256 and
            `metric.prc_vgg16_path`.
    """
    first, second = image_sets(outputs, reals, metric="prc")
    path = prc_weights(vgg16_path)
    values = torch_fidelity.calculate_metrics(
        input1=first,
        input2=second,
        feature_extractor="vgg16",
        feature_extractor_weights_path=str(path),
        prc=True,
        **_common(cuda, batch_size),
    )
    return {_RENAMED[key]: value for key, value in values.items()}


def prc_weights(path: str | Path | None = None) -> Path:
    """Find torchvision's VGG16 (IMAGENET1K_V1) for precision and recall.

    Raises:
        MissingWeightsError: not on this machine; names file, URL, sha256 and
            `metric.prc_vgg16_path`.
        CheckpointError: a file that holds more than tensors.
    """
    found = locate("vgg16_imagenet", path=path, key=PRC_KEY)
    _refuse_code(found, key=PRC_KEY)
    return found


def _common(cuda: bool, batch_size: int) -> dict:
    """What calls share: no cache (keyed by name, it returns old numbers), no worker processes."""
    return {
        "cuda": cuda,
        "batch_size": batch_size,
        "cache": False,
        "save_cpu_ram": True,
        "verbose": False,
    }


def _refuse_code(path: Path, *, key: str) -> None:
    """torch-fidelity unpickles anything; let through only files that hold nothing but tensors."""
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise CheckpointError(
            f"{path} is not a plain file of tensors ({error}); give another with {key}=..."
        ) from error
