"""The noise that G is given while an image is inverted: fixed, and drawn by image id."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from idinvert.errors import ConfigError
from idinvert.inversion.draw import image_rng, require_ids

NoiseKind = Literal["const", "random", "none"]


def draw_noise(
    *,
    shapes: Sequence[tuple[int, int]],
    ids: Tensor,
    seed: int,
    dtype: torch.dtype,
    device: torch.device,
) -> list[Tensor]:
    """Draw standard normal noise maps that depend on (seed, image id) and on nothing else.

    Args:
        shapes: height and width of each noise input of G.
        ids: stable image ids, int64 [N].
        seed: the experiment's seed.
        dtype, device: of the maps; the draw is made on the CPU in float32.

    Returns:
        One map a noise input, each [N, 1, h, w].
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
    """What to hand to `synthesis(noise=)`, and the maps if any were drawn or encoded.

    Args:
        kind: "const" (G's own buffers), "none", or "random" (drawn once by image id, then fixed).
        generator: G, for its `noise_shapes`.
        ids: image ids [N]; needed for "random".
        seed: the experiment's seed.
        like: images [N, ...] on the device and of the dtype that the maps shall have.
        encoded: the maps of an encoder that gives some (Sec. 6.3), each [N or 1, 1, h, w]; they
            stand in for the constant buffers.

    Raises:
        ConfigError: for an unknown kind, or "random" without ids.
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
