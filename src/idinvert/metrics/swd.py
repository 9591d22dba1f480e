"""Sliced Wasserstein distance between two sets of images (Karras et al., PGGAN, Sec. 5)."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from idinvert.errors import DataError
from idinvert.metrics.distance import Distance, check_sets
from idinvert.metrics.laplacian import laplacian_level, pyramid_resolutions
from idinvert.metrics.protocol import resampled

PATCH = 7
PATCHES_PER_IMAGE = 128
REPEATS = 4
DIRECTIONS = 128
SCALE = 1e3
RESAMPLES, FEW_PATCHES, FEW_DIRECTIONS = 50, 16, 64
MOMENTS = 8192
"""Number of patches whose sums are computed at once, in float64."""
BLOCK = 32
"""Directions projected and sorted at once: 5,000 images × 128 patches × 32 floats = 82 MB."""


class SlicedWasserstein(Distance):
    """SWD, computed on the images themselves; arguments as in `swd`."""

    floors = frozenset({"swd"})

    def __init__(self, *, seed: int, device: torch.device, batch_size: int) -> None:
        self.seed, self.device, self.batch_size = seed, device, batch_size

    def values(self, x: Tensor, y: Tensor) -> dict[str, float]:
        return swd(x, y, seed=self.seed, device=self.device, batch_size=self.batch_size)

    def replicates(self, x: Tensor, y: Tensor, *, paired: bool) -> dict[str, Tensor]:
        options = {"device": self.device, "batch_size": self.batch_size}
        return swd_replicates(x, y, seed=self.seed, paired=paired, **options)  # type: ignore[arg-type]


def swd(
    outputs: Tensor,
    reals: Tensor,
    *,
    seed: int = 0,
    patches: int = PATCHES_PER_IMAGE,
    repeats: int = REPEATS,
    directions: int = DIRECTIONS,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> dict[str, float]:
    """Return the sliced Wasserstein distance of each Laplacian level, and their mean, ×1e3.

    For each level: 128 random 7×7 patches per image; each set is standardised per colour channel
    by its own mean and standard deviation; 4×128 random unit directions; mean absolute difference
    of the sorted projections. The standardisation makes it invariant to a global gain or offset of
    a colour. One level of both sets is in memory at a time (5,000 images: 2 × 376 MB).

    Differs from PGGAN: patch positions and directions depend only on `seed`, not on batch size or
    device; a channel that is constant over the whole set gives zeros, not NaN.

    Args:
        outputs: uint8 `[N, 3, R, R]`.
        reals: real images, uint8 `[N, 3, R, R]`.
        seed: seed of patch positions and directions.
        patches: patches per image and level.
        repeats: number of draws of directions.
        directions: directions per draw.
        batch_size: images in one step of the pyramid.
        device: device of the computation.
        dtype: dtype of patches and projections.

    Returns:
        `swd` (mean over the levels) and `swd_<r>` for each level's resolution r.

    Raises:
        DataError: counts or resolutions differ, or the resolution cannot be halved to 16 px.
    """
    check_sets(outputs=outputs, reals=reals, metric="swd", least=1)
    if len({*outputs.shape[-2:], *reals.shape[-2:]}) > 1:
        raise DataError(
            f"swd: outputs are {list(outputs.shape[-2:])} px and reals {list(reals.shape[-2:])} "
            "px; expected square images of one size"
        )
    resolutions = pyramid_resolutions(outputs.shape[-1])
    distances = {}
    for level, size in enumerate(resolutions):
        first, second = (
            _standardised(
                _patches(
                    images, level, resolutions, patches=patches, seed=seed, name=name,
                    batch_size=batch_size, device=device, dtype=dtype,
                )
            )
            for name, images in (("outputs", outputs), ("reals", reals))
        )  # fmt: skip
        units = draw_directions(seed=seed, size=size, repeats=repeats, directions=directions)
        distance = _sliced_distance(first, second, units.to(device=device, dtype=dtype))
        distances[f"swd_{size}"] = SCALE * distance
    return {"swd": sum(distances.values()) / len(distances), **distances}


def swd_replicates(
    outputs: Tensor,
    reals: Tensor,
    *,
    seed: int = 0,
    paired: bool = False,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
) -> dict[str, Tensor]:
    """Return the distance of resampled sets, for its interval: 50 resamples, each standardised.

    It uses fewer patches per image (16) and directions (64) than `swd`, so that all resamples
    together cost about as much as `swd`; only their spread is used.

    Args:
        outputs: uint8 `[N, 3, R, R]`.
        reals: uint8 `[N, 3, R, R]`.
        seed: seed of resamples, patches and directions.
        paired: whether image i of both sets is the same image; both are then drawn together.
        batch_size, device: as in `swd`.

    Returns:
        As in `swd`, float64 `[50]` each.
    """
    drawn = [resampled(len(outputs), seed=seed, name="outputs", resamples=RESAMPLES)]
    drawn += (
        drawn if paired else [resampled(len(reals), seed=seed, name="reals", resamples=RESAMPLES)]
    )
    resolutions = pyramid_resolutions(outputs.shape[-1])
    spread: dict[str, Tensor] = {}
    for level, size in enumerate(resolutions):
        units = draw_directions(seed=seed, size=size, repeats=1, directions=FEW_DIRECTIONS)
        units = units.to(device, torch.float32)
        patches = [
            _patches(
                images, level, resolutions, patches=FEW_PATCHES, seed=seed, name=name,
                batch_size=batch_size, device=device, dtype=torch.float32,
            ).unflatten(0, (-1, FEW_PATCHES))
            for name, images in (("outputs", outputs), ("reals", reals))
        ]  # fmt: skip
        values = []
        for pair in zip(*drawn, strict=True):
            a, b = (
                _standardised(p[i.to(device)].flatten(0, 1))
                for p, i in zip(patches, pair, strict=True)
            )
            values.append(SCALE * _sliced_distance(a, b, units))
        spread[f"swd_{size}"] = torch.tensor(values, dtype=torch.float64)
    return {"swd": torch.stack(list(spread.values())).mean(dim=0), **spread}


def draw_corners(n: int, size: int, *, patches: int, seed: int, name: str) -> Tensor:
    """Draw the upper left corners of patches, uniformly over all positions where a patch fits.

    Args:
        n: number of images.
        size: resolution of the level.
        patches: patches per image.
        seed: seed of the metric.
        name: "outputs" or "reals": the two sets are drawn independently.

    Returns:
        int64 `[n, patches, 2]`, (row, column).
    """
    rng = _generator(seed, size, name)
    return torch.randint(0, size - PATCH + 1, (n, patches, 2), generator=rng)


def draw_directions(*, seed: int, size: int, repeats: int, directions: int) -> Tensor:
    """Draw random unit vectors in the space of patches.

    Returns:
        float64 `[repeats · directions, 3·7·7]`, each row of length 1.
    """
    rng = _generator(seed, size, "directions")
    units = torch.randn(repeats * directions, 3 * PATCH * PATCH, generator=rng, dtype=torch.float64)
    return units / units.norm(dim=1, keepdim=True)


def gather_patches(images: Tensor, corners: Tensor) -> Tensor:
    """Cut patches out of images.

    Args:
        images: `[b, 3, r, r]`.
        corners: int64 `[b, P, 2]`.

    Returns:
        `[b·P, 3, 49]`.
    """
    _, channels, _, width = images.shape
    steps = torch.arange(PATCH, device=images.device)
    inside = (steps[:, None] * width + steps).flatten()  # [49]
    start = corners[..., 0] * width + corners[..., 1]  # [b, P]
    index = (start[..., None] + inside).flatten(1)  # [b, P·49]
    flat = images.flatten(2).gather(2, index[:, None].expand(-1, channels, -1))  # [b, 3, P·49]
    return (
        flat.unflatten(2, (-1, PATCH * PATCH)).transpose(1, 2).reshape(-1, channels, PATCH * PATCH)
    )


def _patches(
    images: Tensor,
    level: int,
    resolutions: Sequence[int],
    *,
    patches: int,
    seed: int,
    name: str,
    batch_size: int,
    device: torch.device | str,
    dtype: torch.dtype,
) -> Tensor:
    """Return random patches `[N·P, 3, 49]` of one set, uint8 `[N, 3, R, R]`, at one level."""
    corners = draw_corners(len(images), resolutions[level], patches=patches, seed=seed, name=name)
    corners = corners.to(device)
    shape = (len(images) * patches, 3, PATCH * PATCH)
    found = torch.empty(shape, device=device, dtype=dtype)  # filled in place: it may be large
    for start in range(0, len(images), batch_size):
        here = slice(start, start + batch_size)
        batch = images[here].to(device).to(dtype)  # transferred as bytes, a quarter of the floats
        pixels = laplacian_level(batch, level, resolutions=resolutions)
        rows = gather_patches(pixels, corners[here])
        found[start * patches : start * patches + len(rows)] = rows
    return found


def _standardised(patches: Tensor) -> Tensor:
    """Standardise each channel of patches `[M, 3, 49]` in place; return `[M, 147]`."""
    blocks = patches.split(MOMENTS)
    count = len(patches) * PATCH * PATCH
    mean = sum(block.double().sum(dim=(0, 2)) for block in blocks) / count  # [3]
    squares = sum(block.double().square().sum(dim=(0, 2)) for block in blocks) / count
    variance = squares - mean**2
    constant = variance <= 1e-12 * (1 + mean**2)
    std = torch.where(constant, torch.ones_like(variance), variance.clamp_min(0).sqrt())
    shape = (1, -1, 1)
    patches.sub_(mean.to(patches).view(shape)).div_(std.to(patches).view(shape))
    return patches.flatten(1)


def _sliced_distance(a: Tensor, b: Tensor, units: Tensor) -> float:
    """Return the mean over directions of the mean absolute difference of sorted projections."""
    total = 0.0
    for block in units.split(BLOCK):
        difference = _sort(block @ a.T).sub_(_sort(block @ b.T)).abs_()  # [BLOCK, n·P]
        total += difference.mean(dim=1, dtype=torch.float64).sum().item()
    return total / len(units)


def _sort(rows: Tensor) -> Tensor:
    """Sort each row; on the CPU numpy's vectorised sort takes a third of torch's time."""
    if rows.device.type != "cpu":
        return rows.sort(dim=1).values
    rows = rows.contiguous()
    rows.numpy().sort(axis=1)  # in place, in the tensor's own memory
    return rows


def _generator(seed: int, size: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f"swd/{seed}/{size}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
