"""StyleGAN and StyleGAN2 as saved by genforce and its successor Hammer (``.pth``).

A dict of state dicts, ``generator_smooth``, ``generator`` and ``discriminator``, nested under
``models`` in training checkpoints. Both number the layers; Hammer uses other names for noise,
filters, the mean code and D's last layer. For StyleGAN2, genforce adds 1 to the styles' biases at
run time and rotates the filters of upsampling layers by 180°, as TensorFlow does; Hammer stores
both as the native network does. Hammer's training checkpoints contain the constructor arguments,
``model_kwargs_init``; those that are not implied by the tensors are applied or refused.

Source: genforce, sefa and Hammer (models/stylegan_*.py, models/stylegan2_*.py).
"""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from idinvert.checkpoints.families import family, stylegan, stylegan2
from idinvert.checkpoints.formats.archive import Archive
from idinvert.checkpoints.strict_loading import (
    Constant,
    Source,
    StrictStateDict,
    Table,
    affine,
    half_turn,
    shifted,
    text_keys,
    unsqueezed,
)
from idinvert.networks.stylegan import FUSED_FROM, StyleGANGenerator
from idinvert.networks.stylegan2 import StyleGAN2Generator
from idinvert.networks.stylegan2_discriminator import StyleGAN2Discriminator
from idinvert.networks.stylegan_discriminator import StyleGANDiscriminator

NETWORKS = ("generator_smooth", "generator", "discriminator")
_MARKS = {"synthesis.early_layer.const", "synthesis.layer1.noise_strength"}  # of StyleGAN2
_REQUIRED: dict[str, Any] = {
    "use_wscale": True,
    "wscale_gain": math.sqrt(2),
    "lr_mul": 1.0,
    "image_channels": 3,
    "filter_kernel": [1, 2, 1],
    "eps": 1e-8,
    "init_res": 4,
    "label_dim": 0,
}
_REQUIRED_GENERATOR = _REQUIRED | {
    "normalize_z": True,
    "mapping_use_wscale": True,
    "mapping_wscale_gain": math.sqrt(2),
    "mapping_lr_mul": 0.01,
    "noise_type": "spatial",
}
_REQUIRED_DISCRIMINATOR_2: dict[str, Any] = {
    "use_wscale": True,
    "wscale_gain": 1.0,
    "lr_mul": 1.0,
    "embedding_bias": True,
    "embedding_use_wscale": True,
    "embedding_lr_mul": 1.0,
    "normalize_embedding": True,
    "mapping_use_wscale": True,
}
_REQUIRED_GENERATOR_2 = _REQUIRED_DISCRIMINATOR_2 | {
    "normalize_z": True,
    "mapping_wscale_gain": 1.0,
    "embedding_wscale_gian": 1.0,
    "normalize_embedding_latent": False,
    "final_tanh": False,
    "const_input": True,
    "demodulate": True,
    "noise_type": "spatial",
}


def recognise_stylegan(archive: Archive) -> bool:
    """Returns whether it contains a StyleGAN generator or discriminator of this layout."""
    return any(_is_stylegan(state) for state in _networks(archive.content).values())


def recognise_stylegan2(archive: Archive) -> bool:
    """Returns whether it contains a StyleGAN2 generator of this layout, or its residual D only."""
    held = _networks(archive.content)
    if any(_is_stylegan2(held[name]) for name in NETWORKS[:2] if name in held):
        return True
    judge = held.get(NETWORKS[2], {})
    return list(held) == [NETWORKS[2]] and _is_d(judge) and "lod" not in judge


def _generator(part: family.Part) -> tuple[StyleGANGenerator, Tensor | None, dict[str, Any]]:
    """Reads StyleGAN's G and its mean code.

    If neither the file nor the user says whether upsampling layers are fused and whether tanh
    bounds images, the defaults are assumed: fused from 128 px on, and no tanh.
    """
    state, built = part.state, _built(part)
    family.require_settings(state, built, _REQUIRED_GENERATOR)
    if "mapping.label_weight" in state or "mapping.embedding" in state:
        stylegan.refuse_labels(state)
    tanh = part.setting("final_tanh", built, False)
    if not isinstance(tanh, bool):
        state.fail(f"was built with final_tanh={tanh!r:.60}, expected a bool")
    hammer = "w_avg" in state

    def layout(layer: stylegan2.Layer) -> Table:
        if layer.kind != "conv":
            place = "mapping.dense" if layer.kind == "dense" else "synthesis.output"
            return affine(f"{place}{layer.index}")
        name = f"synthesis.layer{layer.index}"
        strength = unsqueezed(f"{name}.noise_strength", before=1, after=2)
        found: Table = {
            "weight": Source(f"{name}.weight"),
            "bias": Source(f"{name}.bias"),
            "noise": Source(f"{name}.noise" if hammer else f"{name}.apply_noise.noise"),
            "noise_weight": strength if hammer else Source(f"{name}.apply_noise.weight"),
            **{f"affine.{part}": source for part, source in affine(f"{name}.style").items()},
        }
        if layer.index == 0:
            found["weight"] = unsqueezed(f"{name}.const", before=1)
        elif layer.index % 2 == 0:
            found["filter"] = _blur(state, name, bias=f"{name}.bias", hammer=hammer)
        return found

    generator, latent_avg = stylegan.read_generator(
        state,
        layout,
        num_layers=state.extent("synthesis.layer"),
        depth=state.extent("mapping.dense"),
        w_avg="w_avg" if hammer else "truncation.w_avg",
        lod="synthesis.lod",
        final_tanh=tanh,
        fused_from=stylegan.fused_from(
            state,
            part.setting("fused_scale", built, "auto"),
            auto=built.get("fused_scale_res", FUSED_FROM),
        ),
    )
    return generator, latent_avg, {}


