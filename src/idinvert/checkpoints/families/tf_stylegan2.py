"""NVlabs' StyleGAN2 for TensorFlow, stylegan2 and stylegan2-ada, read without TensorFlow.

Pickles of (G, D, Gs), or of one network. Configurations B to F of the paper: skip, residual and
plain connections, and the networks that grew, once grown. A bounded discriminator with skip
connections leaves its last FromRGB, at 4 px, unbounded here, as NVlabs' PyTorch port does.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from idinvert.checkpoints.families.consume import Consumer
from idinvert.checkpoints.families.layout import build
from idinvert.checkpoints.families.networks import Networks, choose_generator
from idinvert.checkpoints.families.stylegan2_shapes import (
    count,
    discriminator_architecture,
    generator_architecture,
    present,
    sides_present,
)
from idinvert.checkpoints.families.tf_networks import (
    networks,
    require_settings,
    settings,
    variables,
)
from idinvert.checkpoints.families.tf_stylegan2_layout import (
    G,
    M,
    discriminator_places,
    generator_places,
)
from idinvert.checkpoints.formats.archive import Archive, Stored
from idinvert.networks.stylegan2 import StyleGAN2Generator
from idinvert.networks.stylegan2_discriminator import StyleGAN2Discriminator

NAME = "tf-stylegan2"
_MARKS = {f"{G}4x4/Conv/mod_weight", f"{G}4x4/Conv/mod_bias", f"{G}8x8/Conv1/mod_weight"}
_LAYER = ("/weight", "/bias")
_STYLED = (*_LAYER, "/mod_weight", "/mod_bias")
_ONLY = {"nonlinearity": "lrelu", "resample_kernel": [1, 3, 3, 1], "num_channels": 3}
_ONLY_GENERATOR = _ONLY | {"mapping_nonlinearity": "lrelu", "normalize_latents": True}
_ONLY_DISCRIMINATOR = _ONLY | {
    "use_pagan": False,
    "use_spectral_norm": False,
    "adaptive_dropout": 0,
    "score_max": 1,
}


def recognise(archive: Archive) -> bool:
    """Whether it holds a StyleGAN2 generator, or its discriminator alone."""
    held = _members(archive.content)
    generators = [held[name] for name in ("G", "Gs") if name in held]
    if generators:
        return all(not _MARKS.isdisjoint(variables(network)) for network in generators)
    # StyleGAN's discriminator has neither; nor has the grown one of configurations B to D.
    return bool(held) and {"Skip", "FromRGB"} & _scopes(held["D"]) != set()


def read(archive: Archive, *, key: str, network: str | None = None) -> Networks:
    """Reads G and D.

    Args:
        archive: The file.
        key: The config key that named it, for messages.
        network: ``"Gs"`` (default) or ``"G"``.

    Raises:
        CheckpointError: It does not fit; every variable that does not is named.
    """
    held = _members(archive.content)
    what = f"{archive.path} ({NAME})"
    there = [name for name in ("Gs", "G", "D") if name in held]
    name = choose_generator(there, ema="Gs", live="G", network=network, what=what, key=key)
    meta: dict[str, Any] = {"network": name, "networks": there}
    generator = latent_avg = discriminator = None
    if name is not None:
        consumer = Consumer(variables(held[name]), what=f"{what}, network {name}", key=key)
        generator = _generator(consumer, settings(held[name]))
        latent_avg = generator.w_avg[0].clone()
    if "D" in held:
        consumer = Consumer(variables(held["D"]), what=f"{what}, network D", key=key)
        made = settings(held["D"])
        function = held["D"].state.get("build_func_name")
        made.setdefault("mbstd_group_size", None if function == "D_main" else 4)
        discriminator = _discriminator(consumer, made)
    return Networks(generator, discriminator, latent_avg=latent_avg, meta=meta)


def _generator(consumer: Consumer, made: Mapping[str, Any]) -> StyleGAN2Generator:
    if f"{M}LabelConcat/weight" in consumer:
        consumer.fail("takes labels as StyleGAN2 of 2019 does, which no native network does")
    require_settings(consumer, made, _ONLY_GENERATOR)
    sides = sides_present(
        consumer,
        lambda b, side: [f"{G}{side}x{side}/{'Conv1' if b else 'Conv'}"],
        parts=_STYLED,
    )
    grown = present(consumer, [f"{G}ToRGB_lod0"], parts=_STYLED)
    _take_lod(consumer, grown=grown, colours=f"{G}ToRGB_lod", sides=len(sides))
    depth = count(consumer, lambda i: f"{M}Dense{i}", parts=_LAYER)
    embed = f"{M}LabelEmbed"
    connections = "orig"
    if present(consumer, [f"{G}4x4/ToRGB"], parts=_STYLED):
        connections = "skip"
    elif present(consumer, [f"{G}{side}x{side}/Skip" for side in sides], parts=_LAYER):
        connections = "resnet"
    architecture = generator_architecture(
        consumer,
        sides=sides,
        wide=[f"{G}{s}x{s}/{'Conv1' if s > 4 else 'Conv'}/weight" for s in sides],
        style=f"{G}4x4/Conv/mod_weight",
        dense=[f"{M}Dense{i}/weight" for i in range(depth)],
        embed=f"{embed}/weight" if present(consumer, [embed], parts=_LAYER) else None,
        connections=connections,
        transposed=True,
        conv_clamp=_number(consumer, made, "conv_clamp", None),
        mapping_lr_mul=_number(consumer, made, "mapping_lrmul", 0.01),
    )
    noise = any("noise" in name for name in consumer.names())
    places = generator_places(architecture, noise=noise, grown=grown)
    everything = generator_places(architecture, grown=grown)
    return build(
        lambda: StyleGAN2Generator(**architecture),
        places,
        consumer,
        absent={place.native for place in everything} - {place.native for place in places},
    )


def _discriminator(consumer: Consumer, made: Mapping[str, Any]) -> StyleGAN2Discriminator:
    require_settings(consumer, made, _ONLY_DISCRIMINATOR)
    labels = present(consumer, ["LabelEmbed"], parts=_LAYER)
    if made.get("label_size") and not labels:
        consumer.fail("takes labels as StyleGAN2 of 2019 does, which no native network does")
    blocks = sides_present(consumer, lambda _, side: [f"{2 * side}x{2 * side}/Conv0"], parts=_LAYER)
    sides = [4, *(2 * side for side in blocks)]
    grown = present(consumer, ["FromRGB_lod0"], parts=_LAYER)
    _take_lod(consumer, grown=grown, colours="FromRGB_lod", sides=len(sides))
    depth = count(consumer, lambda i: f"Mapping{i}", parts=_LAYER)
    connections = "orig"
    if present(consumer, ["4x4/FromRGB"], parts=_LAYER):
        connections = "skip"
    elif present(consumer, [f"{side}x{side}/Skip" for side in sides], parts=_LAYER):
        connections = "resnet"
    architecture = discriminator_architecture(
        consumer,
        sides=sides,
        wide=[f"{side}x{side}/Conv0/weight" for side in sides[1:]],
        last_conv="4x4/Conv/weight",
        connections=connections,
        embed="LabelEmbed/weight" if labels else None,
        cmap=[f"Mapping{i}/weight" for i in range(depth)],
        transposed=True,
        mbstd_group=_group(consumer, made),
        conv_clamp=_number(consumer, made, "conv_clamp", None),
        cmap_lr_mul=_number(consumer, made, "mapping_lrmul", 0.1),
    )
    return build(
        lambda: StyleGAN2Discriminator(**architecture),
        discriminator_places(architecture, grown=grown),
        consumer,
    )


def _members(content: Any) -> dict[str, Stored]:
    """Networks by the names that NVlabs' code unpacks them to; {} where it is something else."""
    found = networks(content)
    if len(found) == 1:
        return {"D" if "Output/weight" in variables(found[0]) else "Gs": found[0]}
    return dict(zip(("G", "D", "Gs"), found, strict=True)) if len(found) == 3 else {}


