"""StyleGAN's generator and discriminator from a file: what all its families share."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from torch import Tensor

from idinvert.checkpoints.families.consume import Consumer
from idinvert.checkpoints.families.layout import Place, build
from idinvert.checkpoints.families.places import Foreign, native_shape, places
from idinvert.checkpoints.families.stylegan2_shapes import LARGEST
from idinvert.networks.stylegan import FUSED_FROM, StyleGANGenerator
from idinvert.networks.stylegan_discriminator import StyleGANDiscriminator

NEVER_FUSED = 2 * LARGEST
_DEEPEST = 64


def layer_sides(num_layers: int) -> list[int]:
    """The side in pixels of every layer of the synthesis: 4, 4, 8, 8, …"""
    return [4 << (i // 2) for i in range(num_layers)]


def generator_layout(
    *,
    mapping: Sequence[tuple[Foreign, Foreign]],
    layers: Sequence[Mapping[str, Foreign]],
    rgb: tuple[Foreign, Foreign],
) -> dict[str, Foreign]:
    """Joins where the parts stand under their native names.

    Args:
        mapping: Weight and bias of every mapping layer.
        layers: For every layer of the synthesis its ``weight`` (``const`` in layer 0), ``bias``,
            ``noise``, ``noise_weight``, ``style_weight`` and ``style_bias``.
        rgb: Weight and bias of the last ToRGB.
    """
    found = {}
    for i, (weight, bias) in enumerate(mapping):
        found[f"mapping.layers.{i}.weight"] = weight
        found[f"mapping.layers.{i}.bias"] = bias
    for i, layer in enumerate(layers):
        name = f"synthesis.epilogues.{i}"
        found["synthesis.const" if i == 0 else f"synthesis.convs.{i - 1}.weight"] = layer["weight"]
        found[f"synthesis.noise_{i}"] = layer["noise"]
        found[f"{name}.noise_weight"] = layer["noise_weight"]
        found[f"{name}.bias"] = layer["bias"]
        found[f"{name}.affine.weight"] = layer["style_weight"]
        found[f"{name}.affine.bias"] = layer["style_bias"]
    found["synthesis.to_rgb.weight"], found["synthesis.to_rgb.bias"] = rgb
    return found


def read_generator(
    consumer: Consumer,
    layout: Mapping[str, Foreign],
    *,
    num_layers: int,
    depth: int,
    w_avg: str,
    lod: str,
    filters: Mapping[str, Tensor] | None = None,
    **choices: Any,
) -> tuple[StyleGANGenerator, Tensor | None]:
    """Reads a generator and closes the consumer.

    Args:
        consumer: The file's tensors; whatever is of no use has been dropped.
        layout: Where all tensors of the generator stand, but for `w_avg`.
        num_layers: L.
        depth: Layers of the mapping network.
        w_avg: Key of the mean code, [w_dim] or [L · w_dim].
        lod: Key of the level of detail, a number.
        filters: As in `layout.build`.
        choices: Arguments of `StyleGANGenerator` that tensors do not tell.

    Returns:
        The generator; and its mean code, [w_dim] or [L, w_dim]. That is None where M gives one w a
        layer and the file has a single mean: it is the mean of layer 0, whose w have nothing in
        common with those of the others.

    Raises:
        CheckpointError: The tensors do not fit, or the network was still growing.
    """
    require_layers(consumer, num_layers, depth=depth)
    w_dim = native_shape(consumer, layout["synthesis.epilogues.0.affine.weight"], ndim=2)[1]
    dense = [
        native_shape(consumer, layout[f"mapping.layers.{i}.weight"], ndim=2) for i in range(depth)
    ]
    multi_w = dense[-1][0] == num_layers * w_dim
    architecture: dict[str, Any] = {
        "resolution": layer_sides(num_layers)[-1],
        "z_dim": dense[0][1],
        "w_dim": w_dim,
        "channels": [_width(consumer, layout, i) for i in range(0, num_layers, 2)],
        "mapping_depth": depth,
        "multi_w": multi_w,
        **choices,
    }
    if depth > 1 and dense[0][0] != w_dim:
        architecture["mapping_width"] = dense[0][0]
    wide = w_avg in consumer and consumer.shape(w_avg, ndim=1)[0] != w_dim

    def read_mean(mean: Tensor) -> Tensor:
        return mean.reshape(-1, w_dim).expand(num_layers, w_dim)

    def write_mean(mean: Tensor) -> Tensor:
        return mean.reshape(-1) if wide else mean[0]

    level = consumer.take(lod, shape=())
    generator = build(
        lambda: StyleGANGenerator(**architecture),
        [*places(layout), Place("w_avg", w_avg, read_mean, write_mean)],
        consumer,
        filters=filters,
    )
    require_grown(consumer, level)
    if multi_w and not wide:
        return generator, None
    return generator, (generator.w_avg if wide else generator.w_avg[0]).clone()


def read_discriminator(
    consumer: Consumer,
    layout: Mapping[str, Foreign],
    *,
    blocks: int,
    lod: str,
    mbstd_group: Any = 4,
    filters: Mapping[str, Tensor] | None = None,
) -> StyleGANDiscriminator:
    """Reads a discriminator and closes the consumer.

    Args:
        consumer: The file's tensors; whatever is of no use has been dropped.
        layout: Where all its tensors stand.
        blocks: How often it halves the image.
        lod: Key of the level of detail, a number.
        mbstd_group: As in `StyleGANDiscriminator`, as the file says it; 0 leaves it out.
        filters: As in `layout.build`.

    Raises:
        CheckpointError: The tensors do not fit, it judges labels, or it was still growing.
    """
    require_layers(consumer, 2 * blocks + 2, depth=1)
    if not isinstance(mbstd_group, int) or not 0 <= mbstd_group <= 1024:
        consumer.fail(f"has a minibatch deviation over {mbstd_group!r:.60}, expected a number")
    width, seen = native_shape(consumer, layout["conv.weight"], ndim=4)[:2]
    fc_width = native_shape(consumer, layout["fc.weight"], ndim=2)[0]
    if native_shape(consumer, layout["out.weight"], ndim=2)[0] > 1:
        refuse_labels(consumer)
    architecture: dict[str, Any] = {
        "resolution": 4 << blocks,
        "channels": [width]
        + [
            consumer.shape(layout[f"blocks.{b}.conv0.bias"][0], ndim=1)[0]
            for b in reversed(range(blocks))
        ],
        "mbstd_group": max(1, mbstd_group),
        "mbstd_channels": max(0, seen - width),
        "fc_width": None if fc_width == width else fc_width,
    }
    level = consumer.take(lod, shape=())
    discriminator = build(
        lambda: StyleGANDiscriminator(**architecture), places(layout), consumer, filters=filters
    )
    require_grown(consumer, level)
    return discriminator


def _width(consumer: Consumer, layout: Mapping[str, Foreign], i: int) -> int:
    """The feature maps of layers i and i + 1, as most of their tensors have it.

    So a single one that is misshapen is named, and not all those that it does not fit.
    """
    sizes = []
    for layer in (i, i + 1):
        for kind, times in (("bias", 1), ("affine.bias", 2)):
            name = layout[f"synthesis.epilogues.{layer}.{kind}"][0]
            if name in consumer:
                sizes.append(consumer.shape(name, ndim=1)[0] // times)
    if not sizes:
        consumer.shape(layout[f"synthesis.epilogues.{i}.bias"][0], ndim=1)
    return max(1, Counter(sizes).most_common(1)[0][0])


def fused_from(consumer: Consumer, fused_scale: Any, *, auto: Any = FUSED_FROM) -> int:
    """The native number for ``fused_scale``: ``"auto"``, True or False.

    Args:
        consumer: For the complaint.
        fused_scale: As the file says it.
        auto: The side that ``"auto"`` means.

    Raises:
        CheckpointError: It is none of these.
    """
    if isinstance(fused_scale, bool):
        return 8 if fused_scale else NEVER_FUSED
    if not isinstance(fused_scale, str) or fused_scale != "auto" or not isinstance(auto, int):
        consumer.fail(f"was made with fused_scale={fused_scale!r:.60}, expected 'auto' or a bool")
    return min(max(auto, 8), NEVER_FUSED)


def require_layers(consumer: Consumer, num_layers: int, *, depth: int) -> None:
    """Refuses a count of layers that is no StyleGAN's.

    Raises:
        CheckpointError: Not two a resolution from 4 px to one of 8 … 4096 px, or M has not 1 … 64.
    """
    if not 4 <= num_layers <= 2 * (LARGEST.bit_length() - 2) or num_layers % 2:
        consumer.fail(
            f"has {num_layers} layers, expected two for each of 4, 8, … up to 8 … {LARGEST} px"
        )
    if not 1 <= depth <= _DEEPEST:
        consumer.fail(f"has {depth} mapping layers, expected 1 … {_DEEPEST}")


def require_grown(consumer: Consumer, lod: Tensor) -> None:
    """Refuses a network in the midst of progressive growing.

    Raises:
        CheckpointError: The level of detail is not 0.
    """
    if not abs(float(lod)) <= 1e-6:
        consumer.fail(
            f"was saved while it was growing (level of detail {float(lod):.3g}), expected a "
            "finished network (0)"
        )


def refuse_labels(consumer: Consumer) -> NoReturn:
    """Ends the reading of a network that takes labels.

    Raises:
        CheckpointError: Always.
    """
    consumer.fail("is conditioned on labels, expected an unconditional StyleGAN")


def drop_lower(
    consumer: Consumer, prefix: str, numbers: range, *, suffixes: tuple[str, ...]
) -> None:
    """Drops the heads of lower resolutions, which a grown network no longer looks at."""
    consumer.drop(f"{prefix}{n}{suffix}" for n in numbers for suffix in suffixes)
