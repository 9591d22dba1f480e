"""The authors' PyTorch release (``.pth``): StyleGAN with one w a layer, or its encoder.

Each file is one state dict. The encoder is their variant B: the layout of the first one (v1), with
a bias after each convolution of a branch and a factor on the dense layer.
"""

import math

import torch
from torch import Tensor

from idinvert.checkpoints.families import base_encoder
from idinvert.checkpoints.families import stylegan_parts as parts
from idinvert.checkpoints.families.base_encoder import STATISTICS, norm_layout
from idinvert.checkpoints.families.consume import Consumer
from idinvert.checkpoints.families.networks import Networks
from idinvert.checkpoints.families.places import Foreign, boxed, extent, same, text_keys, turned
from idinvert.checkpoints.formats.archive import Archive
from idinvert.networks.encoder import Encoder
from idinvert.networks.resample import fir_kernel
from idinvert.networks.stylegan import FUSED_FROM, StyleGANGenerator

NAME = "idinvert-pytorch"
_GENERATOR = "synthesis.layer0.epilogue.style_mod.dense.fc.weight"
_ENCODER = "block1.conv1.weight"


def recognise(archive: Archive) -> bool:
    """Whether the file is this layout's generator or encoder."""
    content = text_keys(archive.content)
    return _GENERATOR in content or _ENCODER in content


def read(archive: Archive, *, key: str, network: str | None = None) -> Networks:
    """Reads G or E; there is one of them in each file.

    Args:
        archive: The file.
        key: The config key that named it, for messages.
        network: Without effect: a file holds one generator, the averaged one.

    Raises:
        CheckpointError: It does not fit; every tensor that does not is named.
    """
    content = text_keys(archive.content)
    what = f"{archive.path} ({NAME})"
    if _GENERATOR not in content:
        encoder = read_encoder(Consumer(content, what=f"{what}, encoder", key=key))
        return Networks(None, encoder=encoder, meta={"networks": ["encoder"], "encoder": "B"})
    generator, w_avg = read_generator(Consumer(content, what=f"{what}, generator", key=key))
    meta = {"network": "generator", "networks": ["generator"]}
    return Networks(generator, latent_avg=w_avg, meta=meta)


def read_generator(consumer: Consumer) -> tuple[StyleGANGenerator, Tensor | None]:
    """Reads the generator; see `stylegan_parts.read_generator`.

    A fused layer keeps TensorFlow's order [k, k, in, out] under another name, so the file says from
    which resolution on layers are fused. tanh bounds the images, as the authors' settings have it.
    """
    if "mapping.label_weight" in consumer:
        parts.refuse_labels(consumer)
    num_layers = extent(consumer, "synthesis.layer")
    depth = extent(consumer, "mapping.dense")
    parts.require_layers(consumer, num_layers, depth=depth)
    top = num_layers // 2 - 1
    layout = parts.generator_layout(
        mapping=[
            (same(f"mapping.dense{i}.fc.weight"), same(f"mapping.dense{i}.wscale.bias"))
            for i in range(depth)
        ],
        layers=[_layer(consumer, i) for i in range(num_layers)],
        rgb=(same(f"synthesis.output{top}.conv.weight"), same(f"synthesis.output{top}.bias")),
    )
    kernel = fir_kernel((1, 2, 1))[None, None]
    filters = {}
    for i in range(2, num_layers, 2):
        width = consumer.shape(f"synthesis.layer{i}.epilogue.bias", ndim=1)[0]
        filters[f"synthesis.layer{i}.blur.kernel"] = kernel.expand(width, 1, 3, 3)
    parts.drop_lower(consumer, "synthesis.output", range(top), suffixes=(".conv.weight", ".bias"))
    consumer.drop(["truncation.truncation"])  # ψ of the authors' settings, which set it anew
    return parts.read_generator(
        consumer,
        layout,
        num_layers=num_layers,
        depth=depth,
        w_avg="truncation.w_avg",
        lod="synthesis.lod",
        filters=filters,
        final_tanh=True,
        fused_from=_fused_from(consumer, num_layers),
    )


