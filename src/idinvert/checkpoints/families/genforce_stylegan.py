"""StyleGAN as genforce and its successor Hammer save it (``.pth``).

A dict of state dicts, ``generator_smooth``, ``generator`` and ``discriminator``, nested under
``models`` in training checkpoints. Hammer names noise, filters and the mean code otherwise, and its
checkpoints say what the networks were built with, ``model_kwargs_init``; what those ask for beyond
the tensors is honoured or refused.
"""

import math
from typing import Any

from torch import Tensor

from idinvert.checkpoints.families import stylegan_parts as parts
from idinvert.checkpoints.families.consume import Consumer
from idinvert.checkpoints.families.networks import Networks, choose_generator
from idinvert.checkpoints.families.places import Foreign, boxed, extent, same, text_keys
from idinvert.checkpoints.families.tf_networks import require_settings
from idinvert.checkpoints.formats.archive import Archive
from idinvert.networks.resample import fir_kernel
from idinvert.networks.stylegan import FUSED_FROM, StyleGANGenerator
from idinvert.networks.stylegan_discriminator import StyleGANDiscriminator

NAME = "genforce-stylegan"
NETWORKS = ("generator_smooth", "generator", "discriminator")
_WRAPPED = "module."
_ONLY: dict[str, Any] = {
    "use_wscale": True,
    "wscale_gain": math.sqrt(2),
    "lr_mul": 1.0,
    "image_channels": 3,
}
_ONLY |= {"filter_kernel": [1, 2, 1], "eps": 1e-8, "init_res": 4, "label_dim": 0}
_ONLY_GENERATOR = {
    "normalize_z": True,
    "mapping_use_wscale": True,
    "mapping_wscale_gain": math.sqrt(2),
    "mapping_lr_mul": 0.01,
    "noise_type": "spatial",
}


def recognise(archive: Archive) -> bool:
    """Whether a StyleGAN generator or discriminator of this layout is in it."""
    return any(_is_ours(state) for state in _networks(archive.content).values())


def read(archive: Archive, *, key: str, network: str | None = None) -> Networks:
    """Reads G and D.

    Where a file does not say whether upsampling layers are fused and whether tanh bounds images,
    the defaults are taken: fused from 128 px on, and no tanh.

    Args:
        archive: The file.
        key: The config key that named it, for messages.
        network: ``"generator_smooth"`` (default) or ``"generator"``.

    Raises:
        CheckpointError: It does not fit; every tensor that does not is named.
    """
    held = _networks(archive.content)
    what = f"{archive.path} ({NAME})"
    name = choose_generator(
        held, ema=NETWORKS[0], live=NETWORKS[1], network=network, what=what, key=key
    )
    built = text_keys(text_keys(archive.content).get("model_kwargs_init"))
    generator = w_avg = discriminator = None
    if name is not None:
        consumer = Consumer(held[name], what=f"{what}, network {name}", key=key)
        generator, w_avg = read_generator(consumer, text_keys(built.get(name)))
    if NETWORKS[2] in held:
        consumer = Consumer(held[NETWORKS[2]], what=f"{what}, network {NETWORKS[2]}", key=key)
        discriminator = read_discriminator(consumer, text_keys(built.get(NETWORKS[2])))
    meta = {"network": name, "networks": list(held)}
    return Networks(generator, discriminator, latent_avg=w_avg, meta=meta)


def read_generator(
    consumer: Consumer, built: dict[str, Any]
) -> tuple[StyleGANGenerator, Tensor | None]:
    """Reads genforce's or Hammer's generator; see `stylegan_parts.read_generator`.

    Args:
        consumer: The file's tensors.
        built: What it was built with, where the file says so.

    Raises:
        CheckpointError: It does not fit, or was built otherwise than the native one computes.
    """
    require_settings(consumer, built, _ONLY | _ONLY_GENERATOR)
    if "mapping.label_weight" in consumer or "mapping.embedding" in consumer:
        parts.refuse_labels(consumer)
    hammer = "w_avg" in consumer
    num_layers = extent(consumer, "synthesis.layer")
    depth = extent(consumer, "mapping.dense")
    parts.require_layers(consumer, num_layers, depth=depth)
    top = num_layers // 2 - 1
    layout = parts.generator_layout(
        mapping=[
            (same(f"mapping.dense{i}.weight"), same(f"mapping.dense{i}.bias")) for i in range(depth)
        ],
        layers=[
            _layer(f"synthesis.layer{i}", first=i == 0, hammer=hammer) for i in range(num_layers)
        ],
        rgb=(same(f"synthesis.output{top}.weight"), same(f"synthesis.output{top}.bias")),
    )
    parts.drop_lower(consumer, "synthesis.output", range(top), suffixes=(".weight", ".bias"))
    filters: dict[str, Tensor] = {}
    for i in range(2, num_layers, 2):
        width = consumer.shape(f"synthesis.layer{i}.bias", ndim=1)[0]
        filters |= _filter(f"synthesis.layer{i}", channels=width, consumer=consumer)
    return parts.read_generator(
        consumer,
        layout,
        num_layers=num_layers,
        depth=depth,
        w_avg="w_avg" if hammer else "truncation.w_avg",
        lod="synthesis.lod",
        filters=filters,
        final_tanh=_flag(consumer, built, "final_tanh"),
        fused_from=_fused_from(consumer, built),
    )


