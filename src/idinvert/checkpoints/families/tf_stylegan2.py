"""NVlabs' StyleGAN2 for TensorFlow, stylegan2 and stylegan2-ada, read without TensorFlow.

Pickles of (G, D, Gs), or of one network. Configurations B to F of the paper: skip, residual and
plain connections, and networks with progressive growing, once grown. A clamped discriminator with
skip connections has its last FromRGB, at 4 px, unclamped here, as in NVlabs' PyTorch port.

Weights are [in, out] and [k, k, in, out]. Styles add 1 to their biases at run time. An upsampling
layer rotates its filters by 180° before TensorFlow's transposed convolution, which is the same as
torch's; every other convolution is a correlation, as in torch. Without skip connections the colours
of the last resolution are ``ToRGB_lod0`` in grown networks (configurations B to D).

Source: stylegan2 (training/networks_stylegan2.py), stylegan2-ada (training/networks.py).
"""

from typing import Any

from torch import Tensor

from idinvert.checkpoints.families import family, stylegan2, tf_stylegan
from idinvert.checkpoints.formats.archive import Archive, Stored
from idinvert.checkpoints.strict_loading import (
    Source,
    StrictStateDict,
    Table,
    half_turn,
    shifted,
    unsqueezed,
)
from idinvert.networks.stylegan2 import StyleGAN2Generator
from idinvert.networks.stylegan2_discriminator import StyleGAN2Discriminator

G, M = "G_synthesis/", "G_mapping/"
_MARKS = {f"{G}4x4/Conv/mod_weight", f"{G}4x4/Conv/mod_bias", f"{G}8x8/Conv1/mod_weight"}
_REQUIRED = {"nonlinearity": "lrelu", "resample_kernel": [1, 3, 3, 1], "num_channels": 3}
_REQUIRED_GENERATOR = _REQUIRED | {"mapping_nonlinearity": "lrelu", "normalize_latents": True}
_REQUIRED_DISCRIMINATOR = _REQUIRED | {
    "use_pagan": False,
    "use_spectral_norm": False,
    "adaptive_dropout": 0,
    "score_max": 1,
}
_OLD_LABELS = "takes labels as StyleGAN2 of 2019 does, which no native network does"


def generator_layout(*, grown: bool) -> stylegan2.Layout:
    """Returns the location of G's variables; a grown network has its colours in ``ToRGB_lod0``."""

    def layout(layer: stylegan2.Layer) -> Table:
        i, scope = layer.index, f"{G}{layer.side}x{layer.side}"
        match layer.kind:
            case "dense":
                return _dense(f"{M}Dense{i}")
            case "embed":
                return _dense(f"{M}LabelEmbed")
            case "const":
                return {"": unsqueezed(f"{G}4x4/Const/const", before=1)}
            case "rgb":
                return _modulated(f"{G}ToRGB_lod0" if grown else f"{scope}/ToRGB")
            case "shortcut":
                return {"weight": tf_stylegan.conv(f"{scope}/Skip/weight")}
        name = f"{scope}/Conv" if i == 0 else f"{scope}/{'Conv0_up' if i % 2 else 'Conv1'}"
        found = _modulated(name)
        found["noise_strength"] = Source(f"{name}/noise_strength")
        found["noise"] = Source(f"{G}noise{i}")
        if i % 2:
            plain = tf_stylegan.conv(f"{name}/weight")
            found["weight"] = Source(
                plain.key,
                lambda filters: half_turn(plain.read(filters)),
                lambda filters: plain.write(half_turn(filters)),
            )
        return found

    return layout


def discriminator_layout(*, grown: bool) -> stylegan2.Layout:
    """Returns the location of D's variables; a grown network starts with ``FromRGB_lod0``."""

    def layout(layer: stylegan2.Layer) -> Table:
        scope = f"{layer.side}x{layer.side}"
        match layer.kind:
            case "from_rgb":
                return _conv("FromRGB_lod0" if grown else f"{scope}/FromRGB")
            case "shortcut":
                return {"weight": tf_stylegan.conv(f"{scope}/Skip/weight")}
            case "fc":
                return _dense("4x4/Dense0")
            case "out":
                return _dense("Output")
            case "embed":
                return _dense("LabelEmbed")
            case "dense":
                return _dense(f"Mapping{layer.index}")
        name = {"conv0": "Conv0", "conv1": "Conv1_down", "conv": "Conv"}[layer.kind]
        return _conv(f"{scope}/{name}")

    return layout


def _dense(name: str) -> Table:
    return {"weight": tf_stylegan.dense(f"{name}/weight"), "bias": Source(f"{name}/bias")}


