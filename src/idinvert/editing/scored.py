"""Codes sampled from a generator, with the attributes read from their images."""

from typing import Any

import torch
from torch import Tensor

from idinvert.inversion.initialization import mapped
from idinvert.networks.attributes import AttributeNetwork


@torch.no_grad()
def scored_codes(
    generator: Any,
    network: AttributeNetwork,
    *,
    n: int,
    seed: int = 0,
    batch_size: int = 256,
    mixing: bool = False,
) -> tuple[Tensor, Tensor]:
    """Sample codes and score what they look like, for training directions (Sec. 4.3).

    Args:
        generator: frozen G.
        network: reads the attributes of images.
        n: codes.
        seed: of z.
        batch_size: images made at once.
        mixing: join two codes at a layer drawn for each image, so that the layers of a single-w
            generator differ and directions can be trained layer by layer in its W+.

    Returns:
        Codes float [n, w_dim] (single-w mapping) or [n, L, w_dim] (multi-w, mixing), and scores
        [n, A] in the network's order: raw outputs, so that logits are not squashed where the SVM
        looks for the extremes.
    """
    rng = torch.Generator().manual_seed(seed)
    like = generator.w_avg
    codes, scores = [], []
    for start in range(0, n, batch_size):
        count = min(batch_size, n - start)
        z = torch.randn(count, generator.z_dim, generator=rng).to(like)
        w = mapped(generator, z)  # [N, L, w_dim]
        if mixing:
            other = torch.randn(count, generator.z_dim, generator=rng).to(like)
            cut = torch.randint(1, generator.num_layers, (count, 1, 1), generator=rng)
            upper = torch.arange(generator.num_layers)[None, :, None] >= cut  # [N, L, 1]
            w = torch.where(upper.to(like.device), mapped(generator, other), w)
        images = generator.synthesis(w, noise="const").clamp(-1, 1)
        codes.append((w if generator.multi_w or mixing else w[:, 0]).cpu())
        scores.append(network(images).cpu())
    return torch.cat(codes), torch.cat(scores)
