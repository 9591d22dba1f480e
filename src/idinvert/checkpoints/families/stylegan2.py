"""Reads StyleGAN2's networks from any layout, with the architecture from shapes.

A layout is a function from a `Layer` to the table of its tensors: native name within the layer →
location in the file. Everything else follows from it: which tensors a file must contain, and the
architecture, which is inferred from the shapes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from idinvert.checkpoints.families.family import Part, positive_setting, require_colours
from idinvert.checkpoints.strict_loading import Source, StrictStateDict, Table, load
from idinvert.networks.generator import resolutions
from idinvert.networks.resample import fir_kernel
from idinvert.networks.stylegan2 import StyleGAN2Generator
from idinvert.networks.stylegan2_discriminator import StyleGAN2Discriminator

LARGEST = 4096
"""Side of the largest image considered when a file is read."""

_MOST_BLOCKS = LARGEST.bit_length() - 3
NOISE_MAPS = ("synthesis.noise_",)
NOISE = ("synthesis.noise_", ".noise_strength")
"""Parts of native names of the constant noise: the maps, and the maps with their strengths."""


@dataclass(frozen=True)
class Layer:
    """A layer of a generator or discriminator.

    Args:
        kind: In G ``dense`` and ``embed`` (mapping), ``const``, ``conv``, ``rgb`` and ``shortcut``;
            in D ``from_rgb``, ``conv0``, ``conv1``, ``shortcut``, ``conv``, ``fc``, ``out``, and
            ``dense`` and ``embed`` of the label's mapping.
        index: Index of the layer among those of its kind; for ``rgb`` and ``shortcut`` in G the
            index of the resolution (0 is 4 px), in D the index of the block, from the image on.
        side: Side of its images in pixels.
        native: Its name in the native network.
    """

    kind: str
    index: int = 0
    side: int = 4
    native: str = ""


Layout = Callable[[Layer], Table]


def smooth_filter(*, gain: float = 1.0) -> Tensor:
    """Returns StyleGAN2's only resampling filter, [1, 3, 3, 1] on both axes: [4, 4], sum gain."""
    return fir_kernel((1, 3, 3, 1)) * gain


def generator_layers(made: Mapping[str, Any]) -> Iterator[Layer]:
    """Yields the layers of a `StyleGAN2Generator` of this architecture."""
    skip, resnet = made["connections"] == "skip", made["connections"] == "resnet"
    for i in range(made["mapping_depth"]):
        yield Layer("dense", i, native=f"mapping.layers.{i}")
    if made["c_dim"] > 0:
        yield Layer("embed", native="mapping.embed")
    yield Layer("const", native="synthesis.const")
    sides = resolutions(made["resolution"])
    for b, side in enumerate(sides):
        for i in (2 * b - 1, 2 * b) if b else (0,):
            yield Layer("conv", i, side, f"synthesis.convs.{i}")
        if skip or side == sides[-1]:
            yield Layer("rgb", b, side, f"synthesis.to_rgb.{b if skip else 0}")
        if resnet and b:
            yield Layer("shortcut", b, side, f"synthesis.shortcuts.{b - 1}")


