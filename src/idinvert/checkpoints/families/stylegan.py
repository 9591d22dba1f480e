"""Reads StyleGAN's generator and discriminator from any layout, with the architecture from shapes.

A layout is a function from a layer to the table of its tensors, as in `stylegan2`. The layers of G
are ``dense`` (mapping), ``conv`` (the ``weight`` of conv 0 is the constant) and ``rgb`` by
resolution; those of D are StyleGAN2's without shortcuts.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, NoReturn

from torch import Tensor

from idinvert.checkpoints.families import stylegan2
from idinvert.checkpoints.families.family import require_colours
from idinvert.checkpoints.strict_loading import Constant, Source, StrictStateDict, load
from idinvert.networks.resample import fir_kernel
from idinvert.networks.stylegan import FUSED_FROM, StyleGANGenerator
from idinvert.networks.stylegan_discriminator import StyleGANDiscriminator

NEVER_FUSED = 2 * stylegan2.LARGEST
_DEEPEST = 64


def layer_side(i: int) -> int:
    """Returns the side in pixels of layer i of the synthesis: 4, 4, 8, 8, …"""
    return 4 << (i // 2)


def blur(key: str, *, channels: int = 1) -> Constant:
    """Returns StyleGAN's only filter, [1, 2, 1] along both axes: [channels, 1, 3, 3]."""
    return Constant(key, fir_kernel((1, 2, 1))[None, None].expand(channels, 1, 3, 3))


def read_generator(
    state: StrictStateDict,
    layout: stylegan2.Layout,
    *,
    num_layers: int,
    depth: int,
    w_avg: str,
    lod: str,
    **choices: Any,
) -> tuple[StyleGANGenerator, Tensor | None]:
    """Reads a generator.

    Args:
        state: The file's tensors; irrelevant ones have been dropped.
        layout: Location of the tensors, except for `w_avg`.
        num_layers: L.
        depth: Number of layers of the mapping network.
        w_avg: Key of the mean code, [w_dim] or [L · w_dim].
        lod: Key of the level of detail, a number.
        choices: Arguments of `StyleGANGenerator` that cannot be inferred from tensors.

    Returns:
        The generator and its mean code, [w_dim] or [L, w_dim]. The mean code is None if M gives one
        w per layer and the file has a single mean, because this is the mean of layer 0, whose w are
        unrelated to those of other layers.

    Raises:
        CheckpointError: The tensors do not match, or the network was still growing.
    """
    _require_layers(state, num_layers, depth=depth)
    top = num_layers // 2 - 1
    for b in range(top):  # a grown network no longer uses the heads of lower resolutions
        state.drop(source.key for source in layout(stylegan2.Layer("rgb", b, 4 << b)).values())
    layers = [stylegan2.Layer("dense", i, native=f"mapping.layers.{i}") for i in range(depth)]
    layers.append(stylegan2.Layer("rgb", top, 4 << top, "synthesis.to_rgb"))
    table = stylegan2.table_of(layout, layers)
    for i in range(num_layers):
        for name, source in layout(stylegan2.Layer("conv", i, layer_side(i))).items():
            table[_native(name, i)] = source
    w_dim = state.native_shape(table["synthesis.epilogues.0.affine.weight"], ndim=2)[1]
    weights = [table[f"mapping.layers.{i}.weight"] for i in range(depth)]
    widths = [state.native_shape(weight, ndim=2) for weight in weights]
    multi_w = widths[-1][0] == num_layers * w_dim
    rgb = table["synthesis.to_rgb.weight"]
    if rgb.key in state:
        require_colours(state, state.native_shape(rgb, ndim=4)[0])
    made: dict[str, Any] = {
        "resolution": 4 << top,
        "z_dim": widths[0][1],
        "w_dim": w_dim,
        "channels": [_width(state, table, i) for i in range(0, num_layers, 2)],
        "mapping_depth": depth,
        "multi_w": multi_w,
        **choices,
    }
    if depth > 1 and widths[0][0] != w_dim:
        made["mapping_width"] = widths[0][0]
    each = w_avg in state and state.shape(w_avg, ndim=1)[0] != w_dim
    table |= stylegan2.w_avg_table(w_avg, num_layers=num_layers, w_dim=w_dim, each_layer=each)
    level = state.take(lod, shape=())
    generator = load(lambda: StyleGANGenerator(**made), table, state)
    _require_grown(state, level)
    if multi_w and not each:
        return generator, None
    return generator, (generator.w_avg if each else generator.w_avg[0]).clone()


