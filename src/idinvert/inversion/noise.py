"""The noise maps of G: fixed maps, and the regulariser of optimised maps."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from idinvert.errors import ConfigError
from idinvert.inversion.initialization import image_rng, require_ids

NoiseKind = Literal["const", "random", "none"]
_SMALLEST = 8


def draw_noise(
    *,
    shapes: Sequence[tuple[int, int]],
    ids: Tensor,
    seed: int,
    dtype: torch.dtype,
    device: torch.device,
) -> list[Tensor]:
    """Draw standard normal noise maps that depend on (seed, image id) alone.

    Args:
        shapes: height and width of each noise input of G.
        ids: stable image ids, int64 [N].
        seed: the experiment's seed.
        dtype, device: of the maps; they are drawn on the CPU in float32.

    Returns:
        One map per noise input, each [N, 1, h, w].
    """
    rows: list[list[Tensor]] = []
    for image_id in ids.tolist():
        rng = image_rng(seed, image_id)
        rows.append([torch.randn(1, h, w, generator=rng) for h, w in shapes])
    return [torch.stack(maps).to(device, dtype) for maps in zip(*rows, strict=True)]


def noise_for(
    kind: NoiseKind,
    *,
    generator: Any,
    ids: Tensor | None,
    seed: int,
    like: Tensor,
    encoded: Sequence[Tensor] | None = None,
) -> tuple[str | list[Tensor], list[Tensor] | None]:
    """Return the argument of `synthesis(noise=)`, and the maps if any were drawn or encoded.

    Args:
        kind: "const" (G's own buffers), "none", or "random" (drawn once by image id, then fixed).
        generator: G, for its `noise_shapes`.
        ids: image ids [N]; required for "random".
        seed: the experiment's seed.
        like: images [N, ...] with the device and dtype of the maps.
        encoded: the maps of an encoder that predicts noise (Sec. 6.3), each [N or 1, 1, h, w];
            they replace the constant buffers.

    Raises:
        ConfigError: the kind is unknown, or "random" without ids.
    """
    if kind == "const" and encoded is not None:
        maps = [noise.to(like).expand(len(like), -1, -1, -1) for noise in encoded]
        return maps, maps
    if kind in ("const", "none"):
        return kind, None
    if kind != "random":
        raise ConfigError(f"inversion.noise is {kind!r}: expected const, random or none")
    ids = require_ids(ids, key="inversion.noise=random draws noise")
    maps = draw_noise(
        shapes=generator.noise_shapes, ids=ids, seed=seed, dtype=like.dtype, device=like.device
    )
    return maps, maps


def noise_regulariser(maps: Sequence[Tensor]) -> Tensor:
    """Return each map's squared correlation with itself shifted by one, over scales down to 8 px.

    Args:
        maps: noise maps, each [N, 1, h, w], h = w.

    Returns:
        [N], summed over maps, scales and both directions.

    Source: Karras et al. 2020 (arXiv 1912.04958), App. D.
    """
    total = maps[0].new_zeros(len(maps[0]))
    for noise in maps:
        while True:
            for dim in (2, 3):
                shifted = torch.roll(noise, shifts=1, dims=dim)
                total = total + (noise * shifted).mean((1, 2, 3)).square()
            if noise.shape[2] <= _SMALLEST:
                break
            noise = functional.avg_pool2d(noise, 2)
    return total


def normalised(noise: Tensor) -> Tensor:
    """Normalise a map [N, 1, h, w] to mean 0 and mean square 1 for each image."""
    noise = noise - noise.mean((1, 2, 3), keepdim=True)
    return noise * noise.square().mean((1, 2, 3), keepdim=True).rsqrt()