def _discriminator(part: family.Part) -> StyleGANDiscriminator:
    state, built = part.state, _built(part)
    family.require_settings(state, built, _REQUIRED)
    hammer = "output.weight" in state

    def layout(layer: stylegan2.Layer) -> Table:
        name = _discriminator_name(layer, hammer=hammer)
        if layer.kind != "conv1":
            return affine(name)
        bias = f"layer{2 * layer.index}.bias"
        return affine(name) | {"filter": _blur(state, name, bias=bias, hammer=hammer)}

    return stylegan.read_discriminator(
        state,
        layout,
        blocks=state.extent("input") - 1,
        lod="lod",
        mbstd_group=built.get("mbstd_groups", 4),
    )


def _generator_2(part: family.Part) -> tuple[StyleGAN2Generator, Tensor, dict[str, Any]]:
    """Reads StyleGAN2's G and its mean code; the facts contain the dialect."""
    state, built = part.state, _built(part)
    if "mapping.label_weight" in state:
        state.fail("takes labels as StyleGAN2 of 2019 does, which no native network does")
    family.require_settings(state, built, _REQUIRED_GENERATOR_2)
    hammer = _is_hammer(
        state,
        ("w_avg", "synthesis.layer1.filter", "synthesis.filter"),
        ("truncation.w_avg", "synthesis.layer1.filter.kernel", "synthesis.upsample.kernel"),
    )
    generator = stylegan2.read_generator(
        state,
        generator_layout(hammer=hammer),
        w_avg="w_avg" if hammer else "truncation.w_avg",
        conv_clamp=family.positive_setting(state, built, "conv_clamp", None),
        mapping_lr_mul=family.positive_setting(state, built, "mapping_lr_mul", 0.01),
    )
    latent_avg = generator.w_avg if generator.multi_w else generator.w_avg[0]
    return generator, latent_avg.clone(), {"dialect": "hammer" if hammer else "genforce"}


def _discriminator_2(part: family.Part) -> StyleGAN2Discriminator:
    state, built = part.state, _built(part)
    family.require_settings(state, built, _REQUIRED_DISCRIMINATOR_2)
    count = 0
    while state.holds(affine(f"layer{count}")):
        count += 1
    blocks = max(count - 2, 0) // 2  # two layers per resolution; genforce has one more at the end
    hammer = _is_hammer(
        state,
        ("output.weight", "output.bias", "layer1.filter", "filter"),
        ("layer1.filter.kernel", "downsample.kernel", f"layer{2 * blocks + 2}.bias"),
    )
    if built.get("label_dim") and not state.holds(affine("embedding")):
        state.fail("takes labels without an embedding, which no native network does")
    return stylegan2.read_discriminator(
        state,
        discriminator_layout(hammer=hammer),
        blocks=blocks,
        mbstd_group=family.group_setting(state, built, "mbstd_groups"),
        conv_clamp=family.positive_setting(state, built, "conv_clamp", None),
        cmap_lr_mul=family.positive_setting(state, built, "mapping_lr_mul", 0.1),
    )


def generator_layout(*, hammer: bool) -> stylegan2.Layout:
    """Returns the location of the tensors of StyleGAN2's G."""

    def layout(layer: stylegan2.Layer) -> Table:
        i = layer.index
        match layer.kind:
            case "dense":
                return affine(f"mapping.dense{i}")
            case "embed":
                return affine("mapping.embedding")
            case "const":
                return {"": unsqueezed("synthesis.early_layer.const", before=1)}
            case "shortcut":
                name = f"synthesis.residual{i}"
                own = _filter(f"{name}.filter", hammer=True) if hammer else {}
                return {"weight": Source(f"{name}.weight"), **own}
            case "rgb":
                name = f"synthesis.output{i}"
                key = "synthesis.filter" if hammer else "synthesis.upsample"
                shared = _filter(key, hammer=hammer, gain=4) if i == 0 else {}  # only with skip
                return affine(name) | _style(name, hammer=hammer) | shared
        name = f"synthesis.layer{i}"
        found = affine(name) | _style(name, hammer=hammer)
        found["noise_strength"] = Source(f"{name}.noise_strength")
        found["noise"] = Source(f"{name}.noise")
        if i % 2 == 1:
            found |= _filter(f"{name}.filter", hammer=hammer, gain=4)
            if not hammer:
                found["weight"] = Source(f"{name}.weight", half_turn, half_turn)
        return found

    return layout


