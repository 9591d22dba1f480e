"""rosinality's stylegan2-pytorch: ``.pt`` files of training and of converted networks.

A dict of state dicts, ``g_ema``, ``g`` and ``d``, beside optimisers and arguments; converted files
contain the mean code as ``latent_avg``. Size, widths and depth are inferred from the shapes.

Convolutions have a leading dimension of 1, biases of ToRGB have the shape of an image, and every
resampling layer has a copy of its filter, times 4 for upsampling. A modulated convolution's filters
are divided by the root of their fan-in before they are normalised, unlike in NVlabs' code: the 1e-8
under the root thus weighs more by a factor of the fan-in, which no float32 image shows.

Source: stylegan2-pytorch (model.py: Generator, Discriminator).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from idinvert.checkpoints.families import stylegan2
from idinvert.checkpoints.families.family import NVIDIA, Family, Part, pair_reader, unwrapped
from idinvert.checkpoints.formats.archive import Archive
from idinvert.checkpoints.strict_loading import (
    Constant,
    Source,
    StrictStateDict,
    Table,
    affine,
    text_keys,
    unsqueezed,
)
from idinvert.networks.stylegan2 import StyleGAN2Generator
from idinvert.networks.stylegan2_discriminator import StyleGAN2Discriminator

NETWORKS = ("g_ema", "g", "d")
_MARKS = {
    "input.input",
    "conv1.conv.modulation.weight",
    "convs.0.0.weight",
    "final_linear.1.weight",
}


def generator_layout(layer: stylegan2.Layer) -> Table:
    """Returns the location of the tensors of a layer of G, without the mean code."""
    i = layer.index
    match layer.kind:
        case "dense":  # style.0 is the pixel norm
            return affine(f"style.{i + 1}")
        case "const":
            return {"": unsqueezed("input.input", before=1)}
        case "conv":  # two of convs per resolution, from 8 px on
            name = f"convs.{i - 1}" if i else "conv1"
            blur = Constant(f"{name}.conv.blur.kernel", stylegan2.smooth_filter(gain=4))
            return {
                **_modulated(name),
                "bias": Source(f"{name}.activate.bias"),
                "noise_strength": unsqueezed(f"{name}.noise.weight", before=1),
                "noise": Source(f"noises.noise_{i}"),
                **({"filter": blur} if i % 2 == 1 else {}),
            }
        case "rgb":
            name = f"to_rgbs.{i - 1}" if i else "to_rgb1"
            upsample = Constant(f"{name}.upsample.kernel", stylegan2.smooth_filter(gain=4))
            return {
                **_modulated(name),
                "bias": unsqueezed(f"{name}.bias", before=1, after=2),
                **({"filter": upsample} if i else {}),
            }
    return {}


def discriminator_layout(layer: stylegan2.Layer) -> Table:
    """Returns the location of the tensors of a layer of D."""
    block = f"convs.{layer.index + 1}"
    match layer.kind:
        case "from_rgb":
            return _pair("convs.0.0", "convs.0.1")
        case "conv0":
            return _pair(f"{block}.conv1.0", f"{block}.conv1.1")
        case "conv1":
            blur = Constant(f"{block}.conv2.0.kernel", stylegan2.smooth_filter())
            return _pair(f"{block}.conv2.1", f"{block}.conv2.2") | {"filter": blur}
        case "shortcut":
            blur = Constant(f"{block}.skip.0.kernel", stylegan2.smooth_filter())
            return {"weight": Source(f"{block}.skip.1.weight"), "filter": blur}
        case "conv":
            return _pair("final_conv.0", "final_conv.1")
        case "fc":
            return affine("final_linear.0")
        case "out":
            return affine("final_linear.1")
    return {}


def _modulated(name: str) -> Table:
    return {
        "weight": unsqueezed(f"{name}.conv.weight", before=1),
        "affine.weight": Source(f"{name}.conv.modulation.weight"),
        "affine.bias": Source(f"{name}.conv.modulation.bias"),
    }


def _pair(weight: str, bias: str) -> Table:
    return {"weight": Source(f"{weight}.weight"), "bias": Source(f"{bias}.bias")}


def recognise(archive: Archive) -> bool:
    """Returns whether the file is a rosinality state dict, or contains them by name."""
    return any(not _MARKS.isdisjoint(state) for state in _members(archive.content).values())


def _members(content: Any) -> dict[str, Any]:
    """Returns state dicts by name; a single one is ``g_ema`` or ``d``."""
    alone = unwrapped(content, lambda state: not _MARKS.isdisjoint(state))
    if alone is not None:
        return {"d" if "final_linear.1.weight" in alone else "g_ema": alone}
    held = text_keys(content)
    return {
        name: unwrapped(held[name], bool) or {}
        for name in NETWORKS
        if isinstance(held.get(name), dict)
    }


def _generator(part: Part) -> tuple[StyleGAN2Generator, Tensor | None, dict[str, Any]]:
    generator, facts = read_generator(
        part.state, mapping_lr_mul=part.setting("mapping_lr_mul", {}, 0.01)
    )
    what, key = part.state.what, part.state.key
    return generator, read_latent_avg(part.content, generator=generator, what=what, key=key), facts


def _discriminator(part: Part) -> StyleGAN2Discriminator:
    return stylegan2.read_discriminator(
        part.state, discriminator_layout, connections="resnet", mbstd_group=4
    )


FAMILY = Family(
    "rosinality",
    recognise,
    pair_reader(
        "rosinality",
        NETWORKS,
        members=_members,
        generator=_generator,
        discriminator=_discriminator,
    ),
    f"MIT, its CUDA code {NVIDIA} (rosinality/stylegan2-pytorch)",
    settings=("mapping_lr_mul",),
)


def read_generator(
    state: StrictStateDict, **settings: Any
) -> tuple[StyleGAN2Generator, dict[str, Any]]:
    """Reads a generator, without its mean code.

    Args:
        state: A state dict of rosinality's ``Generator``.
        settings: Arguments of `StyleGAN2Generator` that cannot be inferred from tensors.

    Returns:
        The generator, and information for users.

    Raises:
        CheckpointError: The tensors do not match.
    """
    noise = any(name.startswith("noises.") for name in state.names())
    generator = stylegan2.read_generator(
        state,
        generator_layout,
        w_avg=None,
        optional=stylegan2.NOISE_MAPS,
        connections="skip",
        **settings,
    )
    facts: dict[str, Any] = {"constant_noise": noise}
    if len(multipliers := channel_multipliers(generator.architecture["channels"])) == 1:
        facts["channel_multiplier"] = multipliers[0]
    return generator, facts


def read_latent_avg(
    content: Mapping[Any, Any], *, generator: StyleGAN2Generator, what: str, key: str
) -> Tensor | None:
    """Reads the mean code stored beside a generator, and sets it in the generator.

    Args:
        content: The file's dict; ``latent_avg`` is [w_dim], [1, w_dim] or [L, w_dim].
        generator: Its generator; changed in place.
        what: The file, for messages.
        key: The config key that named it, for messages.

    Returns:
        The mean code [w_dim] or [L, w_dim], or None if there is none.

    Raises:
        CheckpointError: It has another shape.
    """
    found = text_keys(content).get("latent_avg")
    if found is None:
        return None
    layers, w_dim = generator.num_layers, generator.w_dim
    state = StrictStateDict({"latent_avg": found}, what=what, key=key)
    shapes = [(w_dim,), (1, w_dim), (layers, w_dim)]
    shape = next((s for s in shapes if s == tuple(getattr(found, "shape", ()))), (layers, w_dim))
    latent_avg = state.take("latent_avg", shape=shape)
    state.finish()
    latent_avg = latent_avg[0] if shape == (1, w_dim) else latent_avg
    generator.w_avg.copy_(latent_avg.expand(layers, w_dim))
    return latent_avg


def channel_multipliers(own: Sequence[int]) -> list[int]:
    """Returns the values of rosinality's ``channel_multiplier`` for these widths at 4, 8, … px."""
    sides = [4 << i for i in range(len(own))]
    return [m for m in (1, 2) if list(own) == [512 if s <= 32 else 16384 * m // s for s in sides]]
