"""Where NVlabs' PyTorch repositories keep StyleGAN2's tensors; the values are the native ones.

Source: stylegan2-ada-pytorch (training/networks.py) and stylegan3 (training/networks_stylegan2.py),
which name them alike. Their filters are not flipped where they upsample and are where they do not,
as in torch's own convolutions; so is the native network's.
"""

from typing import Any

from torch import Tensor

from idinvert.checkpoints.families.layout import Place, first_layer, smooth_filter, spread
from idinvert.networks.generator import resolutions


def generator_places(architecture: dict[str, Any], *, noise: bool = True) -> list[Place]:
    """Lists every tensor of a generator.

    Args:
        architecture: Of a native `StyleGAN2Generator` with one w for all layers.
        noise: Whether the layers take noise.
    """
    sides = resolutions(architecture["resolution"])
    places = [Place("w_avg", "mapping.w_avg", spread(2 * len(sides)), first_layer)]
    for i in range(architecture["mapping_depth"]):
        places += _pair(f"mapping.layers.{i}", f"mapping.fc{i}")
    if architecture["c_dim"] > 0:
        places += _pair("mapping.embed", "mapping.embed")
    places.append(Place("synthesis.const", "synthesis.b4.const"))
    for b, side in enumerate(sides):
        block = f"synthesis.b{side}"
        if b > 0:
            places += _styled(2 * b - 1, f"{block}.conv0", noise=noise)
        places += _styled(2 * b, f"{block}.conv1", noise=noise)
        if architecture["connections"] == "skip" or side == sides[-1]:
            rgb = b if architecture["connections"] == "skip" else 0
            places += _pair(f"synthesis.to_rgb.{rgb}", f"{block}.torgb")
            places += _pair(f"synthesis.to_rgb.{rgb}.affine", f"{block}.torgb.affine")
        if architecture["connections"] == "resnet" and b > 0:
            shortcut = f"synthesis.shortcuts.{b - 1}.weight"
            places.append(Place(shortcut, f"{block}.skip.weight"))
    return places


def generator_filters(architecture: dict[str, Any]) -> dict[str, Tensor]:
    """The resampling filters that a generator's state dict repeats, by name."""
    names = []
    for side in resolutions(architecture["resolution"]):
        parts = ["", ".conv1"] if side == 4 else ["", ".conv0", ".conv1"]
        if architecture["connections"] == "resnet" and side > 4:
            parts.append(".skip")
        names += [f"synthesis.b{side}{part}.resample_filter" for part in parts]
    return {name: smooth_filter() for name in names}


def discriminator_places(architecture: dict[str, Any]) -> list[Place]:
    """Lists every tensor of a discriminator.

    Args:
        architecture: Of a native `StyleGAN2Discriminator`.
    """
    sides = resolutions(architecture["resolution"])[:0:-1]  # R, …, 8
    skip = architecture["connections"] == "skip"
    places = _pair("from_rgb", f"b{sides[0]}.fromrgb")
    for i, side in enumerate(sides):
        if skip:
            places += _pair(f"from_rgbs.{i}", f"b{side // 2}.fromrgb")
        places += _pair(f"blocks.{i}.conv0", f"b{side}.conv0")
        places += _pair(f"blocks.{i}.conv1", f"b{side}.conv1")
        if architecture["connections"] == "resnet":
            places.append(Place(f"blocks.{i}.skip.weight", f"b{side}.skip.weight"))
    for name in ("conv", "fc", "out"):
        places += _pair(name, f"b4.{name}")
    if architecture.get("c_dim", 0) > 0:
        places += _pair("cmap.embed", "mapping.embed")
        for i in range(architecture["cmap_depth"]):
            places += _pair(f"cmap.layers.{i}", f"mapping.fc{i}")
    return places


def discriminator_filters(architecture: dict[str, Any]) -> dict[str, Tensor]:
    """The resampling filters that a discriminator's state dict repeats, by name."""
    sides = resolutions(architecture["resolution"])
    names = ["b4.conv"]
    for side in sides:
        if side == sides[-1] or architecture["connections"] == "skip":
            names.append(f"b{side}.fromrgb")
        if side > 4:
            names += [f"b{side}", f"b{side}.conv0", f"b{side}.conv1"]
            if architecture["connections"] == "resnet":
                names.append(f"b{side}.skip")
    return {f"{name}.resample_filter": smooth_filter() for name in names}


def _pair(native: str, foreign: str) -> list[Place]:
    return [Place(f"{native}.{part}", f"{foreign}.{part}") for part in ("weight", "bias")]


def _styled(i: int, foreign: str, *, noise: bool) -> list[Place]:
    """Modulated convolution i; its constant noise is a bare [h, w] in the file."""
    conv = f"synthesis.convs.{i}"
    places = _pair(conv, foreign) + _pair(f"{conv}.affine", f"{foreign}.affine")
    if noise:
        places.append(Place(f"{conv}.noise_strength", f"{foreign}.noise_strength"))
        places.append(
            Place(
                f"synthesis.noise_{i}",
                f"{foreign}.noise_const",
                lambda noise: noise[None, None],
                lambda noise: noise[0, 0],
            )
        )
    return places