def discriminator_layout(*, hammer: bool) -> stylegan2.Layout:
    """Returns the location of the tensors of StyleGAN2's D."""

    def layout(layer: stylegan2.Layer) -> Table:
        name = _discriminator_name(layer, hammer=hammer)
        if layer.kind == "shortcut":
            return {"weight": Source(f"{name}.weight"), **_filter(f"{name}.filter", hammer=hammer)}
        if layer.kind == "conv1":
            return affine(name) | _filter(f"{name}.filter", hammer=hammer)
        if layer.kind == "from_rgb" and layer.index == 1:  # only with skip connections
            return affine(name) | _filter("filter" if hammer else "downsample", hammer=hammer)
        return affine(name)

    return layout


def _discriminator_name(layer: stylegan2.Layer, *, hammer: bool) -> str:
    i = layer.index
    return {
        "from_rgb": f"input{i}",
        "conv0": f"layer{2 * i}",
        "conv1": f"layer{2 * i + 1}",
        "shortcut": f"residual{i}" if hammer else f"skip_layer{i}",
        "conv": f"layer{2 * i}",
        "fc": f"layer{2 * i + 1}",
        "out": "output" if hammer else f"layer{2 * i + 2}",
        "embed": "embedding",
        "dense": f"mapping{i}",
    }[layer.kind]


def _style(name: str, *, hammer: bool) -> Table:
    bias = f"{name}.style.bias"
    return {
        "affine.weight": Source(f"{name}.style.weight"),
        "affine.bias": Source(bias) if hammer else shifted(bias, 1),
    }


def _filter(key: str, *, hammer: bool, gain: float = 1.0) -> Table:
    """Returns StyleGAN2's filter; Hammer applies the gain at run time."""
    if hammer:
        return {"filter": Constant(key, stylegan2.smooth_filter())}
    return {"filter": Constant(f"{key}.kernel", stylegan2.smooth_filter(gain=gain)[None, None])}


def _blur(state: StrictStateDict, layer: str, *, bias: str, hammer: bool) -> Constant:
    """Returns StyleGAN's filter in a layer: one per channel in genforce, a single one in Hammer."""
    if hammer:
        return stylegan.blur(f"{layer}.filter")
    return stylegan.blur(f"{layer}.blur.kernel", channels=state.shape(bias, ndim=1)[0])


def _is_hammer(state: StrictStateDict, own: Sequence[str], genforce: Sequence[str]) -> bool:
    """Returns whether Hammer wrote it: it has more of Hammer's own names than of genforce's."""
    return sum(name in state for name in own) > sum(name in state for name in genforce)


def _built(part: family.Part) -> dict[str, Any]:
    """Returns the constructor arguments of a network, if the file contains them."""
    return text_keys(text_keys(text_keys(part.content).get("model_kwargs_init")).get(part.name))


def _is_stylegan(state: dict[str, Any]) -> bool:
    if "synthesis.layer0.const" in state:  # also in the authors' port, which differs otherwise
        return any(name.endswith(".style.weight") for name in state)
    return _is_d(state) and "lod" in state


def _is_stylegan2(state: dict[str, Any]) -> bool:
    """Returns whether it is StyleGAN2's. Hammer's StyleGAN shares a mark but has `layer0.const`."""
    return not _MARKS.isdisjoint(state) and "synthesis.layer0.const" not in state


def _is_d(state: dict[str, Any]) -> bool:
    """Returns whether it is a discriminator; StyleGAN's has a level of detail, StyleGAN2's not."""
    return {"input0.weight", "layer1.weight"} <= state.keys()


def _networks(content: Any) -> dict[str, dict[str, Any]]:
    """Returns state dicts by name: nested under ``models``, at the top, or a single one."""
    top = text_keys(content)
    top = text_keys(top.get("models")) or top
    for i, marks in ((1, lambda s: "synthesis.layer0.const" in s or _is_stylegan2(s)), (2, _is_d)):
        if (alone := family.unwrapped(top, marks)) is not None:
            return {NETWORKS[i]: alone}
    held = {name: text_keys(top.get(name)) for name in NETWORKS}
    return {name: family.unwrapped(state, bool) or {} for name, state in held.items() if state}


STYLEGAN = family.Family(
    "genforce-stylegan",
    recognise_stylegan,
    family.pair_reader(
        "genforce-stylegan",
        NETWORKS,
        members=_networks,
        generator=_generator,
        discriminator=_discriminator,
    ),
    "MIT (genforce/genforce)",
    settings=("fused_scale", "final_tanh"),
)
STYLEGAN2 = family.Family(
    "genforce-stylegan2",
    recognise_stylegan2,
    family.pair_reader(
        "genforce",
        NETWORKS,
        members=_networks,
        generator=_generator_2,
        discriminator=_discriminator_2,
    ),
    "MIT (genforce/genforce)",
)
