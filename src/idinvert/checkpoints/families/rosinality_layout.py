"""Where rosinality's stylegan2-pytorch keeps StyleGAN2's tensors; the values are the native ones.

Its convolutions carry a leading 1, its biases of ToRGB the shape of an image, and every resampling
layer a copy of its filter, times 4 where it upsamples. It divides a modulated convolution's
filters by the root of their fan-in before it normalises them, NVlabs do not: the 1e-8 under the
root so weighs a fan-in's times more, which no float32 image shows.

Source: stylegan2-pytorch (model.py: Generator, Discriminator).
"""

from typing import Any

from torch import Tensor

from idinvert.checkpoints.families.layout import Place, leading_one, smooth_filter
from idinvert.networks.generator import resolutions


def generator_places(architecture: dict[str, Any], *, noise: bool = True) -> list[Place]:
    """Lists every tensor of a generator but the mean code, which lies beside it.

    Args:
        architecture: Of a native `StyleGAN2Generator` with skip connections.
        noise: Whether the constant noise is among them.
    """
    places = []
    for i in range(architecture["mapping_depth"]):
        for part in ("weight", "bias"):  # style.0 is the pixel norm
            places.append(Place(f"mapping.layers.{i}.{part}", f"style.{i + 1}.{part}"))
    places.append(leading_one("synthesis.const", "input.input"))
    for b, _ in enumerate(resolutions(architecture["resolution"])):
        for i in [0] if b == 0 else [2 * b - 1, 2 * b]:
            places += _styled(i, "conv1" if i == 0 else f"convs.{i - 1}", noise=noise)
        places += _to_rgb(b, "to_rgb1" if b == 0 else f"to_rgbs.{b - 1}")
    return places


def generator_filters(architecture: dict[str, Any]) -> dict[str, Tensor]:
    """The filters that a generator's state dict repeats, by name."""
    found = {}
    for b in range(len(resolutions(architecture["resolution"])) - 1):
        found[f"convs.{2 * b}.conv.blur.kernel"] = smooth_filter(gain=4)
        found[f"to_rgbs.{b}.upsample.kernel"] = smooth_filter(gain=4)
    return found


def discriminator_places(architecture: dict[str, Any]) -> list[Place]:
    """Lists every tensor of a discriminator.

    Args:
        architecture: Of a native `StyleGAN2Discriminator` with residual connections.
    """
    places = [
        Place("from_rgb.weight", "convs.0.0.weight"),
        Place("from_rgb.bias", "convs.0.1.bias"),
    ]
    for i in range(len(resolutions(architecture["resolution"])) - 1):
        block, foreign = f"blocks.{i}", f"convs.{i + 1}"
        places += [
            Place(f"{block}.conv0.weight", f"{foreign}.conv1.0.weight"),
            Place(f"{block}.conv0.bias", f"{foreign}.conv1.1.bias"),
            Place(f"{block}.conv1.weight", f"{foreign}.conv2.1.weight"),
            Place(f"{block}.conv1.bias", f"{foreign}.conv2.2.bias"),
            Place(f"{block}.skip.weight", f"{foreign}.skip.1.weight"),
        ]
    return [
        *places,
        Place("conv.weight", "final_conv.0.weight"),
        Place("conv.bias", "final_conv.1.bias"),
        Place("fc.weight", "final_linear.0.weight"),
        Place("fc.bias", "final_linear.0.bias"),
        Place("out.weight", "final_linear.1.weight"),
        Place("out.bias", "final_linear.1.bias"),
    ]


def discriminator_filters(architecture: dict[str, Any]) -> dict[str, Tensor]:
    """The filters that a discriminator's state dict repeats, by name."""
    blocks = range(1, len(resolutions(architecture["resolution"])))
    parts = ("conv2", "skip")
    return {f"convs.{i}.{part}.0.kernel": smooth_filter() for i in blocks for part in parts}


def _styled(i: int, foreign: str, *, noise: bool) -> list[Place]:
    """Modulated convolution i."""
    conv = f"synthesis.convs.{i}"
    places = [
        *_modulated(conv, f"{foreign}.conv"),
        Place(f"{conv}.bias", f"{foreign}.activate.bias"),
        leading_one(f"{conv}.noise_strength", f"{foreign}.noise.weight"),
    ]
    if noise:
        places.append(Place(f"synthesis.noise_{i}", f"noises.noise_{i}"))
    return places


def _to_rgb(b: int, foreign: str) -> list[Place]:
    layer = f"synthesis.to_rgb.{b}"
    bias = Place(
        f"{layer}.bias",
        f"{foreign}.bias",
        lambda bias: bias[0, :, 0, 0],
        lambda bias: bias[None, :, None, None],
    )
    return [*_modulated(layer, f"{foreign}.conv"), bias]


def _modulated(native: str, foreign: str) -> list[Place]:
    return [
        leading_one(f"{native}.weight", f"{foreign}.weight"),
        Place(f"{native}.affine.weight", f"{foreign}.modulation.weight"),
        Place(f"{native}.affine.bias", f"{foreign}.modulation.bias"),
    ]
