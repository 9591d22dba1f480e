"""The authors' TensorFlow release: (G, D, Gs) with one w a layer, and (E, G, D, Gs)."""

from typing import Any

from idinvert.checkpoints.families import base_encoder
from idinvert.checkpoints.families.base_encoder import norm_layout
from idinvert.checkpoints.families.consume import Consumer
from idinvert.checkpoints.families.networks import Networks
from idinvert.checkpoints.families.places import Foreign, extent, same
from idinvert.checkpoints.families.tf_networks import conv, dense, networks, variables
from idinvert.checkpoints.families.tf_stylegan import (
    is_generator,
    is_multi_w,
    members,
    read_members,
)
from idinvert.checkpoints.formats.archive import Archive, Stored
from idinvert.networks.encoder import Encoder

NAME = "tf-idinvert"
_A, _C = "encoder/input_image_stage/weight", "FromImg/weight"
_MOVING = {"running_mean": "/moving_mean", "running_var": "/moving_variance"}


def recognise(archive: Archive) -> bool:
    """Whether it is one of the authors' tuples, or their encoder alone."""
    found = networks(archive.content)
    if found and _encoder_variant(found[0]) is not None:
        return len(found) in (1, 4)
    held = members(archive.content)
    return any(is_generator(held[name]) and is_multi_w(held[name]) for name in held)


def read(archive: Archive, *, key: str, network: str | None = None) -> Networks:
    """Reads G, D and, where it is there, E.

    Args:
        archive: The file.
        key: The config key that named it, for messages.
        network: ``"Gs"`` (default) or ``"G"``.

    Returns:
        The networks; ``meta["encoder"]`` is ``"A"`` (April 2020) or ``"C"`` (September 2020).

    Raises:
        CheckpointError: It does not fit; every variable that does not is named. See `tf_stylegan`.
    """
    what = f"{archive.path} ({NAME})"
    found = networks(archive.content)
    variant = _encoder_variant(found[0])
    if variant is None:
        return read_members(members(archive.content), what=what, key=key, network=network)
    consumer = Consumer(variables(found[0]), what=f"{what}, network E", key=key)
    encoder = (read_encoder_a if variant == "A" else read_encoder_c)(consumer)
    held = members(found[1:]) if len(found) > 1 else {}
    rest = read_members(held, what=what, key=key, network=network)
    meta = {**rest.meta, "networks": ["E", *held], "encoder": variant}
    return Networks(
        rest.generator, rest.discriminator, encoder, latent_avg=rest.latent_avg, meta=meta
    )


def read_encoder_a(consumer: Consumer) -> Encoder:
    """Reads the encoder of April 2020 (v1): no biases, beta only, up to 1024 channels.

    TensorFlow's fused BN raises epsilon from 1e-5 to 1.001e-5; that is not carried over.
    """
    block = "encoder/encoder_res_block_{}"
    blocks = extent(consumer, "encoder/encoder_res_block_", "/")
    widths = base_encoder.widths(
        consumer,
        conv("encoder/input_image_stage/weight"),
        conv(f"{block.format(blocks - 1)}/conv2/weight"),
        blocks=blocks,
    )
    convs = {"backbone.stem": "encoder/input_image_stage"}
    norms = {"backbone.stem.norm": "encoder/input_image_stage/bn_input_stage"}
    for i in range(blocks):
        native, name = f"backbone.blocks.{i}", block.format(i)
        if widths[i] != widths[i + 1]:
            convs[f"{native}.shortcut"] = f"{name}/shortcut"
            norms[f"{native}.shortcut.norm"] = f"{name}/shortcut/shortcut_bn"
        for part, number in (("first", 1), ("second", 2)):
            convs[f"{native}.{part}"] = f"{name}/conv{number}"
            norms[f"{native}.{part}.norm"] = f"{name}/conv{number}/bn_{number}"
    norms["norm"] = "encoder/encoder_fc/fc_1"
    layout = _weights(convs, last="encoder/encoder_fc")
    inner = {native: f"{name}/BatchNorm" for native, name in norms.items()}
    return base_encoder.read_encoder(
        consumer,
        layout | norm_layout(inner, {"bias": "/beta"} | _MOVING),
        variant="v1",
        norm="batch",
        widths=widths,
    )


def read_encoder_c(consumer: Consumer) -> Encoder:
    """Reads the encoder of September 2020 (v2): 5×5 stem, biases, gamma and beta."""
    blocks = extent(consumer, "E_block_", "/")
    widths = base_encoder.widths(
        consumer,
        conv("FromImg/weight"),
        conv(f"E_block_{blocks - 1}/Convb/weight"),
        blocks=blocks,
    )
    convs, biases = {"backbone.stem": "FromImg"}, {"backbone.stem.conv": "FromImg"}
    norms = {"backbone.stem.norm": "FromImg", "norm": "Latent_out"}
    for i in range(blocks):
        native, name = f"backbone.blocks.{i}", f"E_block_{i}"
        if widths[i] != widths[i + 1]:
            convs[f"{native}.shortcut"] = f"{name}/Shortcut"
            norms[f"{native}.shortcut.norm"] = f"{name}/Shortcut"
        for part, letter in (("first", "a"), ("second", "b")):
            convs[f"{native}.{part}"] = f"{name}/Conv{letter}"
            biases[f"{native}.{part}.conv"] = f"{name}/Conv{letter}"
            norms[f"{native}.{part}.norm"] = f"{name}/Conv{letter}"
    biases["dense"] = "Latent_out"
    layout = _weights(convs, last="Latent_out")
    layout |= {f"{native}.bias": same(f"{name}/bias") for native, name in biases.items()}
    inner = {native: f"{name}/batch_norm" for native, name in norms.items()}
    return base_encoder.read_encoder(
        consumer,
        layout | norm_layout(inner, {"weight": "/gamma", "bias": "/beta"} | _MOVING),
        variant="v2",
        norm="sync",
        widths=widths,
    )


def _encoder_variant(network: Stored) -> str | None:
    """``"A"`` or ``"C"`` by its variables' names; None where it is no encoder of the authors'."""
    found: dict[str, Any] = variables(network)
    return "A" if _A in found else "C" if _C in found else None


def _weights(convs: dict[str, str], *, last: str) -> dict[str, Foreign]:
    """Where the weights of the convolutions and of the dense layer stand."""
    layout = {f"{native}.conv.weight": conv(f"{name}/weight") for native, name in convs.items()}
    return layout | {"dense.weight": dense(f"{last}/weight")}
