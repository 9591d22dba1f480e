"""Fréchet and kernel distance on any feature extractor; named after it, never FID or KID."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from idinvert.data.convert import to_float
from idinvert.metrics.distance import Distance
from idinvert.metrics.protocol import RESAMPLES, counts_of, resampled

FEW, FEWER, FEWEST = (256, 200), (768, 50), (1 << 20, 20)
"""(Maximum features, resamples) of the Fréchet distance; each needs two eigendecompositions."""
BLOCK = 1024
"""Number of rows of a kernel matrix that are in memory at once."""


class ExtractorDistance(Distance):
    """`fd_<name>` (with `frechet`) and `kd_<name>` (with `kernel`) on any network.

    Args:
        network: module with `embed(images [b, 3, R, R] in [-1, 1]) -> [b, D]`; run in evaluation
            mode on its own device; its mode is restored.
        name: name of the network in the metrics' names.
        frechet, kernel: which of the two to compute.
        seed: seed of the resamples.
        batch_size: images per batch.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        frechet: bool = True,
        kernel: bool = False,
        seed: int = 0,
        batch_size: int = 64,
    ) -> None:
        self.network, self.seed, self.batch_size = network, seed, batch_size
        self.distances: dict[str, tuple[Callable[..., float], Callable[..., Tensor]]] = {}
        if frechet:
            self.distances[f"fd_{name}"] = frechet_distance, frechet_replicates
        if kernel:
            self.distances[f"kd_{name}"] = kernel_distance, kernel_replicates
        self.floors = frozenset(self.distances)

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """Return features, float64 `[N, D]`, on the CPU."""
        network, training = self.network, self.network.training
        tensors = [*network.parameters(), *network.buffers()]
        device = tensors[0].device if tensors else torch.device("cpu")
        embed: Callable[[Tensor], Tensor] = network.embed  # type: ignore[assignment]
        try:
            network.eval()
            batches = images.split(self.batch_size)
            return torch.cat([embed(to_float(b.to(device))).double().cpu() for b in batches])
        finally:
            network.train(training)

    def values(self, x: Tensor, y: Tensor) -> Mapping[str, float]:
        return {name: distance(x, y) for name, (distance, _) in self.distances.items()}

    def replicates(self, x: Tensor, y: Tensor, *, paired: bool) -> Mapping[str, Tensor]:
        drawn = self.distances.items()
        return {name: spread(x, y, seed=self.seed, paired=paired) for name, (_, spread) in drawn}


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """Return torch-fidelity's Fréchet distance of two sets of features `[N, D]`."""
    from torch_fidelity import metric_fid  # see `fidelity.py`

    statistics = [metric_fid.fid_features_to_statistics(features) for features in (x, y)]
    return metric_fid.fid_statistics_to_metric(*statistics, False)[metric_fid.KEY_METRIC_FID]


def frechet_replicates(x: Tensor, y: Tensor, *, seed: int, paired: bool) -> Tensor:
    """Return the Fréchet distance of resampled sets.

    Args:
        x, y: features `[N, D]`.
        seed: seed of the resamples.
        paired: whether row i of both belongs to the same image; both are then drawn together.

    Returns:
        float64 `[B]`: 200 resamples; fewer for more than 256 features.
    """
    few = next(b for most, b in (FEW, FEWER, FEWEST) if x.shape[1] <= most)
    first, second = _draws(len(x), seed=seed, paired=paired, resamples=few)
    found = []
    for a, b in zip(first, second, strict=True):
        (mean_x, cov_x), (mean_y, cov_y) = _moments(x[a]), _moments(y[b])
        # tr √(C_x C_y) = tr √(√C_x C_y √C_x): two symmetric eigenproblems
        values, vectors = torch.linalg.eigh(cov_x)
        root = vectors * values.clamp_min(0).sqrt()
        inner = torch.linalg.eigvalsh(root.T @ cov_y @ root).clamp_min(0).sqrt().sum()
        gap = (mean_x - mean_y).square().sum()
        found.append(gap + cov_x.trace() + cov_y.trace() - 2 * inner)
    return torch.stack(found).cpu()


def kernel_distance(x: Tensor, y: Tensor) -> float:
    """Return the unbiased MMD² of features `[N, D]`, cubic polynomial kernel, over all pairs."""
    ones = torch.ones(1, len(x), dtype=torch.float64)
    return _mmd2(x, y, ones, ones).item()


def kernel_replicates(x: Tensor, y: Tensor, *, seed: int, paired: bool) -> Tensor:
    """Return the kernel distance of resampled sets; see `frechet_replicates`.

    An image drawn twice does not form a pair with itself, as in the unbiased estimate.
    """
    first, second = _draws(len(x), seed=seed, paired=paired)
    return _mmd2(x, y, counts_of(first), counts_of(second))


def _draws(n: int, *, seed: int, paired: bool, resamples: int = RESAMPLES) -> tuple[Tensor, Tensor]:
    first = resampled(n, seed=seed, name="outputs", resamples=resamples)
    return first, first if paired else resampled(n, seed=seed, name="reals", resamples=resamples)


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    return features.mean(dim=0), torch.cov(features.T)


def _mmd2(x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return MMD² [B] with weights [B, N] on the rows of x and y."""
    within = _pairs(x, x, a, a, apart=True) + _pairs(y, y, b, b, apart=True)
    return within - 2 * _pairs(x, y, a, b, apart=False)


def _pairs(x: Tensor, y: Tensor, a: Tensor, b: Tensor, *, apart: bool) -> Tensor:
    """Return the weighted mean of the kernel over pairs, [B]; `apart`: of different rows only."""
    total = torch.zeros(len(a), dtype=torch.float64)
    for first in range(0, len(x), BLOCK):
        rows = slice(first, first + BLOCK)
        kernel = (x[rows] @ y.T / x.shape[1] + 1) ** 3  # [rows, N]
        if apart:
            kernel.diagonal(first).zero_()
        total += ((a[:, rows] @ kernel) * b).sum(dim=1)
    weights = a.sum(dim=1) * b.sum(dim=1)
    return total / (weights - (a * b).sum(dim=1) if apart else weights)
