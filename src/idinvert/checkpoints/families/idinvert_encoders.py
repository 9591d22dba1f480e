"""The authors' own encoders from a file: variants A and C (TensorFlow) and B (PyTorch).

A (April 2020) and B (July 2020) are the native v1, C (September 2020) is v2.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch

from idinvert.checkpoints.families.strict_loading import (
    Constant,
    Source,
    StrictStateDict,
    load,
)
from idinvert.checkpoints.families.stylegan2 import LARGEST
from idinvert.checkpoints.families.tf_stylegan import conv, dense
from idinvert.networks.encoder import Encoder

STATISTICS = {"running_mean": ".running_mean", "running_var": ".running_var"}
_MOVING = {"running_mean": "/moving_mean", "running_var": "/moving_variance"}


def read_encoder_a(state: StrictStateDict) -> Encoder:
    """Reads the encoder of April 2020 (v1): no biases, beta only, up to 1024 channels.

    TensorFlow's fused BN raises epsilon from 1e-5 to 1.001e-5; that is not carried over.

    Raises:
        CheckpointError: The tensors do not fit.
    """
    stem, block = "encoder/input_image_stage", "encoder/encoder_res_block_{}"
    blocks = state.extent("encoder/encoder_res_block_", "/")
    last = conv(f"{block.format(blocks - 1)}/conv2/weight")
    widths = _widths(state, conv(f"{stem}/weight"), last, blocks=blocks)
    convs = {"backbone.stem": stem}
    norms = {"backbone.stem.norm": f"{stem}/bn_input_stage", "norm": "encoder/encoder_fc/fc_1"}
    for i in range(blocks):
        native, name = f"backbone.blocks.{i}", block.format(i)
        if widths[i] != widths[i + 1]:
            convs[f"{native}.shortcut"] = f"{name}/shortcut"
            norms[f"{native}.shortcut.norm"] = f"{name}/shortcut/shortcut_bn"
        for part, number in (("first", 1), ("second", 2)):
            convs[f"{native}.{part}"] = f"{name}/conv{number}"
            norms[f"{native}.{part}.norm"] = f"{name}/conv{number}/bn_{number}"
    inner = {native: f"{name}/BatchNorm" for native, name in norms.items()}
    table = _tf_weights(convs, last="encoder/encoder_fc")
    table |= norm_table(inner, {"bias": "/beta"} | _MOVING)
    return _read(state, table, variant="v1", norm="batch", widths=widths)


def read_encoder_b(state: StrictStateDict) -> Encoder:
    """Reads the encoder of the PyTorch release (v1): A's layout, and the differences below.

    Each convolution of a branch has a bias, and the dense layer a factor. The bias before BN goes
    into the running mean, where it has the same effect; the dense layer's factor 1 / √in goes into
    its weight. Gamma is frozen at 1.

    Raises:
        CheckpointError: The tensors do not fit.
    """
    blocks = state.extent("block") - 2
    stem, last = Source("block0.conv.weight"), f"block{blocks + 1}"
    widths = _widths(state, stem, Source(f"block{blocks}.conv2.weight"), blocks=blocks)
    factor = 1 / math.sqrt(state.shape(f"{last}.fc.weight", ndim=2)[1])
    table: dict[str, Source | Constant] = {
        "backbone.stem.conv.weight": stem,
        "dense.weight": Source(f"{last}.fc.weight", lambda t: t * factor, lambda t: t / factor),
    }
    norms = {"backbone.stem.norm": "block0.bn.bn", "norm": f"{last}.bn.bn"}
    biases = {}
    for i in range(blocks):
        native, name = f"backbone.blocks.{i}", f"block{i + 1}"
        if widths[i] != widths[i + 1]:
            table[f"{native}.shortcut.conv.weight"] = Source(f"{name}.conv.weight")
            norms[f"{native}.shortcut.norm"] = f"{name}.bn.bn"
        for part, number in (("first", 1), ("second", 2)):
            table[f"{native}.{part}.conv.weight"] = Source(f"{name}.conv{number}.weight")
            norms[f"{native}.{part}.norm"] = f"{name}.bn{number}.bn"
            biases[f"{native}.{part}.norm.running_mean"] = f"{name}.wscale{number}.bias"
    table |= norm_table(norms, STATISTICS | {"bias": ".bias"})
    for native, name in biases.items():
        table[native] = _minus(table[native].key, state, name)
    for name in norms.values():
        if f"{name}.bias" in state:
            gamma = torch.ones(state.shape(f"{name}.bias", ndim=1))
            table[f"{name}.gamma"] = Constant(f"{name}.weight", gamma)
        state.drop([f"{name}.num_batches_tracked"])
    return _read(state, table, variant="v1", norm="batch", widths=widths)


def read_encoder_c(state: StrictStateDict) -> Encoder:
    """Reads the encoder of September 2020 (v2): 5×5 stem, biases, gamma and beta.

    Raises:
        CheckpointError: The tensors do not fit.
    """
    blocks = state.extent("E_block_", "/")
    last = conv(f"E_block_{blocks - 1}/Convb/weight")
    widths = _widths(state, conv("FromImg/weight"), last, blocks=blocks)
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
    table = _tf_weights(convs, last="Latent_out")
    table |= {f"{native}.bias": Source(f"{name}/bias") for native, name in biases.items()}
    inner = {native: f"{name}/batch_norm" for native, name in norms.items()}
    table |= norm_table(inner, {"weight": "/gamma", "bias": "/beta"} | _MOVING)
    return _read(state, table, variant="v2", norm="sync", widths=widths)


def norm_table(
    norms: Mapping[str, str], tensors: Mapping[str, str]
) -> dict[str, Source | Constant]:
    """Where the tensors of batch normalisations are stored.

    Args:
        norms: Native name of a normalisation to the file's.
        tensors: Native name of each of its tensors (``weight`` is gamma, ``bias`` beta) to what the
            file puts behind the normalisation's name.
    """
    return {
        f"{native}.{kind}": Source(f"{name}{suffix}")
        for native, name in norms.items()
        for kind, suffix in tensors.items()
    }


def _read(
    state: StrictStateDict,
    table: dict[str, Source | Constant],
    *,
    variant: str,
    norm: str,
    widths: list[int],
) -> Encoder:
    """Reads an encoder.

    Args:
        state: The file's tensors; whatever is of no use has been dropped.
        table: Where they are stored.
        variant: ``"v1"`` or ``"v2"`` of `BaseBackbone`.
        norm: ``"batch"`` or ``"sync"``, as it was trained.
        widths: Of the stem and of every residual block.
    """
    blocks = len(widths) - 1
    num_layers = 2 * blocks + 2
    outputs = state.native_shape(table["dense.weight"], ndim=2)[0]
    if outputs % num_layers:
        state.fail(
            f"its dense layer gives {outputs} numbers, expected a multiple of {num_layers}: a code "
            "for each layer of the generator"
        )
    backbone = {
        "class": "BaseBackbone",
        "resolution": 4 << blocks,
        "variant": variant,
        "channels": widths[0],
        "channels_max": widths[-1],
        "norm": norm,
    }
    made: dict[str, Any] = {"num_layers": num_layers, "w_dim": outputs // num_layers}
    return load(
        lambda: Encoder(backbone=backbone, norm=norm, head=variant, **made),
        table,
        state,
        absent=["w_offset"],
    )


def _widths(state: StrictStateDict, first: Source, last: Source, *, blocks: int) -> list[int]:
    """The feature maps of the stem and of every residual block: doubled up to those of the last.

    Args:
        state: The file's tensors.
        first: Where the stem's weight is stored.
        last: Where that of the last block's second convolution is stored.
        blocks: How many blocks there are.

    Raises:
        CheckpointError: No image of 8 … 4096 px has so many, or one of the two is not there.
    """
    most = LARGEST.bit_length() - 3
    if not 1 <= blocks <= most:
        state.fail(f"has {blocks} residual blocks, expected 1 … {most}")
    stem, widest = state.native_shape(first, ndim=4)[0], state.native_shape(last, ndim=4)[0]
    return [min(stem << i, widest) for i in range(blocks + 1)]


def _tf_weights(convs: Mapping[str, str], *, last: str) -> dict[str, Source | Constant]:
    """Where the weights of the convolutions and of the dense layer are stored."""
    table: dict[str, Source | Constant] = {"dense.weight": dense(f"{last}/weight")}
    return table | {
        f"{native}.conv.weight": conv(f"{name}/weight") for native, name in convs.items()
    }


def _minus(mean: str, state: StrictStateDict, bias: str) -> Source:
    """A running mean from which a bias is subtracted as it becomes native."""
    shape = state.shape(mean, ndim=1) if mean in state else (0,)
    found = state.take(bias, shape=shape)
    return Source(mean, lambda t: t if t.is_meta or found.is_meta else t - found)