def read_discriminator(consumer: Consumer, built: dict[str, Any]) -> StyleGANDiscriminator:
    """Reads genforce's or Hammer's discriminator, which names its last layer otherwise.

    Args:
        consumer: The file's tensors.
        built: What it was built with, where the file says so.

    Raises:
        CheckpointError: It does not fit, or was built otherwise than the native one computes.
    """
    require_settings(consumer, built, _ONLY)
    blocks = extent(consumer, "input") - 1
    parts.require_layers(consumer, 2 * blocks + 2, depth=1)
    names = {"from_rgb": "input0", "conv": f"layer{2 * blocks}", "fc": f"layer{2 * blocks + 1}"}
    names["out"] = "output" if "output.weight" in consumer else f"layer{2 * blocks + 2}"
    filters: dict[str, Tensor] = {}
    for b in range(blocks):
        names[f"blocks.{b}.conv0"] = f"layer{2 * b}"
        names[f"blocks.{b}.conv1"] = f"layer{2 * b + 1}"
        width = consumer.shape(f"layer{2 * b}.bias", ndim=1)[0]
        filters |= _filter(f"layer{2 * b + 1}", channels=width, consumer=consumer)
    layout = {
        f"{native}.{kind}": same(f"{name}.{kind}")
        for native, name in names.items()
        for kind in ("weight", "bias")
    }
    parts.drop_lower(consumer, "input", range(1, blocks + 1), suffixes=(".weight", ".bias"))
    group = built.get("mbstd_groups", 4)
    return parts.read_discriminator(
        consumer, layout, blocks=blocks, lod="lod", mbstd_group=group, filters=filters
    )


def _flag(consumer: Consumer, built: dict[str, Any], name: str) -> bool:
    found = built.get(name, False)
    if not isinstance(found, bool):
        consumer.fail(f"was built with {name}={found!r:.60}, expected a bool")
    return found


def _fused_from(consumer: Consumer, built: dict[str, Any]) -> int:
    """The side from which upsampling layers are fused."""
    return parts.fused_from(
        consumer, built.get("fused_scale", "auto"), auto=built.get("fused_scale_res", FUSED_FROM)
    )


def _layer(name: str, *, first: bool, hammer: bool) -> dict[str, Foreign]:
    """Where the tensors of one layer of the synthesis stand."""
    strength = boxed(f"{name}.noise_strength", before=1, after=2)
    return {
        "weight": boxed(f"{name}.const", before=1) if first else same(f"{name}.weight"),
        "bias": same(f"{name}.bias"),
        "noise": same(f"{name}.noise" if hammer else f"{name}.apply_noise.noise"),
        "noise_weight": strength if hammer else same(f"{name}.apply_noise.weight"),
        "style_weight": same(f"{name}.style.weight"),
        "style_bias": same(f"{name}.style.bias"),
    }


def _filter(layer: str, *, channels: int, consumer: Consumer) -> dict[str, Tensor]:
    """The blur that must stand in a layer: one for every channel in genforce, one in Hammer."""
    kernel = fir_kernel((1, 2, 1))[None, None]
    if f"{layer}.filter" in consumer:
        return {f"{layer}.filter": kernel}
    return {f"{layer}.blur.kernel": kernel.expand(channels, 1, 3, 3)}


def _is_ours(state: dict[str, Any]) -> bool:
    if "synthesis.layer0.const" in state:  # as in the authors' own port, which says it otherwise
        return any(name.endswith(".style.weight") for name in state)
    return "input1.weight" in state and "lod" in state  # StyleGAN2's D has one input


def _networks(content: Any) -> dict[str, dict[str, Any]]:
    """Name to state dict: nested under ``models``, beside each other, or the generator alone."""
    top = text_keys(content)
    top = text_keys(top.get("models")) or top
    if "synthesis.layer0.const" in top:
        return {NETWORKS[1]: top}
    held = {name: text_keys(top.get(name)) for name in NETWORKS}
    return {name: _unwrapped(state) for name, state in held.items() if state}


def _unwrapped(state: dict[str, Any]) -> dict[str, Any]:
    """Without the prefix of torch's DistributedDataParallel."""
    if all(name.startswith(_WRAPPED) for name in state):
        return {name.removeprefix(_WRAPPED): value for name, value in state.items()}
    return state
