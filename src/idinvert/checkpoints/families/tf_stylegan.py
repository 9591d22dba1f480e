"""NVlabs' StyleGAN for TensorFlow: pickles of (G, D, Gs), read without TensorFlow.

A stored network of NVlabs' ``dnnlib`` is data here: its constructor arguments and its variables.
Weights are [in, out] and [k, k, in, out].
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from idinvert.checkpoints.families import family, stylegan
from idinvert.checkpoints.families.stylegan2 import LARGEST, Layer
from idinvert.checkpoints.formats.archive import Archive, Stored
from idinvert.checkpoints.strict_loading import (
    Source,
    StrictStateDict,
    Table,
    permuted,
    text_keys,
    unsqueezed,
)
from idinvert.networks.stylegan import StyleGANGenerator
from idinvert.networks.stylegan_discriminator import StyleGANDiscriminator

NETWORKS = ("Gs", "G", "D")
_STORED = ("G", "D", "Gs")  # their order in a pickle
_COMPONENTS = ("mapping", "synthesis")
_MARK = "G_synthesis/4x4/Const/StyleMod/weight"
_REQUIRED = {
    "nonlinearity": "lrelu",
    "use_wscale": True,
    "blur_filter": [1, 2, 1],
    "num_channels": 3,
}
_REQUIRED_GENERATOR = _REQUIRED | {
    "use_styles": True,
    "const_input_layer": True,
    "use_noise": True,
    "use_pixel_norm": False,
    "use_instance_norm": True,
    "mapping_nonlinearity": "lrelu",
    "mapping_lrmul": 0.01,
    "normalize_latents": True,
}


def conv(key: str) -> Source:
    """Describes the weight of a convolution: [k, k, in, out] in TensorFlow."""
    return permuted(key, 3, 2, 0, 1)


def dense(key: str) -> Source:
    """Describes the weight of a dense layer: [in, out] in TensorFlow."""
    return permuted(key, 1, 0)


def networks(content: Any) -> list[Stored]:
    """Returns the networks of a tuple of networks, or a single one; [] for other content."""
    members = list(content) if isinstance(content, list | tuple) else [content]
    return members if members and all(_is_network(member) for member in members) else []


def variables(network: Stored) -> dict[str, Any]:
    """Returns name to array of the network's own variables and, with a prefix, its components'.

    The variables of the mapping network have the prefix ``G_mapping/`` and those of the synthesis
    network ``G_synthesis/``, as in TensorFlow.
    """
    found = _own_variables(network)
    for name, component in _components(network):
        found |= {f"G_{name}/{key}": value for key, value in _own_variables(component).items()}
    return found


def settings(network: Stored) -> dict[str, Any]:
    """Returns the network's constructor arguments, including those of its components."""
    made = dict(text_keys(network.state.get("static_kwargs")))
    for _, component in _components(network):
        made |= text_keys(component.state.get("static_kwargs"))
    return made


def recognise(archive: Archive) -> bool:
    """Returns whether it contains StyleGAN networks with one w for all layers (else `idinvert`)."""
    held = members(archive.content)
    return list(held) == ["D"] or any(
        is_generator(held[name]) and not is_multi_w(held[name]) for name in held
    )


def members(content: Any) -> dict[str, Stored]:
    """Returns networks by the names to which NVlabs' code unpacks them; {} for other content."""
    found = networks(content)
    if len(found) == 1:
        # PGGAN's D has the same variables, but is built by another function.
        judge = found[0].state.get("build_func_name") == "D_basic"
        return {"D" if judge else "Gs": found[0]} if judge or is_generator(found[0]) else {}
    return dict(zip(_STORED, found, strict=True)) if len(found) == 3 else {}


def is_generator(network: Stored) -> bool:
    """Returns whether a TensorFlow network is StyleGAN's generator."""
    return _MARK in variables(network)


def is_multi_w(network: Stored) -> bool:
    """Returns whether the mapping's last layer is wider than w."""
    found = variables(network)
    depth = sum(name.startswith("G_mapping/Dense") and name.endswith("/bias") for name in found)
    last: tuple[int, ...] = getattr(found.get(f"G_mapping/Dense{depth - 1}/bias"), "shape", ())
    w_dim: tuple[int, ...] = getattr(found.get(_MARK), "shape", ())
    return len(last) == 1 and len(w_dim) == 2 and last[0] != w_dim[0]


