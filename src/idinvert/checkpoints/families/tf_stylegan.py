"""NVlabs' StyleGAN for TensorFlow: pickles of (G, D, Gs), read without TensorFlow."""

from typing import Any

from torch import Tensor

from idinvert.checkpoints.families import stylegan_parts as parts
from idinvert.checkpoints.families.consume import Consumer
from idinvert.checkpoints.families.networks import Networks, choose_generator
from idinvert.checkpoints.families.places import Foreign, boxed, extent, same
from idinvert.checkpoints.families.tf_networks import (
    conv,
    dense,
    largest_side,
    networks,
    require_settings,
    settings,
    takes_labels,
    variables,
)
from idinvert.checkpoints.formats.archive import Archive, Stored
from idinvert.networks.stylegan import StyleGANGenerator
from idinvert.networks.stylegan_discriminator import StyleGANDiscriminator

NAME = "tf-stylegan"
NETWORKS = ("G", "D", "Gs")
_MARK = "G_synthesis/4x4/Const/StyleMod/weight"
_ONLY = {
    "nonlinearity": "lrelu",
    "use_wscale": True,
    "blur_filter": [1, 2, 1],
    "num_channels": 3,
}
_ONLY_GENERATOR = {
    "use_styles": True,
    "const_input_layer": True,
    "use_noise": True,
    "use_pixel_norm": False,
    "use_instance_norm": True,
    "mapping_nonlinearity": "lrelu",
    "mapping_lrmul": 0.01,
    "normalize_latents": True,
}


def recognise(archive: Archive) -> bool:
    """Whether it holds StyleGAN networks, with one w for all layers; see `tf_idinvert` else."""
    held = members(archive.content)
    return any(is_generator(held[name]) and not is_multi_w(held[name]) for name in held)


def read(archive: Archive, *, key: str, network: str | None = None) -> Networks:
    """Reads G and D.

    Args:
        archive: The file.
        key: The config key that named it, for messages.
        network: ``"Gs"`` (default) or ``"G"``.

    Raises:
        CheckpointError: It does not fit; every variable that does not is named. Or it is
            conditional, or was made with settings that change what it computes.
    """
    what = f"{archive.path} ({NAME})"
    return read_members(members(archive.content), what=what, key=key, network=network)


def members(content: Any) -> dict[str, Stored]:
    """Networks by the names that NVlabs' code unpacks them to; {} where it is something else."""
    found = networks(content)
    if len(found) == 1:
        return {NETWORKS[2]: found[0]} if is_generator(found[0]) else {}
    return dict(zip(NETWORKS, found, strict=True)) if len(found) == 3 else {}


def is_generator(network: Stored) -> bool:
    """Whether a TensorFlow network is StyleGAN's generator."""
    return _MARK in variables(network)


def is_multi_w(network: Stored) -> bool:
    """Whether the mapping's last layer is wider than w."""
    found = variables(network)
    depth = sum(name.startswith("G_mapping/Dense") and name.endswith("/bias") for name in found)
    last: tuple[int, ...] = getattr(found.get(f"G_mapping/Dense{depth - 1}/bias"), "shape", ())
    w_dim: tuple[int, ...] = getattr(found.get(_MARK), "shape", ())
    return len(last) == 1 and len(w_dim) == 2 and last[0] != w_dim[0]


def read_members(held: dict[str, Stored], *, what: str, key: str, network: str | None) -> Networks:
    """Reads G and D of networks by name."""
    name = choose_generator(held, ema="Gs", live="G", network=network, what=what, key=key)
    generator = w_avg = discriminator = None
    if name is not None:
        generator, w_avg = read_generator(held[name], what=f"{what}, network {name}", key=key)
    if "D" in held:
        discriminator = read_discriminator(held["D"], what=f"{what}, network D", key=key)
    meta = {"network": name, "networks": list(held)}
    return Networks(generator, discriminator, latent_avg=w_avg, meta=meta)


