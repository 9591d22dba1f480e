"""GANSpace: principal components of sampled codes as directions."""

from typing import Any

import torch
from torch import Tensor

from idinvert.editing.directions import Direction
from idinvert.editing.sefa import signed
from idinvert.errors import ConfigError
from idinvert.inversion.initialization import mapped


def ganspace(
    generator: Any,
    *,
    samples: int = 100_000,
    count: int = 10,
    seed: int = 0,
    layers: tuple[int, ...] | None = None,
    batch_size: int = 1000,
    provenance: dict[str, Any] | None = None,
) -> list[Direction]:
    """Find the directions of largest variance of codes, with their standard deviations.

    PCA of w over samples of M. For a multi-w mapping, the w of all L layers form one vector of
    L·w_dim elements, and components have one row per layer.

    The rows of a direction have length 1, so its scale is stored in `provenance["sigma"]`: for
    each row, the standard deviation along the component times the length of its row.
    `manipulate(…, unit="sigma")` uses these units: one step is one standard deviation.

    Args:
        generator: frozen G.
        samples: number of codes; the paper uses a million.
        count: number of directions.
        seed: seed of z.
        layers: the layers that the directions move; None for all.
        batch_size: number of z mapped at once.
        provenance: facts to store with each; `method`, `rank`, `sigma`, `share` (of the variance),
            `samples` and `seed` are added.

    Returns:
        Directions [1, w_dim] (single-w mapping) or [L, w_dim] (multi-w) named "ganspace00", …; the
        largest component is positive.

    Raises:
        ConfigError: there are too few samples, or `count` exceeds the number of directions.

    Source: Härkönen et al. 2020 (arXiv 2004.02546), Sec. 2.

    Differs from the paper: the covariance is summed exactly and decomposed once, while the paper
    uses incremental PCA. In a multi-w space of 14 × 512 this takes minutes and a gigabyte.
    """
    rows = generator.num_layers if generator.multi_w else 1
    width = rows * generator.w_dim
    if samples < 2 or not 1 <= count <= min(width, samples - 1):
        raise ConfigError(
            f"GANSpace was asked for {count} directions of {samples} samples: expected 1 to "
            f"{min(width, samples - 1)}, of 2 samples or more"
        )
    covariance = _covariance(
        generator, rows=rows, samples=samples, seed=seed, batch_size=batch_size
    )
    values, vectors = torch.linalg.eigh(covariance)  # ascending
    found = []
    for rank in range(count):
        vector = signed(vectors[:, -1 - rank]).view(rows, -1)  # [K, w_dim]
        lengths = vector.norm(dim=1, keepdim=True).clamp_min(1e-12)
        sigma = values[-1 - rank].clamp_min(0).sqrt() * lengths[:, 0]
        facts = {
            "method": "ganspace",
            "rank": rank,
            "sigma": sigma.tolist(),
            "share": (values[-1 - rank] / values.sum()).item(),
            "samples": samples,
            "seed": seed,
        }
        unit = (vector / lengths).float()
        found.append(
            Direction(f"ganspace{rank:02d}", unit, layers, {**(provenance or {}), **facts})
        )
    return found


@torch.no_grad()
def _covariance(generator: Any, *, rows: int, samples: int, seed: int, batch_size: int) -> Tensor:
    """Return the covariance of sampled codes, float64 on the CPU, [K·w_dim, K·w_dim]."""
    rng = torch.Generator().manual_seed(seed)
    like = generator.w_avg
    centre = like[:rows].reshape(-1).double().cpu()  # near the mean, against cancellation
    total = torch.zeros_like(centre)
    power = torch.zeros(len(centre), len(centre), dtype=torch.float64)
    for start in range(0, samples, batch_size):
        z = torch.randn(min(batch_size, samples - start), generator.z_dim, generator=rng)
        w = mapped(generator, z.to(like))[:, :rows].flatten(1).double().cpu() - centre
        total += w.sum(0)
        power += w.t() @ w
    mean = total / samples
    return (power - samples * torch.outer(mean, mean)) / (samples - 1)
