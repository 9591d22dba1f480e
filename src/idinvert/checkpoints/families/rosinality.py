"""rosinality's stylegan2-pytorch: ``.pt`` files of training and of converted networks.

A dict of state dicts, ``g_ema``, ``g`` and ``d``, beside optimisers and arguments; converted ones
hold the mean code as ``latent_avg``. Size, widths and depth are read off the shapes.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from idinvert.checkpoints.families.consume import Consumer
from idinvert.checkpoints.families.layout import build
from idinvert.checkpoints.families.networks import Networks, choose_generator
from idinvert.checkpoints.families.rosinality_layout import (
    discriminator_filters,
    discriminator_places,
    generator_filters,
    generator_places,
)
from idinvert.checkpoints.families.stylegan2_shapes import (
    BOTH,
    count,
    discriminator_architecture,
    generator_architecture,
    sides_present,
)
from idinvert.checkpoints.formats.archive import Archive
from idinvert.networks.stylegan2 import StyleGAN2Generator
from idinvert.networks.stylegan2_discriminator import StyleGAN2Discriminator

NAME = "rosinality"
NETWORKS = ("g_ema", "g", "d")
_MARKS = {
    "input.input",
    "conv1.conv.modulation.weight",
    "convs.0.0.weight",
    "final_linear.1.weight",
}


def recognise(archive: Archive) -> bool:
    """Whether the file is a dict with a state dict of rosinality's."""
    content = archive.content
    return isinstance(content, dict) and any(_is_ours(content.get(name)) for name in NETWORKS)


def read(archive: Archive, *, key: str, network: str | None = None) -> Networks:
    """Reads G and D.

    Args:
        archive: The file.
        key: The config key that named it, for messages.
        network: ``"g_ema"`` (default) or ``"g"``.

    Raises:
        CheckpointError: It does not fit; every tensor that does not is named.
    """
    content = archive.content
    what = f"{archive.path} (rosinality)"
    there = [name for name in NETWORKS if isinstance(content.get(name), dict)]
    name = choose_generator(there, ema="g_ema", live="g", network=network, what=what, key=key)
    generator = latent_avg = discriminator = None
    meta: dict[str, Any] = {"network": name, "networks": there}
    if name is not None:
        consumer = Consumer(content[name], what=f"{what}, network {name}", key=key)
        generator, facts = read_generator(consumer)
        meta |= facts
        latent_avg = read_latent_avg(content, generator=generator, what=what, key=key)
    if "d" in there:
        discriminator = read_discriminator(
            Consumer(content["d"], what=f"{what}, network d", key=key)
        )
    return Networks(generator, discriminator, latent_avg=latent_avg, meta=meta)


def read_generator(consumer: Consumer) -> tuple[StyleGAN2Generator, dict[str, Any]]:
    """Reads a generator, whose mean code is still to be set.

    Args:
        consumer: A state dict of rosinality's ``Generator``.

    Returns:
        The generator, and facts for people.

    Raises:
        CheckpointError: It does not fit.
    """
    sides = sides_present(
        consumer,
        lambda b, _: [_wide(b)],
        parts=(".conv.weight", ".activate.bias", ".noise.weight", ".conv.modulation.weight"),
    )
    depth = count(consumer, lambda i: f"style.{i + 1}", parts=BOTH)
    noise = any(name.startswith("noises.") for name in consumer.names())
    architecture = generator_architecture(
        consumer,
        sides=sides,
        wide=[f"{_wide(b)}.conv.weight" for b in range(len(sides))],
        style="conv1.conv.modulation.weight",
        dense=[f"style.{i + 1}.weight" for i in range(depth)],
        embed=None,
        connections="skip",
        leading=1,
    )
    places = generator_places(architecture, noise=noise)
    absent = {"w_avg"}
    if not noise:
        absent |= {f"synthesis.noise_{i}" for i in range(2 * len(sides) - 1)}
    generator = build(
        lambda: StyleGAN2Generator(**architecture),
        places,
        consumer,
        filters=generator_filters(architecture),
        absent=absent,
    )
    return generator, {"constant_noise": noise, **_multiplier(architecture)}


def read_discriminator(consumer: Consumer) -> StyleGAN2Discriminator:
    """Reads a discriminator.

    Args:
        consumer: A state dict of rosinality's ``Discriminator``.

    Raises:
        CheckpointError: It does not fit.
    """
    blocks = count(consumer, lambda i: f"convs.{i + 1}.", parts=("conv1.0.weight", "conv1.1.bias"))
    architecture = discriminator_architecture(
        consumer,
        sides=[4 << i for i in range(min(blocks, 10) + 1)],
        wide=[f"convs.{i}.conv1.0.weight" for i in range(blocks, 0, -1)],
        last_conv="final_conv.0.weight",
        connections="resnet",
        mbstd_group=4,
    )
    return build(
        lambda: StyleGAN2Discriminator(**architecture),
        discriminator_places(architecture),
        consumer,
        filters=discriminator_filters(architecture),
    )


def read_latent_avg(
    content: Mapping[Any, Any], *, generator: StyleGAN2Generator, what: str, key: str
) -> Tensor | None:
    """Reads the mean code beside a generator, and sets it there.

    Args:
        content: The file's dict; ``latent_avg`` is [w_dim], [1, w_dim] or [L, w_dim].
        generator: Its generator; changed.
        what: The file, for messages.
        key: The config key that named it, for messages.

    Returns:
        The mean code [w_dim] or [L, w_dim], or None where there is none.

    Raises:
        CheckpointError: It has another shape.
    """
    found = content.get("latent_avg")
    if found is None:
        return None
    layers, w_dim = generator.num_layers, generator.w_dim
    consumer = Consumer({"latent_avg": found}, what=what, key=key)
    shapes = [(w_dim,), (1, w_dim), (layers, w_dim)]
    shape = next((s for s in shapes if s == tuple(getattr(found, "shape", ()))), (layers, w_dim))
    latent_avg = consumer.take("latent_avg", shape=shape)
    consumer.finish()
    latent_avg = latent_avg[0] if shape == (1, w_dim) else latent_avg
    generator.w_avg.copy_(latent_avg.expand(layers, w_dim))
    return latent_avg


def _is_ours(found: Any) -> bool:
    if not isinstance(found, dict):
        return False
    return not _MARKS.isdisjoint(found)


def _wide(b: int) -> str:
    """The last convolution of a resolution: two of ``convs`` each, from 8 px on."""
    return "conv1" if b == 0 else f"convs.{2 * b - 1}"


def _multiplier(architecture: dict[str, Any]) -> dict[str, Any]:
    """rosinality's ``channel_multiplier``, where the widths follow its rule."""
    sides = [4 << i for i in range(len(architecture["channels"]))]
    for multiplier in (1, 2):
        rule = [512 if side <= 32 else 16384 * multiplier // side for side in sides]
        if rule == architecture["channels"] and max(sides) > 32:
            return {"channel_multiplier": multiplier}
    return {}
