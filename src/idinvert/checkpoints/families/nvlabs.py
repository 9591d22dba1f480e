"""NVlabs' PyTorch pickles that hold StyleGAN2: stylegan2-ada-pytorch and stylegan3.

Their layers in half precision run in single precision here; the bound on the layers' outputs that
goes with them (``conv_clamp``) is kept. What the modules were built with is read off their
attributes, for the defaults differ between the repositories; their source text is not read.

The plain ``.pt`` of state dicts that `idinvert.checkpoints.export.nvlabs` writes is read too.
"""

from typing import Any

from idinvert.checkpoints.families.layout import build
from idinvert.checkpoints.families.networks import Networks, choose_generator
from idinvert.checkpoints.families.nvlabs_layout import (
    discriminator_filters,
    discriminator_places,
    generator_filters,
    generator_places,
)
from idinvert.checkpoints.families.nvlabs_module import Module, open_module
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

NAME = "nvlabs"
NETWORKS = ("G_ema", "G", "D")
_EMBED = "mapping.embed.weight"
_SHORTCUT = (".weight", ".resample_filter")


def recognise(archive: Archive) -> bool:
    """Whether the file is a dict of NVlabs' networks, StyleGAN3's included."""
    content = archive.content
    if not isinstance(content, dict):
        return False
    return any(Module.recognise(content.get(name)) for name in NETWORKS)


def read(archive: Archive, *, key: str, network: str | None = None) -> Networks:
    """Reads G and D.

    Args:
        archive: The file.
        key: The config key that named it, for messages.
        network: ``"G_ema"`` (default) or ``"G"``.

    Raises:
        CheckpointError: It does not fit; every tensor that does not is named.
    """
    what = f"{archive.path} (NVlabs)"
    there = [name for name in NETWORKS if archive.content.get(name) is not None]
    name = choose_generator(there, ema="G_ema", live="G", network=network, what=what, key=key)
    settings = archive.content.get("init_kwargs")
    modules = {
        part: open_module(archive.content[part], part=part, settings=settings, what=what, key=key)
        for part in (name, "D")
        if part in there and part is not None
    }
    meta: dict[str, Any] = {"network": name, "networks": there}
    generator = latent_avg = discriminator = None
    if name is not None:
        generator, known = _generator(modules[name])
        latent_avg = generator.w_avg[0].clone() if known else None
        meta["half_precision"] = modules[name].half_precision()
    if "D" in modules:
        discriminator = _discriminator(modules["D"])
    return Networks(generator, discriminator, latent_avg=latent_avg, meta=meta)


def _generator(module: Module) -> tuple[StyleGAN2Generator, bool]:
    """G, and whether the file holds its mean code."""
    consumer = module.consumer
    if any(name.startswith("synthesis.input.") for name in consumer.names()):
        consumer.fail("is a StyleGAN3 generator, expected StyleGAN2")
    sides = sides_present(consumer, lambda _, side: [f"synthesis.b{side}.conv1"])
    depth = count(consumer, lambda i: f"mapping.fc{i}", parts=BOTH)
    connections = "orig"
    if present(consumer, ["synthesis.b4.torgb", "synthesis.b4.torgb.affine"]):
        connections = "skip"
    elif present(consumer, [f"synthesis.b{side}.skip" for side in sides], parts=_SHORTCUT):
        connections = "resnet"
    architecture = generator_architecture(
        consumer,
        sides=sides,
        wide=[f"synthesis.b{side}.conv1.weight" for side in sides],
        style="synthesis.b4.conv1.affine.weight",
        dense=[f"mapping.fc{i}.weight" for i in range(depth)],
        embed=_EMBED if present(consumer, ["mapping.embed"]) else None,
        connections=module.connections("synthesis.b8", seen=connections),
        conv_clamp=module.clamp("synthesis.b4.conv1"),
        mapping_lr_mul=module.lr_multiplier(),
    )
    module.check_activations()
    noise = any(".noise_" in name for name in consumer.names())
    absent = set()
    if module.attribute("mapping", "w_avg_beta", 0.995) is None:
        absent.add("w_avg")
    places = [p for p in generator_places(architecture, noise=noise) if p.native not in absent]
    if not noise:  # every strength stays 0
        everything = generator_places(architecture)
        absent |= {place.native for place in everything} - {place.native for place in places}
    generator = build(
        lambda: StyleGAN2Generator(**architecture),
        places,
        consumer,
        filters=generator_filters(architecture),
        absent=absent,
    )
    return generator, "w_avg" not in absent


def _discriminator(module: Module) -> StyleGAN2Discriminator:
    consumer = module.consumer
    blocks = sides_present(consumer, lambda _, side: [f"b{2 * side}.conv0"])
    sides = [4, *(2 * side for side in blocks)]
    depth = count(consumer, lambda i: f"mapping.fc{i}", parts=BOTH)
    connections = "orig"
    if present(consumer, ["b4.fromrgb"]):
        connections = "skip"
    elif present(consumer, [f"b{side}.skip" for side in sides], parts=_SHORTCUT):
        connections = "resnet"
    architecture = discriminator_architecture(
        consumer,
        sides=sides,
        wide=[f"b{side}.conv0.weight" for side in sides[1:]],
        last_conv="b4.conv.weight",
        connections=module.connections("b8", seen=connections),
        embed=_EMBED if present(consumer, ["mapping.embed"]) else None,
        cmap=[f"mapping.fc{i}.weight" for i in range(depth)],
        mbstd_group=module.group(),
        conv_clamp=module.clamp("b4.conv"),
        cmap_lr_mul=module.lr_multiplier(),
    )
    module.check_activations()
    return build(
        lambda: StyleGAN2Discriminator(**architecture),
        discriminator_places(architecture),
        consumer,
        filters=discriminator_filters(architecture),
    )