def read_generator(
    network: Stored, *, what: str, key: str
) -> tuple[StyleGANGenerator, Tensor | None]:
    """Reads G or Gs; see `stylegan_parts.read_generator`."""
    consumer, made = Consumer(variables(network), what=what, key=key), settings(network)
    if "G_mapping/LabelConcat/weight" in consumer or takes_labels(made):
        parts.refuse_labels(consumer)
    require_settings(consumer, made, _ONLY | _ONLY_GENERATOR)
    num_layers = 2 * largest_side(consumer, "G_synthesis/").bit_length() - 4
    depth = extent(consumer, "G_mapping/Dense", "/")
    parts.require_layers(consumer, num_layers, depth=depth)
    layout = parts.generator_layout(
        mapping=[
            (dense(f"G_mapping/Dense{i}/weight"), same(f"G_mapping/Dense{i}/bias"))
            for i in range(depth)
        ],
        layers=[_layer(i, side) for i, side in enumerate(parts.layer_sides(num_layers))],
        rgb=(conv("G_synthesis/ToRGB_lod0/weight"), same("G_synthesis/ToRGB_lod0/bias")),
    )
    lower = range(1, num_layers // 2)  # structure='fixed' has none of these
    parts.drop_lower(consumer, "G_synthesis/ToRGB_lod", lower, suffixes=("/weight", "/bias"))
    consumer.drop(["G_synthesis/lod"])  # G writes its own level of detail there as it runs
    return parts.read_generator(
        consumer,
        layout,
        num_layers=num_layers,
        depth=depth,
        w_avg="dlatent_avg",
        lod="lod",
        fused_from=parts.fused_from(consumer, made.get("fused_scale", "auto")),
    )


def read_discriminator(network: Stored, *, what: str, key: str) -> StyleGANDiscriminator:
    """Reads D. Its fused layers compute what the others do, so ``fused_scale`` has no bearing."""
    consumer, made = Consumer(variables(network), what=what, key=key), settings(network)
    if takes_labels(made):
        parts.refuse_labels(consumer)
    require_settings(consumer, made, _ONLY)
    side, names = largest_side(consumer), {"from_rgb": "FromRGB_lod0", "conv": "4x4/Conv"}
    blocks = side.bit_length() - 3
    parts.require_layers(consumer, 2 * blocks + 2, depth=1)
    for b in range(blocks):
        names[f"blocks.{b}.conv0"] = f"{side >> b}x{side >> b}/Conv0"
        names[f"blocks.{b}.conv1"] = f"{side >> b}x{side >> b}/Conv1_down"
    layout = {f"{native}.weight": conv(f"{name}/weight") for native, name in names.items()}
    for native, name in (("fc", "4x4/Dense0"), ("out", "4x4/Dense1")):
        names[native], layout[f"{native}.weight"] = name, dense(f"{name}/weight")
    layout |= {f"{native}.bias": same(f"{name}/bias") for native, name in names.items()}
    lower = range(1, blocks + 1)
    parts.drop_lower(consumer, "FromRGB_lod", lower, suffixes=("/weight", "/bias"))
    group = made.get("mbstd_group_size", 4)
    return parts.read_discriminator(consumer, layout, blocks=blocks, lod="lod", mbstd_group=group)


def _layer(i: int, side: int) -> dict[str, Foreign]:
    """Where the variables of layer i of the synthesis stand."""
    kind = ("Const", "Conv")[i] if i < 2 else ("Conv0_up", "Conv1")[i % 2]
    name = f"G_synthesis/{side}x{side}/{kind}"
    return {
        "weight": boxed(f"{name}/const", before=1) if i == 0 else conv(f"{name}/weight"),
        "bias": same(f"{name}/bias"),
        "noise": same(f"G_synthesis/noise{i}"),
        "noise_weight": same(f"{name}/Noise/weight"),
        "style_weight": dense(f"{name}/StyleMod/weight"),
        "style_bias": same(f"{name}/StyleMod/bias"),
    }