def discriminator_layers(made: Mapping[str, Any]) -> Iterator[Layer]:
    """Yields the layers of a `StyleGAN2Discriminator` of this architecture, or of StyleGAN's."""
    sides = resolutions(made["resolution"])[:0:-1]  # R, …, 8
    connections = made.get("connections", "orig")
    yield Layer("from_rgb", 0, sides[0], "from_rgb")
    for i, side in enumerate(sides):
        if connections == "skip":
            yield Layer("from_rgb", i + 1, side // 2, f"from_rgbs.{i}")
        yield Layer("conv0", i, side, f"blocks.{i}.conv0")
        yield Layer("conv1", i, side, f"blocks.{i}.conv1")
        if connections == "resnet":
            yield Layer("shortcut", i, side, f"blocks.{i}.skip")
    for kind in ("conv", "fc", "out"):
        yield Layer(kind, len(sides), native=kind)
    if made.get("c_dim", 0) > 0:
        yield Layer("embed", native="cmap.embed")
        for i in range(made["cmap_depth"]):
            yield Layer("dense", i, native=f"cmap.layers.{i}")


def w_avg_table(key: str, *, num_layers: int, w_dim: int, each_layer: bool = False) -> Table:
    """Returns the location of the mean code, [w_dim], or [L · w_dim] for one per layer."""
    return {
        "w_avg": Source(
            key,
            lambda mean: mean.reshape(-1, w_dim).expand(num_layers, w_dim),
            lambda w_avg: w_avg.reshape(-1) if each_layer else w_avg[0],
        )
    }


def read_generator(
    state: StrictStateDict,
    layout: Layout,
    *,
    w_avg: str | None,
    optional: tuple[str, ...] = (),
    connections: str | None = None,
    **choices: Any,
) -> StyleGAN2Generator:
    """Reads a generator.

    Args:
        state: The file's tensors.
        layout: Location of the tensors.
        w_avg: Key of the mean code; None if the file has none, which leaves it 0.
        optional: Tensors that may all be missing: `NOISE` or `NOISE_MAPS`.
        connections: Architecture of the synthesis; None infers it from the file.
        choices: Arguments of `StyleGAN2Generator` that cannot be inferred from tensors.

    Raises:
        CheckpointError: A tensor that determines the architecture is missing or has invalid
            dimensions, or tensors do not match.
    """
    made = _generator_architecture(state, layout, connections) | choices
    table = table_of(layout, generator_layers(made))
    absent = {"w_avg"} if w_avg is None else set()
    if w_avg is not None:
        table |= w_avg_table(
            w_avg,
            num_layers=2 * len(made["channels"]),
            w_dim=made["w_dim"],
            each_layer=made["multi_w"],
        )
    noise = {n: source for n, source in table.items() if any(part in n for part in optional)}
    if not state.holds(noise):
        absent |= noise.keys()
        table = {name: source for name, source in table.items() if name not in noise}
    return load(lambda: StyleGAN2Generator(**made), table, state, absent=absent)


def read_discriminator(
    state: StrictStateDict,
    layout: Layout,
    *,
    blocks: int | None = None,
    connections: str | None = None,
    **choices: Any,
) -> StyleGAN2Discriminator:
    """Reads a discriminator; see `read_generator`.

    ``blocks`` is the number of halvings of the image; None counts the blocks in the file.
    """
    if blocks is None:
        blocks = _count(state, lambda i: layout(Layer("conv0", i, 8 << i)), most=_MOST_BLOCKS)
    made = _discriminator_architecture(state, layout, blocks, connections) | choices
    table = table_of(layout, discriminator_layers(made))
    return load(lambda: StyleGAN2Discriminator(**made), table, state)


def _generator_architecture(
    state: StrictStateDict, layout: Layout, connections: str | None
) -> dict[str, Any]:
    count = _count(state, lambda b: layout(Layer("conv", 2 * b, 4 << b)), most=_MOST_BLOCKS + 1)
    depth = _count(state, lambda i: layout(Layer("dense", i)))
    if count < 2 or depth < 1:
        state.fail(
            f"no StyleGAN2 generator is to be found: {count} resolutions and {depth} "
            "mapping layers, expected 2 or more and 1 or more"
        )
    sides = [4 << b for b in range(count)]
    if connections is None:
        shortcuts = (layout(Layer("shortcut", b, side)) for b, side in enumerate(sides) if b)
        connections = "orig"
        if state.holds(layout(Layer("rgb"))):
            connections = "skip"
        elif any(state.holds(shortcut) for shortcut in shortcuts):
            connections = "resnet"
    top = layout(Layer("rgb", count - 1, sides[-1]))["weight"]
    if top.key in state:
        require_colours(state, state.native_shape(top, ndim=4)[0])
    weights = [layout(Layer("conv", 2 * b, side))["weight"] for b, side in enumerate(sides)]
    channels = [state.native_shape(weight, ndim=4)[0] for weight in weights]
    w_dim = state.native_shape(layout(Layer("conv"))["affine.weight"], ndim=2)[1]
    dense = [state.native_shape(layout(Layer("dense", i))["weight"], ndim=2) for i in range(depth)]
    embed = _embedding(state, layout)
    z_dim = dense[0][1] - embed[0]
    if z_dim < 1:
        state.fail(f"the mapping leaves z {z_dim} numbers, expected 1 or more")
    return {
        "resolution": sides[-1],
        "z_dim": z_dim,
        "w_dim": w_dim,
        "channels": channels,
        "mapping_depth": depth,
        "multi_w": dense[-1][0] == 2 * count * w_dim,  # one w per layer
        "connections": connections,
        "mapping_width": _unless(dense[0][0] if depth > 1 else w_dim, w_dim),
        "c_dim": embed[1],
        "embed_dim": _unless(embed[0] if embed[1] else w_dim, w_dim),
    }


def _discriminator_architecture(
    state: StrictStateDict, layout: Layout, blocks: int, connections: str | None
) -> dict[str, Any]:
    if blocks < 1:
        state.fail("no StyleGAN2 discriminator is to be found, expected blocks from 8 px on")
    blocks = min(blocks, _MOST_BLOCKS)
    sides = [4 << (blocks - i) for i in range(blocks)]  # R, …, 8
    if connections is None:
        shortcuts = (layout(Layer("shortcut", i, side)) for i, side in enumerate(sides))
        connections = "orig"
        if state.holds(layout(Layer("from_rgb", blocks, 4))):
            connections = "skip"
        elif any(state.holds(shortcut) for shortcut in shortcuts):
            connections = "resnet"
    first = layout(Layer("from_rgb", 0, sides[0]))["weight"]
    if first.key in state:
        require_colours(state, state.native_shape(first, ndim=4)[1])
    fc_width = state.native_shape(layout(Layer("fc", blocks))["weight"], ndim=2)[0]
    last = layout(Layer("conv", blocks))["weight"]
    last_out, last_in = state.native_shape(last, ndim=4)[:2]
    if last_in < last_out:
        state.fail(
            f"{last.key} has {last_in} inputs for {last_out} outputs, expected as many or more"
        )
    wide = [layout(Layer("conv0", i, side))["weight"] for i, side in enumerate(sides)]
    channels = [last_out, *(state.native_shape(weight, ndim=4)[0] for weight in reversed(wide))]
    labels: dict[str, Any] = {}
    embed = _embedding(state, layout)
    if embed[1]:
        labels = {
            "c_dim": embed[1],
            "cmap_dim": _unless(embed[0], channels[0]),
            "cmap_depth": _count(state, lambda i: layout(Layer("dense", i))),
        }
    return {
        "resolution": sides[0],
        "channels": channels,
        "mbstd_channels": last_in - last_out,
        "fc_width": _unless(fc_width, last_out),
        "connections": connections,
        **labels,
    }


def _embedding(state: StrictStateDict, layout: Layout) -> tuple[int, int]:
    """Returns outputs and inputs of the label's embedding, (0, 0) if there is none."""
    table = layout(Layer("embed"))
    if not table or not state.holds(table):
        return 0, 0
    out, into = state.native_shape(table["weight"], ndim=2)
    return out, into


def _count(state: StrictStateDict, table: Callable[[int], Table], *, most: int = 1 << 20) -> int:
    """Counts the tables 0, 1, … with a tensor in the file, before the first one without.

    One tensor is enough for a layer to count, so that its other missing tensors are reported.
    """
    found = 0
    while found < most and state.holds(table(found)):
        found += 1
    return found


def stylegan2_settings(
    part: Part, built: Mapping[str, Any], *, lr_mul: str = "mapping_lr_mul"
) -> dict[str, Any]:
    """Returns G's settings that tensors do not contain, from the user, `built` or the default."""
    clamp = {"conv_clamp": part.setting("conv_clamp", built, None)}
    rate = {lr_mul: part.setting("mapping_lr_mul", built, 0.01, key=lr_mul)}
    return {
        "conv_clamp": positive_setting(part.state, clamp, "conv_clamp", None),
        "mapping_lr_mul": positive_setting(part.state, rate, lr_mul, None),
    }


def table_of(layout: Layout, layers: Iterable[Layer]) -> Table:
    """Returns the location of every tensor of a network, except for the mean code."""
    found: Table = {}
    for layer in layers:
        for tensor, source in layout(layer).items():
            native = f"{layer.native}.{tensor}" if tensor else layer.native
            if tensor == "noise":  # not part of a layer in the native network
                native = f"synthesis.noise_{layer.index}"
            found[native] = source
    return found


def _unless(value: int, default: int) -> int | None:
    """Returns the value, or None (which means the default) if it equals the default."""
    return None if value == default else value
