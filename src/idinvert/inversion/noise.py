"""The noise that G is given while an image is inverted: fixed, and drawn by image id."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from idinvert.errors import ConfigError

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
        state = np.random.SeedSequence([seed, image_id % 2**63]).generate_state(2, np.uint32)
        rng = torch.Generator().manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)
        rows.append([torch.randn(1, h, w, generator=rng) for h, w in shapes])
    return [torch.stack(maps).to(device, dtype) for maps in zip(*rows, strict=True)]


def noise_for(
    kind: NoiseKind, *, generator, ids: Tensor | None, seed: int, like: Tensor
) -> tuple[str | list[Tensor], list[Tensor] | None]:
    """What to hand to `synthesis(noise=)`, and the maps if any were drawn.

    Args:
        kind: "const" (G's own buffers), "none", or "random" (drawn once by image id, then fixed).
        generator: G, for its `noise_shapes`.
        ids: image ids [N]; needed for "random".
        seed: the experiment's seed.
        like: a tensor on the device and of the dtype that the maps shall have.

    Raises:
        ConfigError: for an unknown kind, or "random" without ids.
    """
    if kind in ("const", "none"):
        return kind, None
    if kind != "random":
        raise ConfigError(f"inversion.noise is {kind!r}: expected const, random or none")
    if ids is None:
        raise ConfigError("inversion.noise=random draws noise by image id, but no ids were given")
    maps = draw_noise(
        shapes=generator.noise_shapes, ids=ids, seed=seed, dtype=like.dtype, device=like.device
    )
    return maps, maps
