"""SeFa: directions in closed form, from the weights that map w to styles."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from idinvert.editing.directions import Direction
from idinvert.errors import ConfigError
from idinvert.networks.stylegan import StyleGANGenerator
from idinvert.networks.stylegan2 import StyleGAN2Generator


def style_weight(generator: Any, layer: int) -> Tensor:
    """Return the matrix A of one layer's style A·w + b.

    StyleGAN2's last w is the input of its last ToRGB. For lower layers whose w is also the input of
    a ToRGB, it is the matrix of the convolution, as in SeFa's own code.

    Returns:
        [styles, w_dim].

    Raises:
        ConfigError: the generator is neither a StyleGAN nor a StyleGAN2.
    """
    net = generator.synthesis if hasattr(generator, "synthesis") else None
    if isinstance(generator, StyleGANGenerator):
        return net.epilogues[layer].affine.weight.detach()  # type: ignore[union-attr]
    if isinstance(generator, StyleGAN2Generator):
        last = layer == generator.num_layers - 1
        return (net.to_rgb[-1] if last else net.convs[layer]).affine.weight.detach()  # type: ignore[union-attr]
    raise ConfigError(
        f"SeFa knows where the styles of StyleGAN and StyleGAN2 are, not those of "
        f"{type(generator).__name__}; change generator"
    )


def sefa(
    generator: Any,
    *,
    layers: Sequence[int] | None = None,
    count: int = 5,
    provenance: dict[str, Any] | None = None,
) -> list[Direction]:
    """Find the directions that change the styles of the given layers most.

    The rows of the layers' style matrices are scaled to length 1 and stacked to A; the directions
    are the eigenvectors of AᵀA, largest eigenvalue first.

    Args:
        generator: a StyleGAN or StyleGAN2.
        layers: the layers whose matrices are used and that the directions move; None for all.
        count: number of directions, up to w_dim.
        provenance: facts to store with each; `method`, `eigenvalue` and `rank` are added.

    Returns:
        Directions [1, w_dim] named "sefa00", "sefa01", …; the largest component is positive,
        because the sign of an eigenvector is arbitrary.

    Raises:
        ConfigError: there is no such layer, or `count` exceeds the number of directions.

    Source: Shen & Zhou 2021 (arXiv 2007.06600), Eq. (4) to (8).
    """
    chosen = tuple(range(generator.num_layers)) if layers is None else tuple(layers)
    if not chosen or any(not 0 <= k < generator.num_layers for k in chosen):
        raise ConfigError(
            f"SeFa's layers are {list(chosen)}: expected some of 0 to {generator.num_layers - 1}"
        )
    if not 1 <= count <= generator.w_dim:
        raise ConfigError(f"SeFa was asked for {count} directions: expected 1 to {generator.w_dim}")
    rows = torch.cat([style_weight(generator, k).double().cpu() for k in chosen])
    rows = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
    values, vectors = torch.linalg.eigh(rows.t() @ rows)  # ascending
    found = []
    for rank in range(count):
        facts = {"method": "sefa", "rank": rank, "eigenvalue": values[-1 - rank].item()}
        found.append(
            Direction(
                f"sefa{rank:02d}",
                signed(vectors[:, -1 - rank])[None].float(),  # [1, w_dim]
                None if layers is None else chosen,
                {**(provenance or {}), **facts},
            )
        )
    return found


def signed(vector: Tensor) -> Tensor:
    """Return the vector or its negative, so that its component of largest magnitude is positive."""
    return vector if vector.flatten()[vector.abs().argmax()] >= 0 else -vector
