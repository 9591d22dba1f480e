"""FID, KID, Inception score and precision/recall by torch-fidelity, from local weights only."""

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor

from idinvert.checkpoints.formats.read import read_state_dict
from idinvert.checkpoints.registry import locate
from idinvert.data.content import file_hash, weights_cache_dir
from idinvert.durable import hash_of, read_sums, write_sums, written_whole
from idinvert.errors import CheckpointError
from idinvert.metrics.distance import Distance, ImageSet, check_sets
from idinvert.metrics.frechet import frechet_distance, frechet_replicates, kernel_replicates

# torch-fidelity takes seconds to import, so it is imported only where it is used.

INCEPTION_KEY = "metric.inception_path"
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
PRC_KEY = "metric.prc_vgg16_path"
INCEPTION_METRICS = ("fid", "kid", "isc")
SUBSET_SIZE = 1000
POOLED, LOGITS = "2048", "logits_unbiased"

Features = Mapping[str, Tensor]


def inception_weights(path: str | Path | None = None) -> Path:
    """Find the Inception weights of FID and verify their checksum.

    Args:
        path: local file; None for the project's weights cache.

    Returns:
        The file: the weights of 2015-12-05 as published by torch-fidelity.

    Raises:
        MissingWeightsError: the file is not on this machine; names file, URL, sha256 and
            `metric.inception_path`.
        CheckpointError: the file is a different one; a distance on other weights is not FID.
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
    return found


class InceptionDistance(Distance):
    """torch-fidelity's FID, KID and Inception score.

    Args:
        names: any of `fid`, `kid`, `isc`.
        path: local weights file; None for the project's weights cache.
        seed: seed of the resamples.
        cuda: run on the current CUDA device.
        batch_size: images per batch.
    """

    floors = frozenset({"fid", "kid"})

    def __init__(
        self,
        names: Collection[str],
        *,
        path: str | Path | None,
        seed: int = 0,
        cuda: bool = False,
        batch_size: int = 64,
    ) -> None:
        self.names, self.path, self.seed = names, path, seed
        self.on_gpu, self.batch_size = cuda, batch_size

    def embed(self, images: Tensor) -> Features:
        """Return the inception-v3-compat features of images uint8 `[N, 3, R, R]`.

        Returns:
            layer name to features: `2048`, float32 `[N, 2048]`, and `logits_unbiased`, `[N, 1008]`.

        Raises:
            MissingWeightsError, CheckpointError: see `inception_weights`.
        """
        from torch_fidelity.utils import create_feature_extractor, get_featuresdict_from_dataset

        check_sets(images=images)
        extractor = create_feature_extractor(
            "inception-v3-compat",
            [POOLED, LOGITS],
            cuda=self.on_gpu,
            feature_extractor_weights_path=str(inception_weights(self.path)),
            verbose=False,
        )
        return get_featuresdict_from_dataset(
            ImageSet(images), extractor, self.batch_size, self.on_gpu, True, False
        )

    def values(self, x: Features, y: Features) -> dict[str, float]:
        """Return the metrics of outputs and reals, of equal N.

        Returns:
            `fid`; `kid` (100 subsets of min(1000, N)) and, if subsets are smaller than the sets,
            `kid_std` over them; `isc` and `isc_std` (of the outputs, 10 splits).
        """
        from torch_fidelity.metric_isc import isc_features_to_metric
        from torch_fidelity.metric_kid import kid_features_to_metric

        first, second = x[POOLED], y[POOLED]
        values: dict[str, float] = {}
        if "fid" in self.names:
            values["fid"] = frechet_distance(first, second)
        if "kid" in self.names:
            size = min(SUBSET_SIZE, len(first))
            found = kid_features_to_metric(first, second, kid_subset_size=size, verbose=False)
            values["kid"] = found["kernel_inception_distance_mean"]
            if size < len(first):
                values["kid_std"] = found["kernel_inception_distance_std"]
        if "isc" in self.names:
            found = isc_features_to_metric(x[LOGITS])
            values["isc"] = found["inception_score_mean"]
            values["isc_std"] = found["inception_score_std"]
        return values

    def replicates(self, x: Features, y: Features, *, paired: bool) -> dict[str, Tensor]:
        """Return FID and KID of resampled sets."""
        sets = x[POOLED].double(), y[POOLED].double()
        found = {"fid": frechet_replicates, "kid": kernel_replicates}
        wanted = [name for name in self.names if name in found]
        return {name: found[name](*sets, seed=self.seed, paired=paired) for name in wanted}


class PrecisionRecall(Distance):
    """Improved precision and recall (Kynkäänniemi et al.) on VGG16, 3 nearest neighbours.

    There are no intervals, because torch-fidelity does not give per-image contributions. This is a
    separate call, because torch-fidelity passes one weights file to all extractors of a call.

    Args:
        path: torchvision's VGG16 (IMAGENET1K_V1) as a local file; None for torch's own cache.
        cuda: run on the current CUDA device.
        batch_size: images per batch.
    """

    floors = frozenset({"prc_precision", "prc_recall", "prc_f_score"})

    def __init__(
        self, *, path: str | Path | None = None, cuda: bool = False, batch_size: int = 64
    ) -> None:
        self.path, self.on_gpu, self.batch_size = path, cuda, batch_size

    def values(self, x: Tensor, y: Tensor) -> dict[str, float]:
        """Return `prc_precision`, `prc_recall`, `prc_f_score` of uint8 `[N, 3, R, R]`, N ≥ 4.

        Raises:
            MissingWeightsError, CheckpointError: see `prc_weights`.
        """
        from torch_fidelity import calculate_metrics

        check_sets(outputs=x, reals=y, metric="prc")
        values = calculate_metrics(
            input1=ImageSet(x),
            input2=ImageSet(y),
            feature_extractor="vgg16",
            feature_extractor_weights_path=str(prc_weights(self.path)),
            prc=True,
            cuda=self.on_gpu,
            batch_size=self.batch_size,
            cache=False,  # its keys are names only, so it would return old values for new images
            save_cpu_ram=True,  # no worker processes
            verbose=False,
        )
        return {f"prc_{name}": value for name, value in values.items()}


def prc_weights(path: str | Path | None = None) -> Path:
    """Find torchvision's VGG16 (IMAGENET1K_V1) for precision and recall; return a copy of it.

    Raises:
        MissingWeightsError: the file is not on this machine; names file, URL, sha256 and
            `metric.prc_vgg16_path`.
        CheckpointError: the file contains more than tensors.
    """
    found = locate("vgg16_imagenet", path=path, key=PRC_KEY)
    # torch-fidelity unpickles any file, so it is given our copy, which holds plain tensors only.
    copy = weights_cache_dir() / "plain" / f"{file_hash(found)}.pth"
    if not copy.is_file() or read_sums(copy.parent).get(copy.name) != hash_of(copy):
        tensors = read_state_dict(found, key=PRC_KEY)
        with written_whole(copy) as temporary:
            torch.save(tensors, temporary)
        write_sums(copy.parent, copy.parent.glob("*.pth"))
    return copy