def _conv(name: str) -> Table:
    return {"weight": tf_stylegan.conv(f"{name}/weight"), "bias": Source(f"{name}/bias")}


def _modulated(name: str) -> Table:
    return {
        **_conv(name),
        "affine.weight": tf_stylegan.dense(f"{name}/mod_weight"),
        "affine.bias": shifted(f"{name}/mod_bias", 1),
    }


def recognise(archive: Archive) -> bool:
    """Returns whether it contains a StyleGAN2 generator, or its discriminator alone."""
    held = _members(archive.content)
    generators = [held[name] for name in ("G", "Gs") if name in held]
    if generators:
        return all(not _MARKS.isdisjoint(tf_stylegan.variables(network)) for network in generators)
    # StyleGAN's discriminator has neither scope, nor has the grown one of configurations B to D.
    return bool(held) and {"Skip", "FromRGB"} & _scopes(held["D"]) != set()


def _generator(part: family.Part) -> tuple[StyleGAN2Generator, Tensor, dict[str, Any]]:
    """Reads G or Gs and its mean code."""
    state, made = part.state, tf_stylegan.settings(part.stored)
    if f"{M}LabelConcat/weight" in state:
        state.fail(_OLD_LABELS)
    family.require_settings(state, made, _REQUIRED_GENERATOR)
    grown = state.holds(_modulated(f"{G}ToRGB_lod0"))
    _take_lod(state, grown=grown, colours=f"{G}ToRGB_lod")
    generator = stylegan2.read_generator(
        state,
        generator_layout(grown=grown),
        w_avg="dlatent_avg",
        optional=stylegan2.NOISE,
        connections="orig" if grown else None,
        conv_clamp=family.positive_setting(state, made, "conv_clamp", None),
        mapping_lr_mul=family.positive_setting(state, made, "mapping_lrmul", 0.01),
    )
    return generator, generator.w_avg[0].clone(), {}


def _discriminator(part: family.Part) -> StyleGAN2Discriminator:
    default = None if part.stored.state.get("build_func_name") == "D_main" else 4
    state, made = part.state, {"mbstd_group_size": default} | tf_stylegan.settings(part.stored)
    family.require_settings(state, made, _REQUIRED_DISCRIMINATOR)
    if made.get("label_size") and not state.holds(_dense("LabelEmbed")):
        state.fail(_OLD_LABELS)
    grown = state.holds(_conv("FromRGB_lod0"))
    _take_lod(state, grown=grown, colours="FromRGB_lod")
    group: int | None = 1  # of the minibatch deviation; 0 or 1 disabled it in 2019
    if made["mbstd_group_size"] not in (0, 1):
        group = family.group_setting(state, made, "mbstd_group_size", None)
    return stylegan2.read_discriminator(
        state,
        discriminator_layout(grown=grown),
        connections="orig" if grown else None,
        mbstd_group=group,
        conv_clamp=family.positive_setting(state, made, "conv_clamp", None),
        cmap_lr_mul=family.positive_setting(state, made, "mapping_lrmul", 0.1),
    )


def _members(content: Any) -> dict[str, Stored]:
    """Returns networks by the names to which NVlabs' code unpacks them; {} for other content."""
    found = tf_stylegan.networks(content)
    if len(found) == 1:
        return {"D" if "Output/weight" in tf_stylegan.variables(found[0]) else "Gs": found[0]}
    if len(found) != 3:
        return {}
    g, d, gs = found
    return {"Gs": gs, "G": g, "D": d}


def _scopes(network: Stored) -> set[str]:
    """Returns the last scopes of its variables: ``"Skip"`` for ``"8x8/Skip/weight"``."""
    return {name.split("/")[-2] for name in tf_stylegan.variables(network) if name.count("/") > 1}


def _take_lod(state: StrictStateDict, *, grown: bool, colours: str) -> None:
    """Drops variables that were only needed during growing, once it is finished."""
    for name in ("lod", f"{G}lod"):
        if name not in state:
            continue
        lod = state.take(name, shape=())
        if grown and not lod.is_meta and float(lod) != 0:
            state.fail(f"is still growing ({name}={float(lod):.3g}), expected a grown network")
    for level in range(1, stylegan2.LARGEST.bit_length() - 2 if grown else 0):
        parts = ("weight", "bias", "mod_weight", "mod_bias")
        state.drop(f"{colours}{level}/{part}" for part in parts)


FAMILY = family.Family(
    "tf-stylegan2",
    recognise,
    family.pair_reader(
        "tf-stylegan2",
        tf_stylegan.NETWORKS,
        members=_members,
        generator=_generator,
        discriminator=_discriminator,
        tensors=tf_stylegan.variables,
    ),
    f"{family.NVIDIA} (NVlabs/stylegan2)",
)