def read_discriminator(
    state: StrictStateDict, layout: stylegan2.Layout, *, blocks: int, lod: str, mbstd_group: Any = 4
) -> StyleGANDiscriminator:
    """Reads a discriminator that halves the image ``blocks`` times; see `read_generator`.

    ``mbstd_group`` is as in `StyleGANDiscriminator`, with the file's value; 0 leaves it out.

    Raises:
        CheckpointError: The tensors do not match, it takes labels, or it was still growing.
    """
    _require_layers(state, 2 * blocks + 2, depth=1)
    if not isinstance(mbstd_group, int) or not 0 <= mbstd_group <= 1024:
        state.fail(f"has a minibatch deviation over {mbstd_group!r:.60}, expected a number")
    for i in range(1, blocks + 1):  # see `read_generator`
        state.drop(
            source.key
            for source in layout(stylegan2.Layer("from_rgb", i, 4 << blocks - i)).values()
        )
    table = stylegan2.table_of(layout, stylegan2.discriminator_layers({"resolution": 4 << blocks}))
    if table["from_rgb.weight"].key in state:
        require_colours(state, state.native_shape(table["from_rgb.weight"], ndim=4)[1])
    width, seen = state.native_shape(table["conv.weight"], ndim=4)[:2]
    fc_width = state.native_shape(table["fc.weight"], ndim=2)[0]
    if state.native_shape(table["out.weight"], ndim=2)[0] > 1:
        refuse_labels(state)
    convs = [table[f"blocks.{b}.conv0.bias"] for b in reversed(range(blocks))]
    made: dict[str, Any] = {
        "resolution": 4 << blocks,
        "channels": [width, *(state.native_shape(bias, ndim=1)[0] for bias in convs)],
        "mbstd_group": max(1, mbstd_group),
        "mbstd_channels": max(0, seen - width),
        "fc_width": None if fc_width == width else fc_width,
    }
    level = state.take(lod, shape=())
    discriminator = load(lambda: StyleGANDiscriminator(**made), table, state)
    _require_grown(state, level)
    return discriminator


def fused_from(state: StrictStateDict, fused_scale: Any, *, auto: Any = FUSED_FROM) -> int:
    """Returns the side from which upsampling layers are fused, for the file's ``fused_scale``.

    Raises:
        CheckpointError: It is neither ``"auto"``, which means ``auto``, nor a bool.
    """
    if isinstance(fused_scale, bool):
        return 8 if fused_scale else NEVER_FUSED
    if not isinstance(fused_scale, str) or fused_scale != "auto" or not isinstance(auto, int):
        state.fail(f"was built with fused_scale={fused_scale!r:.60}, expected 'auto' or a bool")
    return min(max(auto, 8), NEVER_FUSED)


def refuse_labels(state: StrictStateDict) -> NoReturn:
    """Refuses a network that takes labels."""
    state.fail("is conditioned on labels, expected an unconditional StyleGAN")


def _native(name: str, i: int) -> str:
    """Returns the native name of a tensor of layer i of the synthesis."""
    if name == "weight":
        return f"synthesis.convs.{i - 1}.weight" if i else "synthesis.const"
    return f"synthesis.noise_{i}" if name == "noise" else f"synthesis.epilogues.{i}.{name}"


def _width(state: StrictStateDict, table: Mapping[str, Source | Constant], i: int) -> int:
    """Returns the number of feature maps of layers i and i + 1, by a majority of their tensors.

    This way a single misshapen tensor is reported, and not all those that do not match it.
    """
    sizes = []
    for layer in (i, i + 1):
        for kind, times in (("bias", 1), ("affine.bias", 2)):
            name = table[f"synthesis.epilogues.{layer}.{kind}"].key
            if name in state:
                sizes.append(state.shape(name, ndim=1)[0] // times)
    if not sizes:
        state.shape(table[f"synthesis.epilogues.{i}.bias"].key, ndim=1)
    return max(1, Counter(sizes).most_common(1)[0][0])


def _require_layers(state: StrictStateDict, num_layers: int, *, depth: int) -> None:
    """Refuses a number of layers that no StyleGAN has."""
    if not 4 <= num_layers <= 2 * (stylegan2.LARGEST.bit_length() - 2) or num_layers % 2:
        state.fail(
            f"has {num_layers} layers, expected two for each of 4, 8, … up to 8 … "
            f"{stylegan2.LARGEST} px"
        )
    if not 1 <= depth <= _DEEPEST:
        state.fail(f"has {depth} mapping layers, expected 1 … {_DEEPEST}")


def _require_grown(state: StrictStateDict, lod: Tensor) -> None:
    """Refuses a network saved during progressive growing."""
    if not abs(float(lod)) <= 1e-6:
        state.fail(
            f"was saved while it was growing (level of detail {float(lod):.3g}), expected a "
            "finished network (0)"
        )
