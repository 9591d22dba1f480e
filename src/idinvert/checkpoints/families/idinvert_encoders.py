"""Reads the authors' encoders: variants A and C (TensorFlow) and B (PyTorch).

A (April 2020) and B (July 2020) are the native v1, C (September 2020) is v2.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from idinvert.checkpoints.families.stylegan2 import LARGEST
from idinvert.checkpoints.families.tf_stylegan import conv, dense
from idinvert.checkpoints.strict_loading import Constant, Source, StrictStateDict, Table, load
from idinvert.networks.encoder import Encoder

STATISTICS = {"running_mean": ".running_mean", "running_var": ".running_var"}
_MOVING = {"running_mean": "/moving_mean", "running_var": "/moving_variance"}


Layout = Callable[[str, int], Table]
"""Maps a layer (stem, shortcut, first, second, dense) and its block to the location of its tensors:
``weight``, ``bias`` and the tensors of ``norm``."""


_BLOCK_A, _BLOCK_C = "encoder/encoder_res_block_", "E_block_"
_PLACES_A = {
    "stem": ("encoder/input_image_stage", "bn_input_stage/BatchNorm"),
    "shortcut": (f"{_BLOCK_A}{{i}}/shortcut", "shortcut_bn/BatchNorm"),
    "first": (f"{_BLOCK_A}{{i}}/conv1", "bn_1/BatchNorm"),
    "second": (f"{_BLOCK_A}{{i}}/conv2", "bn_2/BatchNorm"),
    "dense": ("encoder/encoder_fc", "fc_1/BatchNorm"),
}
_PLACES_C = {
    "stem": ("FromImg", "batch_norm"),
    "shortcut": (f"{_BLOCK_C}{{i}}/Shortcut", "batch_norm"),
    "first": (f"{_BLOCK_C}{{i}}/Conva", "batch_norm"),
    "second": (f"{_BLOCK_C}{{i}}/Convb", "batch_norm"),
    "dense": ("Latent_out", "batch_norm"),
}


def read_encoder_a(state: StrictStateDict) -> Encoder:
    """Reads the encoder of April 2020 (v1): no biases, beta only, up to 1024 channels.

    TensorFlow's fused BN raises epsilon from 1e-5 to 1.001e-5; this is not reproduced.

    Raises:
        CheckpointError: The tensors do not match.
    """
    layout = _tensorflow(_PLACES_A, {"bias": "/beta"} | _MOVING)
    return _read(state, layout, blocks=state.extent(_BLOCK_A, "/"), variant="v1", norm="batch")


def read_encoder_b(state: StrictStateDict) -> Encoder:
    """Reads the encoder of the PyTorch release (v1): A's layout, with the differences below.

    Each convolution of a branch has a bias, and the dense layer a factor. The bias before BN is
    merged into the running mean, with the same effect; the dense layer's factor 1 / √in is merged
    into its weight. Gamma is frozen at 1.

    Raises:
        CheckpointError: The tensors do not match.
    """
    blocks = state.extent("block") - 2

    def layout(layer: str, i: int) -> Table:
        block = {"stem": "block0", "dense": f"block{blocks + 1}"}.get(layer, f"block{i + 1}")
        number = {"first": "1", "second": "2"}.get(layer, "")
        norm = f"{block}.bn{number}.bn"
        found: Table = {"weight": Source(f"{block}.conv{number}.weight")}
        if layer == "dense":
            factor = 1 / math.sqrt(state.shape(f"{block}.fc.weight", ndim=2)[1])
            key = f"{block}.fc.weight"
            found["weight"] = Source(key, lambda t: t * factor, lambda t: t / factor)
        found |= norm_table({"norm": norm}, STATISTICS | {"bias": ".bias"})
        if number:
            mean = f"{norm}.running_mean"
            found["norm.running_mean"] = _minus(mean, state, f"{block}.wscale{number}.bias")
        if f"{norm}.bias" in state:
            gamma = torch.ones(state.shape(f"{norm}.bias", ndim=1))
            found["norm.gamma"] = Constant(f"{norm}.weight", gamma)
        state.drop([f"{norm}.num_batches_tracked"])
        return found

    return _read(state, layout, blocks=blocks, variant="v1", norm="batch")


def read_encoder_c(state: StrictStateDict) -> Encoder:
    """Reads the encoder of September 2020 (v2): 5×5 stem, biases, gamma and beta.

    Raises:
        CheckpointError: The tensors do not match.
    """
    norm = {"weight": "/gamma", "bias": "/beta"} | _MOVING
    layout = _tensorflow(_PLACES_C, norm, biased=("stem", "first", "second", "dense"))
    return _read(state, layout, blocks=state.extent(_BLOCK_C, "/"), variant="v2", norm="sync")


def _tensorflow(
    places: Mapping[str, tuple[str, str]], norm: Mapping[str, str], *, biased: tuple[str, ...] = ()
) -> Layout:
    """Returns the layout of a TensorFlow encoder, given scopes of layers and normalisations."""

    def layout(layer: str, i: int) -> Table:
        own, inner = (scope.format(i=i) for scope in places[layer])
        found: Table = {"weight": (dense if layer == "dense" else conv)(f"{own}/weight")}
        found |= norm_table({"norm": f"{own}/{inner}"}, norm)
        return found | {"bias": Source(f"{own}/bias")} if layer in biased else found

    return layout


def norm_table(norms: Mapping[str, str], tensors: Mapping[str, str]) -> Table:
    """Returns the location of the tensors of batch normalisations.

    Args:
        norms: Native name of a normalisation to its name in the file.
        tensors: Native name of each of its tensors (``weight`` is gamma, ``bias`` beta) to its
            suffix after the normalisation's name in the file.
    """
    return {
        f"{native}.{kind}": Source(f"{name}{suffix}")
        for native, name in norms.items()
        for kind, suffix in tensors.items()
    }


def _read(
    state: StrictStateDict, layout: Layout, *, blocks: int, variant: str, norm: str
) -> Encoder:
    """Reads an encoder with a variant of `BaseBackbone`; ``norm`` is ``"batch"`` or ``"sync"``."""
    most = LARGEST.bit_length() - 3
    if not 1 <= blocks <= most:
        state.fail(f"has {blocks} residual blocks, expected 1 … {most}")
    stem = layout("stem", 0)
    branches = [{part: layout(part, i) for part in ("first", "second")} for i in range(blocks)]
    # The number of feature maps doubles from the stem up to the width of the last block.
    ends = (stem["weight"], branches[-1]["second"]["weight"])
    first, widest = (state.native_shape(weight, ndim=4)[0] for weight in ends)
    widths = [min(first << i, widest) for i in range(blocks + 1)]
    table = _named("backbone.stem", stem)
    for i, branch in enumerate(branches):
        if widths[i] != widths[i + 1]:
            branch["shortcut"] = layout("shortcut", i)
        for part, tensors in branch.items():
            table |= _named(f"backbone.blocks.{i}.{part}", tensors)
    for tensor, source in layout("dense", 0).items():
        table[tensor if tensor.startswith("norm.") else f"dense.{tensor}"] = source
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


def _named(native: str, tensors: Mapping[str, Source | Constant]) -> Table:
    """Returns the tensors of a convolution and its normalisation, by native name."""
    return {
        f"{native}.{tensor}" if tensor.startswith("norm.") else f"{native}.conv.{tensor}": source
        for tensor, source in tensors.items()
    }


def _minus(mean: str, state: StrictStateDict, bias: str) -> Source:
    """Returns a running mean from which a bias is subtracted when it is read."""
    shape = state.shape(mean, ndim=1) if mean in state else (0,)
    found = state.take(bias, shape=shape)
    return Source(mean, lambda t: t if found.is_meta else t - found)
