"""StyleGAN2 as genforce and its successor Hammer save it (``.pth``).

A dict of state dicts, ``generator_smooth``, ``generator`` and ``discriminator``, which a training
checkpoint nests under ``models``. Hammer's training checkpoints say what the networks were built
with, ``model_kwargs_init``; what those ask for beyond the tensors is honoured or refused.
"""

import math
from collections.abc import Sequence
from typing import Any

from idinvert.checkpoints.families.consume import Consumer
from idinvert.checkpoints.families.genforce_layout import (
    discriminator_filters,
    discriminator_places,
    generator_filters,
    generator_places,
)
from idinvert.checkpoints.families.layout import build
from idinvert.checkpoints.families.networks import Networks, choose_generator
from idinvert.checkpoints.families.places import text_keys
from idinvert.checkpoints.families.stylegan2_shapes import (
    BOTH,
    count,
    discriminator_architecture,
    generator_architecture,
    present,
    sides_present,
)
from idinvert.checkpoints.formats.archive import Archive
from idinvert.networks.stylegan2 import StyleGAN2Generator
from idinvert.networks.stylegan2_discriminator import StyleGAN2Discriminator

NAME = "genforce-stylegan2"
NETWORKS = ("generator_smooth", "generator", "discriminator")
_MARKS = {"synthesis.early_layer.const", "synthesis.layer1.noise_strength"}
_HAMMER = ("w_avg", "synthesis.layer1.filter", "synthesis.filter")
_GENFORCE = ("truncation.w_avg", "synthesis.layer1.filter.kernel", "synthesis.upsample.kernel")
_WRAPPED = "module."
_RESIDUALS = ("residual", "skip_layer")
_SHORTCUT = (".weight", ".filter", ".filter.kernel")
_ONLY_GENERATOR = {
    "normalize_z": True,
    "mapping_use_wscale": True,
    "mapping_wscale_gain": 1.0,
    "embedding_bias": True,
    "embedding_use_wscale": True,
    "embedding_wscale_gian": 1.0,
    "embedding_lr_mul": 1.0,
    "normalize_embedding": True,
    "normalize_embedding_latent": False,
    "final_tanh": False,
    "const_input": True,
    "demodulate": True,
    "use_wscale": True,
    "wscale_gain": 1.0,
    "lr_mul": 1.0,
    "noise_type": "spatial",
}
_ONLY_DISCRIMINATOR = {
    "use_wscale": True,
    "wscale_gain": 1.0,
    "lr_mul": 1.0,
    "embedding_bias": True,
    "embedding_use_wscale": True,
    "embedding_lr_mul": 1.0,
    "normalize_embedding": True,
    "mapping_use_wscale": True,
}


def recognise(archive: Archive) -> bool:
    """Whether a generator or discriminator of this layout is in it."""
    held = _networks(archive.content)
    generators = (held[name] for name in NETWORKS[:2] if name in held)
    if any(_is_generator(tensors) for tensors in generators):
        return True
    judge = held.get("discriminator", {})
    # StyleGAN's discriminator shares these names, but has an input for every resolution.
    return set(held) == {"discriminator"} and (
        "skip_layer0.weight" in judge or "residual0.weight" in judge
    )


def read(archive: Archive, *, key: str, network: str | None = None) -> Networks:
    """Reads G and D.

    Args:
        archive: The file.
        key: The config key that named it, for messages.
        network: ``"generator_smooth"`` (default) or ``"generator"``.

    Raises:
        CheckpointError: It does not fit; every tensor that does not is named.
    """
    held = _networks(archive.content)
    what = f"{archive.path} (genforce)"
    there = [name for name in NETWORKS if name in held]
    name = choose_generator(
        there, ema="generator_smooth", live="generator", network=network, what=what, key=key
    )
    built = text_keys(text_keys(archive.content).get("model_kwargs_init"))
    meta: dict[str, Any] = {"network": name, "networks": there}
    generator = latent_avg = discriminator = None
    if name is not None:
        consumer = Consumer(held[name], what=f"{what}, network {name}", key=key)
        hammer = _is_hammer(consumer, hammer=_HAMMER, genforce=_GENFORCE)
        meta["dialect"] = "hammer" if hammer else "genforce"
        generator = _generator(consumer, hammer, text_keys(built.get(name)))
        latent_avg = generator.w_avg.clone() if generator.multi_w else generator.w_avg[0].clone()
    if "discriminator" in held:
        consumer = Consumer(held["discriminator"], what=f"{what}, network discriminator", key=key)
        discriminator = _discriminator(consumer, text_keys(built.get("discriminator")))
    return Networks(generator, discriminator, latent_avg=latent_avg, meta=meta)