def read_encoder(consumer: Consumer) -> Encoder:
    """Reads the encoder as v1.

    The bias before BN goes into the running mean, where it has the same effect; the dense layer's
    factor 1 / √in goes into its weight. Gamma is frozen at 1.

    Raises:
        CheckpointError: The tensors do not fit.
    """
    blocks = extent(consumer, "block") - 2
    widths = base_encoder.widths(
        consumer, same("block0.conv.weight"), same(f"block{blocks}.conv2.weight"), blocks=blocks
    )
    last = f"block{blocks + 1}"
    factor = 1 / math.sqrt(consumer.shape(f"{last}.fc.weight", ndim=2)[1])
    layout: dict[str, Foreign] = {
        "backbone.stem.conv.weight": same("block0.conv.weight"),
        "dense.weight": (f"{last}.fc.weight", lambda t: t * factor, lambda t: t / factor),
    }
    norms = {"backbone.stem.norm": "block0.bn.bn", "norm": f"{last}.bn.bn"}
    biases = {}
    for i in range(blocks):
        native, name = f"backbone.blocks.{i}", f"block{i + 1}"
        if widths[i] != widths[i + 1]:
            layout[f"{native}.shortcut.conv.weight"] = same(f"{name}.conv.weight")
            norms[f"{native}.shortcut.norm"] = f"{name}.bn.bn"
        for part, number in (("first", 1), ("second", 2)):
            layout[f"{native}.{part}.conv.weight"] = same(f"{name}.conv{number}.weight")
            norms[f"{native}.{part}.norm"] = f"{name}.bn{number}.bn"
            biases[f"{native}.{part}.norm.running_mean"] = f"{name}.wscale{number}.bias"
    layout |= norm_layout(norms, STATISTICS | {"bias": ".bias"})
    for native, name in biases.items():
        layout[native] = _less(layout[native], consumer, name)
    gammas = {}
    for name in norms.values():
        if f"{name}.bias" in consumer:
            gammas[f"{name}.weight"] = torch.ones(consumer.shape(f"{name}.bias", ndim=1))
        consumer.drop([f"{name}.num_batches_tracked"])
    return base_encoder.read_encoder(
        consumer, layout, variant="v1", norm="batch", widths=widths, filters=gammas
    )


def _less(mean: Foreign, consumer: Consumer, bias: str) -> Foreign:
    """Where a running mean stands, and what is taken off it as it becomes native."""
    shape = consumer.shape(mean[0], ndim=1) if mean[0] in consumer else (0,)
    found = consumer.take(bias, shape=shape)

    def read(t: Tensor) -> Tensor:
        return t if t.is_meta or found.is_meta else t - found

    return mean[0], read, mean[2]


def _layer(consumer: Consumer, i: int) -> dict[str, Foreign]:
    """Where the tensors of layer i of the synthesis stand."""
    name = f"synthesis.layer{i}"
    style = f"{name}.epilogue.style_mod.dense"
    weight = same(f"{name}.conv.weight")
    if i == 0:
        weight = boxed(f"{name}.const", before=1)
    elif f"{name}.weight" in consumer:
        weight = turned(f"{name}.weight", 3, 2, 0, 1)
    return {
        "weight": weight,
        "bias": same(f"{name}.epilogue.bias"),
        "noise": same(f"{name}.epilogue.apply_noise.noise"),
        "noise_weight": same(f"{name}.epilogue.apply_noise.weight"),
        "style_weight": same(f"{style}.fc.weight"),
        "style_bias": same(f"{style}.wscale.bias"),
    }


def _fused_from(consumer: Consumer, num_layers: int) -> int:
    """The side from which upsampling layers are fused, 128 where none is that large.

    Raises:
        CheckpointError: A fused layer stands below one that is not.
    """
    sides = parts.layer_sides(num_layers)
    up = {sides[i]: f"synthesis.layer{i}.weight" in consumer for i in range(2, num_layers, 2)}
    fused = [side for side, yes in up.items() if yes]
    plain = [side for side, yes in up.items() if not yes]
    if fused and plain and fused[0] < plain[-1]:
        consumer.fail(f"fuses its layer of {fused[0]} px and not that of {plain[-1]} px")
    if all(yes == (side >= FUSED_FROM) for side, yes in up.items()):
        return FUSED_FROM
    return fused[0] if fused else parts.NEVER_FUSED
