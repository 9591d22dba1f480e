"""Where NVlabs' TensorFlow code keeps StyleGAN2's variables, and how their values differ.

Weights are [in, out] and [k, k, in, out]. Styles add 1 to their biases at run time. An upsampling
layer turns its filters by half a turn before TensorFlow's transposed convolution, which torch's
equals; every other convolution correlates, as torch's does. Without skip connections the last
resolution's colours are ``ToRGB_lod0`` in the networks that grew (configurations B to D).

Source: stylegan2 (training/networks_stylegan2.py), stylegan2-ada (training/networks.py).
"""

from typing import Any

from torch import Tensor

from idinvert.checkpoints.families.layout import (
    Place,
    first_layer,
    leading_one,
    mirrored,
    shifted,
    spread,
)
from idinvert.networks.generator import resolutions

G, M = "G_synthesis/", "G_mapping/"


def generator_places(
    architecture: dict[str, Any], *, noise: bool = True, grown: bool = False
) -> list[Place]:
    """Lists every variable of a generator.

    Args:
        architecture: Of a native `StyleGAN2Generator` with one w for all layers.
        noise: Whether the layers take noise.
        grown: Whether it was grown, so that its colours are ``ToRGB_lod0``.
    """
    sides = resolutions(architecture["resolution"])
    places = [Place("w_avg", "dlatent_avg", spread(2 * len(sides)), first_layer)]
    for i in range(architecture["mapping_depth"]):
        places += _dense(f"mapping.layers.{i}", f"{M}Dense{i}")
    if architecture["c_dim"] > 0:
        places += _dense("mapping.embed", f"{M}LabelEmbed")
    places.append(leading_one("synthesis.const", f"{G}4x4/Const/const"))
    for b, side in enumerate(sides):
        scope = f"{G}{side}x{side}"
        if b > 0:
            places += _styled(2 * b - 1, f"{scope}/Conv0_up", up=True, noise=noise)
        places += _styled(2 * b, f"{scope}/Conv1" if b else f"{scope}/Conv", noise=noise)
        if architecture["connections"] == "skip" or side == sides[-1]:
            rgb = f"synthesis.to_rgb.{b if architecture['connections'] == 'skip' else 0}"
            places += _modulated(rgb, f"{G}ToRGB_lod0" if grown else f"{scope}/ToRGB")
        if architecture["connections"] == "resnet" and b > 0:
            places.append(_conv(f"synthesis.shortcuts.{b - 1}", f"{scope}/Skip"))
    return places


def discriminator_places(architecture: dict[str, Any], *, grown: bool = False) -> list[Place]:
    """Lists every variable of a discriminator.

    Args:
        architecture: Of a native `StyleGAN2Discriminator`.
        grown: Whether it was grown, so that its first layer is ``FromRGB_lod0``.
    """
    sides = resolutions(architecture["resolution"])[:0:-1]  # R, …, 8
    top = f"{sides[0]}x{sides[0]}"
    places = _biased("from_rgb", "FromRGB_lod0" if grown else f"{top}/FromRGB")
    for i, side in enumerate(sides):
        if architecture["connections"] == "skip":
            places += _biased(f"from_rgbs.{i}", f"{side // 2}x{side // 2}/FromRGB")
        places += _biased(f"blocks.{i}.conv0", f"{side}x{side}/Conv0")
        places += _biased(f"blocks.{i}.conv1", f"{side}x{side}/Conv1_down")
        if architecture["connections"] == "resnet":
            places.append(_conv(f"blocks.{i}.skip", f"{side}x{side}/Skip"))
    places += _biased("conv", "4x4/Conv")
    places += _dense("fc", "4x4/Dense0")
    places += _dense("out", "Output")
    if architecture.get("c_dim", 0) > 0:
        places += _dense("cmap.embed", "LabelEmbed")
        for i in range(architecture["cmap_depth"]):
            places += _dense(f"cmap.layers.{i}", f"Mapping{i}")
    return places


def _dense(native: str, foreign: str) -> list[Place]:
    weight = Place(f"{native}.weight", f"{foreign}/weight", _turned, _turned)
    return [weight, Place(f"{native}.bias", f"{foreign}/bias")]


def _conv(native: str, foreign: str, *, up: bool = False) -> Place:
    if up:
        return Place(
            f"{native}.weight",
            f"{foreign}/weight",
            lambda filters: mirrored(_to_native(filters)),
            lambda filters: _to_foreign(mirrored(filters)),
        )
    return Place(f"{native}.weight", f"{foreign}/weight", _to_native, _to_foreign)


def _biased(native: str, foreign: str, *, up: bool = False) -> list[Place]:
    return [_conv(native, foreign, up=up), Place(f"{native}.bias", f"{foreign}/bias")]


def _modulated(native: str, foreign: str, *, up: bool = False) -> list[Place]:
    return [
        *_biased(native, foreign, up=up),
        Place(f"{native}.affine.weight", f"{foreign}/mod_weight", _turned, _turned),
        Place(f"{native}.affine.bias", f"{foreign}/mod_bias", shifted(1), shifted(-1)),
    ]


def _styled(i: int, foreign: str, *, up: bool = False, noise: bool) -> list[Place]:
    """Modulated convolution i."""
    places = _modulated(f"synthesis.convs.{i}", foreign, up=up)
    if noise:
        strength = f"synthesis.convs.{i}.noise_strength"
        places.append(Place(strength, f"{foreign}/noise_strength"))
        places.append(Place(f"synthesis.noise_{i}", f"{G}noise{i}"))
    return places


def _turned(weight: Tensor) -> Tensor:
    """[in, out] to [out, in], and back."""
    return weight.t()


def _to_native(filters: Tensor) -> Tensor:
    """[k, k, in, out] to [out, in, k, k]."""
    return filters.permute(3, 2, 0, 1)


def _to_foreign(filters: Tensor) -> Tensor:
    """[out, in, k, k] to [k, k, in, out]."""
    return filters.permute(2, 3, 1, 0)