def _scopes(network: Stored) -> set[str]:
    """The last scopes of its variables: ``"Skip"`` of ``"8x8/Skip/weight"``."""
    return {name.split("/")[-2] for name in variables(network) if name.count("/") > 1}


def _take_lod(consumer: Consumer, *, grown: bool, colours: str, sides: int) -> None:
    """Drops what only growing needed, once it is over."""
    for name in ("lod", f"{G}lod"):
        if name not in consumer:
            continue
        lod = consumer.take(name, shape=())
        if grown and not lod.is_meta and float(lod) != 0:
            consumer.fail(f"is still growing ({name}={float(lod):.3g}), expected a grown network")
    for level in range(1, sides if grown else 0):
        parts = ("weight", "bias", "mod_weight", "mod_bias")
        consumer.drop(f"{colours}{level}/{part}" for part in parts)


def _group(consumer: Consumer, made: Mapping[str, Any]) -> int | None:
    """Images in a group of the minibatch deviation; 0 or 1 left it out in 2019."""
    if made["mbstd_group_size"] in (0, 1):
        return 1
    found = _number(consumer, made, "mbstd_group_size", None)
    return None if found is None else int(found)


def _number(consumer: Consumer, made: Mapping[str, Any], name: str, default: Any) -> Any:
    """A positive number that a network was made with, or the default."""
    found = made.get(name, default)
    if isinstance(found, np.number):
        found = found.item()
    if found is None or (type(found) in (int, float) and math.isfinite(found) and found > 0):
        return found
    consumer.fail(f"was made with {name}={found!r:.60}, expected a number above 0")
