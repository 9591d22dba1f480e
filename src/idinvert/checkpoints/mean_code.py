"""The mean code w̄ of a generator whose file does not contain it."""

import contextlib
import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from idinvert.checkpoints import tensor_file
from idinvert.data.content import weights_cache_dir
from idinvert.data.progress import Progress
from idinvert.errors import CheckpointError, OutputError

SAMPLES = 100_000
SEED = 0
_BATCH = 1_000
_WIDEST = 8_192  # of z; an eighth of the limit of w over all layers
_NUMBERS = 1 << 26  # weights of M; StyleGAN's has 2 million, multi-w 7 million


def mean_code(generator: Any) -> Tensor:
    """Returns w̄ from the cache, or computes and caches it; shows progress.

    The cache key is the content of the mapping network, so the same generator in another file
    finds its mean code again, and a different generator never does.

    Args:
        generator: StyleGAN or StyleGAN2, on the CPU.

    Returns:
        Tensor [L, w_dim], float32.
    """
    numbers = sum(tensor.numel() for tensor in generator.mapping.parameters())
    codes = generator.num_layers * generator.w_dim
    if max(generator.z_dim, codes // 16) > _WIDEST or numbers > _NUMBERS:
        raise CheckpointError(
            f"the file holds no mean code, and its mapping network (z of {generator.z_dim:,}, "
            f"{codes:,} numbers of w, {numbers:,} weights) is far larger than any known one, so "
            "none is computed; give a file that holds it"
        )
    path = weights_cache_dir() / "mean_codes" / f"{_mapping_hash(generator)}.safetensors"
    shape = (generator.num_layers, generator.w_dim)
    kept = _read(path)
    if kept is not None and kept.shape == shape:
        return kept
    average = compute_mean_code(generator)
    # If the cache cannot be written, only time is lost.
    with contextlib.suppress(OutputError):
        metadata = {"samples": str(SAMPLES), "sha256": tensor_file.tensors_hash({"w_avg": average})}
        tensor_file.write_tensors(path, {"w_avg": average}, metadata=metadata)
    return average


@torch.no_grad()
def compute_mean_code(generator: Any, *, samples: int = SAMPLES, seed: int = SEED) -> Tensor:
    """Computes the mean of M(z), z ~ N(0, I), with a fixed seed; labels are drawn uniformly.

    Args:
        generator: StyleGAN or StyleGAN2, on the CPU.
        samples: Number of z.
        seed: Seed of z and of the labels.

    Returns:
        Tensor [L, w_dim], float32; summed in float64.
    """
    rng = torch.Generator().manual_seed(seed)
    classes = getattr(generator, "c_dim", 0)
    total = torch.zeros(generator.num_layers, generator.w_dim, dtype=torch.float64)
    bar = Progress("mean code of the generator", samples, unit="samples", patience=2.0)
    for start in range(0, samples, _BATCH):
        count = min(_BATCH, samples - start)
        given = [torch.randn(count, generator.z_dim, generator=rng)]
        if classes:
            drawn = torch.randint(classes, (count,), generator=rng)
            given.append(torch.nn.functional.one_hot(drawn, classes).float())
        total += generator.mapping(*given).double().sum(dim=0)
        bar.update(start + count)
    return (total / samples).float()


def _read(path: Path) -> Tensor | None:
    """Reads w̄ from a cache file; None if it is missing or damaged."""
    try:
        found = tensor_file.read_tensors(path)
    except (OSError, tensor_file.TensorFileError):
        return None
    whole = found.metadata.get("sha256") == tensor_file.tensors_hash(found.tensors)
    return found.tensors.get("w_avg") if whole else None


def _mapping_hash(generator: Any) -> str:
    """Returns a hash of everything that the mean code depends on."""
    digest = hashlib.sha256(f"{SAMPLES} {SEED} {sorted(generator.architecture.items())}".encode())
    for name, tensor in sorted(generator.mapping.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]