def _generator(part: family.Part) -> tuple[StyleGANGenerator, Tensor | None, dict[str, Any]]:
    """Reads G or Gs, and its mean code; see `stylegan.read_generator`."""
    state, made = part.state, settings(part.stored)
    if "G_mapping/LabelConcat/weight" in state or _takes_labels(made):
        stylegan.refuse_labels(state)
    family.require_settings(state, made, _REQUIRED_GENERATOR)
    num_layers = 2 * _largest_side(state, "G_synthesis/").bit_length() - 4
    top = num_layers // 2 - 1

    def layout(layer: Layer) -> Table:
        i, side = layer.index, layer.side
        if layer.kind == "dense":
            name = f"G_mapping/Dense{i}"
            return {"weight": dense(f"{name}/weight"), "bias": Source(f"{name}/bias")}
        if layer.kind == "rgb":
            name = f"G_synthesis/ToRGB_lod{top - i}"
            return {"weight": conv(f"{name}/weight"), "bias": Source(f"{name}/bias")}
        kind = ("Const", "Conv")[i] if i < 2 else ("Conv0_up", "Conv1")[i % 2]
        name = f"G_synthesis/{side}x{side}/{kind}"
        return {
            "weight": conv(f"{name}/weight") if i else unsqueezed(f"{name}/const", before=1),
            "bias": Source(f"{name}/bias"),
            "noise": Source(f"G_synthesis/noise{i}"),
            "noise_weight": Source(f"{name}/Noise/weight"),
            "affine.weight": dense(f"{name}/StyleMod/weight"),
            "affine.bias": Source(f"{name}/StyleMod/bias"),
        }

    state.drop(["G_synthesis/lod"])  # G writes its own level of detail there at run time
    generator, latent_avg = stylegan.read_generator(
        state,
        layout,
        num_layers=num_layers,
        depth=state.extent("G_mapping/Dense", "/"),
        w_avg="dlatent_avg",
        lod="lod",
        fused_from=stylegan.fused_from(state, made.get("fused_scale", "auto")),
    )
    return generator, latent_avg, {}


def _discriminator(part: family.Part) -> StyleGANDiscriminator:
    """Reads D. Its fused layers are equivalent to the others, so ``fused_scale`` is irrelevant."""
    state, made = part.state, settings(part.stored)
    if _takes_labels(made):
        stylegan.refuse_labels(state)
    family.require_settings(state, made, _REQUIRED)

    def layout(layer: Layer) -> Table:
        name = {
            "from_rgb": f"FromRGB_lod{layer.index}",
            "conv0": f"{layer.side}x{layer.side}/Conv0",
            "conv1": f"{layer.side}x{layer.side}/Conv1_down",
            "conv": "4x4/Conv",
            "fc": "4x4/Dense0",
            "out": "4x4/Dense1",
        }[layer.kind]
        weight = dense if layer.kind in ("fc", "out") else conv
        return {"weight": weight(f"{name}/weight"), "bias": Source(f"{name}/bias")}

    return stylegan.read_discriminator(
        state,
        layout,
        blocks=_largest_side(state).bit_length() - 3,
        lod="lod",
        mbstd_group=made.get("mbstd_group_size", 4),
    )


def _is_network(value: Any) -> bool:
    state = value.state if isinstance(value, Stored) else None
    return isinstance(state, dict) and isinstance(state.get("variables"), list | tuple)


def _components(network: Stored) -> list[tuple[str, Stored]]:
    """Returns the networks within a network, by name."""
    held = text_keys(network.state.get("components"))
    return [(name, held[name]) for name in _COMPONENTS if _is_network(held.get(name))]


def _own_variables(network: Stored) -> dict[str, Any]:
    pairs = [
        pair
        for pair in network.state["variables"]
        if isinstance(pair, Sequence) and len(pair) == 2 and isinstance(pair[0], str)
    ]
    return {name: _array(value) for name, value in pairs}


def _array(value: Any) -> Any:
    """Converts numbers, which TensorFlow stores for scalars, to arrays."""
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return np.asarray(value, dtype=np.float32)
    return value


def _largest_side(state: StrictStateDict, prefix: str = "") -> int:
    """Returns the largest power of two s with variables ``{prefix}{s}x{s}/…``; or 0."""
    found = {
        name.removeprefix(prefix).partition("/")[0]
        for name in state.names()
        if name.startswith(prefix)
    }
    sides = [1 << i for i in range(2, 2 * LARGEST.bit_length())]
    return max((side for side in sides if f"{side}x{side}" in found), default=0)


def _takes_labels(made: Mapping[str, Any]) -> bool:
    """Returns whether a network was built for labels, or with an invalid number of labels."""
    size = family.plain_number(made.get("label_size"))
    return size is not None and not family.same_setting(size, 0)


def reader(title: str) -> family.Reader:
    """Returns the reader of G and D in (G, D, Gs); the title is the family's, for messages."""
    return family.pair_reader(
        title,
        NETWORKS,
        members=members,
        generator=_generator,
        discriminator=_discriminator,
        tensors=variables,
    )


FAMILY = family.Family(
    "tf-stylegan", recognise, reader("tf-stylegan"), "CC BY-NC 4.0 (NVlabs/stylegan)"
)
