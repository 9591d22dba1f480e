"""What StyleGAN2's tensors say about its architecture, in any layout."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from idinvert.checkpoints.families.consume import Consumer

LARGEST = 4096
"""Side of the largest image for which a file is searched."""

BOTH = (".weight", ".bias")


def sides_present(
    consumer: Consumer, names: Callable[[int, int], Iterable[str]], *, parts: Sequence[str] = BOTH
) -> list[int]:
    """Lists 4, 8, … as far as the file goes.

    Args:
        consumer: The file's tensors.
        names: Index of a resolution (0 is 4 px) and its side to layers it always has.
        parts: Endings of the layers' tensors. One that is there tells the layer, so that another
            that is missing is missed.
    """
    sides: list[int] = []
    side = 4
    while side <= LARGEST and present(consumer, names(len(sides), side), parts=parts):
        sides.append(side)
        side *= 2
    return sides


def count(consumer: Consumer, name: Callable[[int], str], *, parts: Sequence[str] = ("",)) -> int:
    """How many of name(0), name(1), … the file holds before the first that is not there.

    Args:
        consumer: The file's tensors.
        name: Index to a tensor, or to a layer where `parts` are its tensors' endings.
        parts: Endings, of which one tells that the layer is there.
    """
    found = 0
    while present(consumer, [name(found)], parts=parts):
        found += 1
    return found


def present(consumer: Consumer, names: Iterable[str], *, parts: Sequence[str] = BOTH) -> bool:
    """Whether the file has a tensor of one of these layers."""
    return any(f"{name}{part}" in consumer for name in names for part in parts)


def generator_architecture(
    consumer: Consumer,
    *,
    sides: Sequence[int],
    wide: Sequence[str],
    style: str,
    dense: Sequence[str],
    embed: str | None,
    connections: str,
    transposed: bool = False,
    leading: int = 0,
    **choices: Any,
) -> dict[str, Any]:
    """Reads the arguments of `StyleGAN2Generator` off a file.

    Args:
        consumer: The file's tensors.
        sides: 4, 8, …, R.
        wide: One for each side: a convolution's weight whose outputs are that side's feature maps.
        style: The weight of a layer from w to style.
        dense: The weights of the mapping, in order.
        embed: The weight of the label's embedding, or None.
        connections: Architecture of the synthesis.
        transposed: Whether weights are stored TensorFlow's way, [in, out] and [k, k, in, out].
        leading: Dimensions before those of a convolution's weight.
        choices: Arguments that tensors do not tell.

    Raises:
        CheckpointError: A tensor that tells the architecture is missing or has odd dimensions.
    """
    if len(sides) < 2 or not dense:
        consumer.fail(
            f"no StyleGAN2 generator is to be found: {len(sides)} resolutions and {len(dense)} "
            "mapping layers, expected 2 or more and 1 or more"
        )
    out, into = (1, 0) if transposed else (0, 1)
    at = 3 if transposed else leading
    channels = [consumer.shape(name, ndim=4 + leading)[at] for name in wide]
    w_dim = consumer.shape(style, ndim=2)[into]
    widths = [consumer.shape(name, ndim=2) for name in dense]
    c_dim, embed_dim = 0, 0
    if embed is not None:
        size = consumer.shape(embed, ndim=2)
        c_dim, embed_dim = size[into], size[out]
    z_dim = widths[0][into] - embed_dim
    last = widths[-1][out]
    if z_dim < 1:
        consumer.fail(f"the mapping leaves z {z_dim} numbers, expected 1 or more")
    return {
        "resolution": sides[-1],
        "z_dim": z_dim,
        "w_dim": w_dim,
        "channels": channels,
        "mapping_depth": len(dense),
        "multi_w": last == 2 * len(sides) * w_dim,  # one w a layer
        "connections": connections,
        "mapping_width": _unless(widths[0][out] if len(dense) > 1 else w_dim, w_dim),
        "c_dim": c_dim,
        "embed_dim": _unless(embed_dim if c_dim else w_dim, w_dim),
        **choices,
    }


def discriminator_architecture(
    consumer: Consumer,
    *,
    sides: Sequence[int],
    wide: Sequence[str],
    last_conv: str,
    connections: str,
    embed: str | None = None,
    cmap: Sequence[str] = (),
    transposed: bool = False,
    **choices: Any,
) -> dict[str, Any]:
    """Reads the arguments of `StyleGAN2Discriminator` off a file.

    Args:
        consumer: The file's tensors.
        sides: 4, 8, …, R.
        wide: One for each side from 8 on: the first convolution's weight there.
        last_conv: The weight of the convolution at 4 px, behind the minibatch deviation.
        connections: Architecture.
        embed: The weight of the label's embedding, or None.
        cmap: The weights of the label's mapping, in order.
        transposed: Whether weights are stored TensorFlow's way.
        choices: Arguments that tensors do not tell.

    Raises:
        CheckpointError: A tensor that tells the architecture is missing or has odd dimensions.
    """
    if len(sides) < 2:
        consumer.fail("no StyleGAN2 discriminator is to be found, expected blocks from 8 px on")
    out, into = (1, 0) if transposed else (0, 1)
    size = consumer.shape(last_conv, ndim=4)
    last_out, last_in = (size[3], size[2]) if transposed else (size[0], size[1])
    if last_in < last_out:
        consumer.fail(f"{last_conv} has {last_in} inputs for {last_out} outputs, expected as many")
    at = 3 if transposed else 0
    channels = [last_out] + [consumer.shape(name, ndim=4)[at] for name in wide]
    labels: dict[str, Any] = {}
    if embed is not None:
        embedding = consumer.shape(embed, ndim=2)
        labels = {
            "c_dim": embedding[into],
            "cmap_dim": _unless(embedding[out], channels[0]),
            "cmap_depth": len(cmap),
        }
    return {
        "resolution": sides[-1],
        "channels": channels,
        "mbstd_channels": last_in - last_out,
        "connections": connections,
        **labels,
        **choices,
    }


def _unless(value: int, default: int) -> int | None:
    """None, which means the default, where it is the default."""
    return None if value == default else value