def _generator(consumer: Consumer, hammer: bool, built: dict[str, Any]) -> StyleGAN2Generator:
    if "mapping.label_weight" in consumer:
        consumer.fail("takes labels as StyleGAN2 of 2019 does, which no native network does")
    _require(consumer, built, _ONLY_GENERATOR)
    sides = sides_present(consumer, lambda b, _: [f"synthesis.layer{2 * b}"])
    depth = count(consumer, lambda i: f"mapping.dense{i}", parts=BOTH)
    connections = "orig"
    if present(consumer, ["synthesis.output0", "synthesis.output0.style"]):
        connections = "skip"
    elif present(consumer, [f"synthesis.residual{b}" for b in range(1, 11)], parts=_SHORTCUT):
        connections = "resnet"
    architecture = generator_architecture(
        consumer,
        sides=sides,
        wide=[f"synthesis.layer{2 * b}.weight" for b in range(len(sides))],
        style="synthesis.layer0.style.weight",
        dense=[f"mapping.dense{i}.weight" for i in range(depth)],
        embed="mapping.embedding.weight" if present(consumer, ["mapping.embedding"]) else None,
        connections=connections,
        conv_clamp=_number(consumer, built, "conv_clamp", None),
        mapping_lr_mul=_number(consumer, built, "mapping_lr_mul", 0.01),
    )
    return build(
        lambda: StyleGAN2Generator(**architecture),
        generator_places(architecture, hammer=hammer),
        consumer,
        filters=generator_filters(architecture, hammer=hammer),
    )


def _discriminator(consumer: Consumer, built: dict[str, Any]) -> StyleGAN2Discriminator:
    _require(consumer, built, _ONLY_DISCRIMINATOR)
    # Two a resolution; genforce's has one more, which Hammer names "output".
    blocks = max(count(consumer, lambda i: f"layer{i}", parts=BOTH) - 2, 0) // 2
    hammer = _is_hammer(
        consumer,
        hammer=("output.weight", "output.bias", "layer1.filter", "filter"),
        genforce=("layer1.filter.kernel", "downsample.kernel", f"layer{2 * blocks + 2}.bias"),
    )
    sides = [4 << i for i in range(min(blocks, 10) + 1)]
    connections = "orig"
    if present(consumer, ["input1"]):
        connections = "skip"
    elif present(consumer, [f"{n}{i}" for n in _RESIDUALS for i in range(10)], parts=_SHORTCUT):
        connections = "resnet"
    depth = count(consumer, lambda i: f"mapping{i}", parts=BOTH)
    group = _number(consumer, built, "mbstd_groups", 4)
    architecture = discriminator_architecture(
        consumer,
        sides=sides,
        wide=[f"layer{2 * i}.weight" for i in range(len(sides) - 2, -1, -1)],
        last_conv=f"layer{2 * blocks}.weight",
        connections=connections,
        embed="embedding.weight" if present(consumer, ["embedding"]) else None,
        cmap=[f"mapping{i}.weight" for i in range(depth)],
        mbstd_group=None if group is None else max(int(group), 1),
        conv_clamp=_number(consumer, built, "conv_clamp", None),
        cmap_lr_mul=_number(consumer, built, "mapping_lr_mul", 0.1),
    )
    if "c_dim" not in architecture and built.get("label_dim"):
        consumer.fail("takes labels without an embedding, which no native network does")
    return build(
        lambda: StyleGAN2Discriminator(**architecture),
        discriminator_places(architecture, hammer=hammer),
        consumer,
        filters=discriminator_filters(architecture, hammer=hammer),
    )


def _is_hammer(consumer: Consumer, *, hammer: Sequence[str], genforce: Sequence[str]) -> bool:
    """Whether Hammer wrote it: more of its own names are there than of genforce's."""
    return sum(name in consumer for name in hammer) > sum(name in consumer for name in genforce)


def _require(consumer: Consumer, built: dict[str, Any], only: dict[str, Any]) -> None:
    """Refuses what a network was built with where it changes what it computes."""
    for name, value in only.items():
        if name in built and built[name] != value:
            consumer.fail(f"was built with {name}={built[name]!r:.60}, expected {value!r}")


def _number(consumer: Consumer, built: dict[str, Any], name: str, default: Any) -> Any:
    """A positive number that a network was built with, or the default."""
    found = built.get(name, default)
    if found is None or (type(found) in (int, float) and math.isfinite(found) and found > 0):
        return found
    consumer.fail(f"was built with {name}={found!r:.60}, expected a number above 0")


def _networks(content: Any) -> dict[str, dict[str, Any]]:
    """Name to state dict: nested under ``models``, beside each other, or the generator alone."""
    top = text_keys(content)
    top = text_keys(top.get("models")) or top
    if _is_generator(top):
        return {"generator": top}
    held = {name: text_keys(top.get(name)) for name in NETWORKS}
    return {name: _unwrapped(tensors) for name, tensors in held.items() if tensors}


def _is_generator(tensors: dict[str, Any]) -> bool:
    """Whether it is StyleGAN2's; Hammer's StyleGAN has noise strengths too, but `layer0.const`."""
    return not _MARKS.isdisjoint(tensors) and "synthesis.layer0.const" not in tensors


def _unwrapped(tensors: dict[str, Any]) -> dict[str, Any]:
    """Without the prefix of torch's DistributedDataParallel."""
    if all(name.startswith(_WRAPPED) for name in tensors):
        return {name.removeprefix(_WRAPPED): value for name, value in tensors.items()}
    return tensors
