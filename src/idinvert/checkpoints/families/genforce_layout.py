"""Where genforce and its successor Hammer keep StyleGAN2's tensors, and how the values differ.

Both name a layer by its number. genforce adds 1 to the styles' biases at run time and turns the
filters of upsampling layers by half a turn, as TensorFlow does; Hammer stores both as the native
network has them. Each names filters, the mean code and D's last layer otherwise.

Source: genforce, sefa and Hammer (models/stylegan2_generator.py, stylegan2_discriminator.py).
"""

from typing import Any

from torch import Tensor

from idinvert.checkpoints.families.layout import (
    Place,
    first_layer,
    keep,
    leading_one,
    mirrored,
    shifted,
    smooth_filter,
    spread,
)
from idinvert.networks.generator import resolutions


def generator_places(architecture: dict[str, Any], *, hammer: bool) -> list[Place]:
    """Lists every tensor of a generator.

    Args:
        architecture: Of a native `StyleGAN2Generator`.
        hammer: Whether Hammer wrote it.
    """
    sides = resolutions(architecture["resolution"])
    layers, w_dim = 2 * len(sides), architecture["w_dim"]
    w_avg = "w_avg" if hammer else "truncation.w_avg"
    if architecture["multi_w"]:
        places = [
            Place("w_avg", w_avg, lambda mean: mean.reshape(layers, w_dim), lambda w: w.flatten())
        ]
    else:
        places = [Place("w_avg", w_avg, spread(layers), first_layer)]
    for i in range(architecture["mapping_depth"]):
        places += _pair(f"mapping.layers.{i}", f"mapping.dense{i}")
    if architecture["c_dim"] > 0:
        places += _pair("mapping.embed", "mapping.embedding")
    places.append(leading_one("synthesis.const", "synthesis.early_layer.const"))
    for i in range(layers - 1):
        conv, foreign = f"synthesis.convs.{i}", f"synthesis.layer{i}"
        turn = mirrored if i % 2 == 1 and not hammer else keep
        places += [
            Place(f"{conv}.weight", f"{foreign}.weight", turn, turn),
            Place(f"{conv}.bias", f"{foreign}.bias"),
            Place(f"{conv}.noise_strength", f"{foreign}.noise_strength"),
            Place(f"synthesis.noise_{i}", f"{foreign}.noise"),
            *_style(conv, foreign, hammer=hammer),
        ]
    for b in range(len(sides)):
        if architecture["connections"] == "skip" or b == len(sides) - 1:
            rgb = f"synthesis.to_rgb.{b if architecture['connections'] == 'skip' else 0}"
            places += _pair(rgb, f"synthesis.output{b}")
            places += _style(rgb, f"synthesis.output{b}", hammer=hammer)
        if architecture["connections"] == "resnet" and b > 0:
            shortcut = f"synthesis.shortcuts.{b - 1}.weight"
            places.append(Place(shortcut, f"synthesis.residual{b}.weight"))
    return places


def generator_filters(architecture: dict[str, Any], *, hammer: bool) -> dict[str, Tensor]:
    """The filters that a generator's state dict repeats, by name."""
    blocks = range(1, len(resolutions(architecture["resolution"])))
    names = [f"synthesis.layer{2 * b - 1}.filter" for b in blocks]
    if hammer:
        if architecture["connections"] == "resnet":
            names += [f"synthesis.residual{b}.filter" for b in blocks]
        if architecture["connections"] == "skip":
            names.append("synthesis.filter")
        return {name: smooth_filter() for name in names}
    found = {f"{name}.kernel": smooth_filter(gain=4)[None, None] for name in names}
    if architecture["connections"] == "skip":
        found["synthesis.upsample.kernel"] = smooth_filter(gain=4)[None, None]
    return found


def discriminator_places(architecture: dict[str, Any], *, hammer: bool) -> list[Place]:
    """Lists every tensor of a discriminator.

    Args:
        architecture: Of a native `StyleGAN2Discriminator`.
        hammer: Whether Hammer wrote it.
    """
    blocks = len(resolutions(architecture["resolution"])) - 1
    places = _pair("from_rgb", "input0")
    for i in range(blocks):
        if architecture["connections"] == "skip":
            places += _pair(f"from_rgbs.{i}", f"input{i + 1}")
        places += _pair(f"blocks.{i}.conv0", f"layer{2 * i}")
        places += _pair(f"blocks.{i}.conv1", f"layer{2 * i + 1}")
        if architecture["connections"] == "resnet":
            foreign = f"residual{i}" if hammer else f"skip_layer{i}"
            places.append(Place(f"blocks.{i}.skip.weight", f"{foreign}.weight"))
    places += _pair("conv", f"layer{2 * blocks}")
    places += _pair("fc", f"layer{2 * blocks + 1}")
    places += _pair("out", "output" if hammer else f"layer{2 * blocks + 2}")
    if architecture.get("c_dim", 0) > 0:
        places += _pair("cmap.embed", "embedding")
        for i in range(architecture["cmap_depth"]):
            places += _pair(f"cmap.layers.{i}", f"mapping{i}")
    return places


def discriminator_filters(architecture: dict[str, Any], *, hammer: bool) -> dict[str, Tensor]:
    """The filters that a discriminator's state dict repeats, by name."""
    blocks = range(len(resolutions(architecture["resolution"])) - 1)
    names = [f"layer{2 * i + 1}.filter" for i in blocks]
    if architecture["connections"] == "resnet":
        names += [f"residual{i}.filter" if hammer else f"skip_layer{i}.filter" for i in blocks]
    if hammer:
        names += ["filter"] if architecture["connections"] == "skip" else []
        return {name: smooth_filter() for name in names}
    found = {f"{name}.kernel": smooth_filter()[None, None] for name in names}
    if architecture["connections"] == "skip":
        found["downsample.kernel"] = smooth_filter()[None, None]
    return found


def _pair(native: str, foreign: str) -> list[Place]:
    return [Place(f"{native}.{part}", f"{foreign}.{part}") for part in ("weight", "bias")]


def _style(native: str, foreign: str, *, hammer: bool) -> list[Place]:
    read, write = (keep, keep) if hammer else (shifted(1), shifted(-1))
    return [
        Place(f"{native}.affine.weight", f"{foreign}.style.weight"),
        Place(f"{native}.affine.bias", f"{foreign}.style.bias", read, write),
    ]
