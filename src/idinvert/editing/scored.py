"""Codes sampled from a generator, with the attributes read from their images."""

from typing import Any

import torch
from torch import Tensor

from idinvert.networks.attributes import AttributeNetwork


@torch.no_grad()
def scored_codes(
    generator: Any,
    network: AttributeNetwork,
    *,
    n: int,
    seed: int = 0,
    batch_size: int = 256,
) -> tuple[Tensor, Tensor]:
    """Sample codes and score what they look like, for training directions (Sec. 4.3).

    Args:
        generator: frozen G.
        network: reads the attributes of images.
        n: codes.
        seed: of z.
        batch_size: images made at once.

    Returns:
        Codes float [n, w_dim] (single-w mapping) or [n, L, w_dim] (multi-w), and scores [n, A] in
        the network's order: raw outputs, so that logits are not squashed where the SVM looks for
        the extremes.
    """
    rng = torch.Generator().manual_seed(seed)
    device = generator.w_avg.device
    codes, scores = [], []
    for start in range(0, n, batch_size):
        count = min(batch_size, n - start)
        z = torch.randn(count, generator.z_dim, generator=rng).to(device)
        w = generator.mapping(z)  # [N, L, w_dim]
        images = generator.synthesis(w, noise="const").clamp(-1, 1)
        codes.append((w if generator.multi_w else w[:, 0]).cpu())
        scores.append(network(images).cpu())
    return torch.cat(codes), torch.cat(scores)
