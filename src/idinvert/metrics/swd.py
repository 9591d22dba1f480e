"""Sliced Wasserstein distance between two sets of images (Karras et al., PGGAN, Sec. 5)."""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

from idinvert.errors import DataError
from idinvert.metrics.inputs import Images, check_equal_counts, uint8_batches
from idinvert.metrics.laplacian import laplacian_level, pyramid_resolutions

PATCH = 7
PATCHES_PER_IMAGE = 128
REPEATS = 4
DIRECTIONS = 128
SCALE = 1e3
BLOCK = (
    32  # directions projected and sorted together: 5,000 images × 128 patches × 32 floats = 82 MB
)


def swd(
    outputs: Images,
    reals: Images,
    *,
    seed: int = 0,
    patches: int = PATCHES_PER_IMAGE,
    repeats: int = REPEATS,
    directions: int = DIRECTIONS,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> dict[str, float]:
    """Sliced Wasserstein distance of each Laplacian level, and their mean, ×1e3.

    Each level in turn: 128 random 7×7 patches an image; each set standardised a colour channel by
    its own mean and standard deviation; 4×128 random unit directions; mean absolute difference of
    the sorted projections. The standardisation makes it blind to a global gain or offset of a
    colour. One level of both sets is in memory at a time (5,000 images: 2 × 376 MB).

    Differs from PGGAN: patch positions and directions follow from `seed` alone, not from batch size
    or device; a channel that is constant over the whole set gives zeros there, not NaN.

    Args:
        outputs: uint8 `[N, 3, R, R]`, or batches of it that can be iterated more than once.
        reals: the same for the real images; equal N.
        seed: of patch positions and directions.
        patches: patches an image and level.
        repeats: draws of directions.
        directions: directions a draw.
        batch_size: images a batch, where a set is one tensor.
        device: where to compute.
        dtype: of patches and projections.

    Returns:
        `swd` (mean over the levels) and `swd_<r>` for each level's resolution r.

    Raises:
        DataError: counts or resolutions differ, or the resolution cannot be halved to 16 px.
    """
    n, resolution = _describe(outputs, name="outputs", batch_size=batch_size)
    n_reals, real_resolution = _describe(reals, name="reals", batch_size=batch_size)
    check_equal_counts(n, n_reals, metric="swd")
    if resolution != real_resolution:
        raise DataError(
            f"swd: outputs are {resolution} px and reals {real_resolution} px; they must be equal"
        )
    resolutions = pyramid_resolutions(resolution)
    distances = {}
    for level, size in enumerate(resolutions):
        descriptors: list[Tensor] = []
        for name, images in (("outputs", outputs), ("reals", reals)):
            corners = draw_corners(n, size, patches=patches, seed=seed, name=name)
            levels = (
                laplacian_level(
                    batch.to(device=device, dtype=dtype), level, resolutions=resolutions
                )
                for batch in uint8_batches(images, name=name, batch_size=batch_size)
            )
            descriptors.append(_descriptors(levels, corners))
        units = draw_directions(seed=seed, size=size, repeats=repeats, directions=directions)
        distances[f"swd_{size}"] = SCALE * _sliced_distance(
            descriptors[0], descriptors[1], units.to(device=device, dtype=dtype)
        )
    return {"swd": sum(distances.values()) / len(distances), **distances}


def swd_floor(reals: Images, *, seed: int = 0, **options) -> float:
    """What `swd` gives for outputs equal to the reals: two draws of patches from the same images.

    No method can be expected below it; print it beside every SWD.

    Args:
        reals: uint8 `[N, 3, R, R]`, or batches of it.
        seed: as in `swd`.
        **options: the other keywords of `swd`; must be those of the measurement beside it.

    Returns:
        The mean over the levels, ×1e3.
    """
    return swd(reals, reals, seed=seed, **options)["swd"]


def draw_corners(n: int, size: int, *, patches: int, seed: int, name: str) -> Tensor:
    """Upper left corners of the patches, uniform over all places where a patch fits.

    Args:
        n: images.
        size: resolution of the level.
        patches: patches an image.
        seed: of the metric.
        name: "outputs" or "reals": the two sets draw independently.

    Returns:
        int64 `[n, patches, 2]`, (row, column).
    """
    rng = _generator(seed, size, name)
    return torch.randint(0, size - PATCH + 1, (n, patches, 2), generator=rng)


def draw_directions(*, seed: int, size: int, repeats: int, directions: int) -> Tensor:
    """Random unit vectors in the space of patches.

    Returns:
        float64 `[repeats · directions, 3·7·7]`, each row of length 1.
    """
    rng = _generator(seed, size, "directions")
    units = torch.randn(repeats * directions, 3 * PATCH * PATCH, generator=rng, dtype=torch.float64)
    return units / units.norm(dim=1, keepdim=True)


def gather_patches(images: Tensor, corners: Tensor) -> Tensor:
    """Cut the patches out.

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


def _descriptors(levels: Iterable[Tensor], corners: Tensor) -> Tensor:
    """Standardised patches `[n·P, 147]` of one set at one level."""
    n, patches, _ = corners.shape
    descriptors = total = squares = torch.zeros(())
    filled = 0
    for images in levels:
        count = len(images)
        found = gather_patches(images, corners[filled : filled + count].to(images.device))
        if filled == 0:
            descriptors = found.new_empty(n * patches, *found.shape[1:])
            total = squares = found.new_zeros(found.shape[1], dtype=torch.float64)  # [3]
        descriptors[filled * patches : (filled + count) * patches] = found
        wide = found.double()
        total, squares = total + wide.sum(dim=(0, 2)), squares + wide.square().sum(dim=(0, 2))
        filled += count
    count = n * patches * PATCH * PATCH
    mean = total / count  # [3]
    variance = squares / count - mean**2
    constant = variance <= 1e-12 * (1 + mean**2)
    std = torch.where(constant, torch.ones_like(variance), variance.clamp_min(0).sqrt())
    shape = (1, -1, 1)
    descriptors.sub_(mean.to(descriptors).view(shape)).div_(std.to(descriptors).view(shape))
    return descriptors.flatten(1)


def _sliced_distance(a: Tensor, b: Tensor, units: Tensor) -> float:
    """Mean over directions of the mean absolute difference of sorted projections."""
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


def _describe(images: Images, *, name: str, batch_size: int) -> tuple[int, int]:
    """Count and resolution of a set."""
    n, sizes = 0, set()
    for batch in uint8_batches(images, name=name, batch_size=batch_size):
        n += len(batch)
        sizes.add(tuple(batch.shape[-2:]))
    if n == 0 or len(sizes) != 1 or len(set(*sizes)) != 1:
        raise DataError(
            f"swd: {name} must be square images of one size, at least one; got {n} of sizes "
            f"{sorted(sizes)}"
        )
    return n, next(iter(sizes))[0]
