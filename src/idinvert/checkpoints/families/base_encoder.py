"""The authors' own encoder from a file: what its variants A, B and C share."""

from collections.abc import Mapping

from torch import Tensor

from idinvert.checkpoints.families.consume import Consumer
from idinvert.checkpoints.families.layout import build
from idinvert.checkpoints.families.places import Foreign, native_shape, places, same
from idinvert.checkpoints.families.stylegan2_shapes import LARGEST
from idinvert.networks.encoder import Encoder

STATISTICS = {"running_mean": ".running_mean", "running_var": ".running_var"}


def norm_layout(norms: Mapping[str, str], tensors: Mapping[str, str]) -> dict[str, Foreign]:
    """Where the tensors of batch normalisations stand.

    Args:
        norms: Native name of a normalisation to the file's.
        tensors: Native name of each of its tensors (``weight`` is gamma, ``bias`` beta) to what the
            file puts behind the normalisation's name.
    """
    return {
        f"{native}.{kind}": same(f"{name}{suffix}")
        for native, name in norms.items()
        for kind, suffix in tensors.items()
    }


def read_encoder(
    consumer: Consumer,
    layout: Mapping[str, Foreign],
    *,
    variant: str,
    norm: str,
    widths: list[int],
    filters: Mapping[str, Tensor] | None = None,
) -> Encoder:
    """Reads an encoder and closes the consumer.

    Args:
        consumer: The file's tensors; whatever is of no use has been dropped.
        layout: Where all its tensors stand.
        variant: ``"v1"`` or ``"v2"`` of `BaseBackbone`.
        norm: ``"batch"`` or ``"sync"``, as it was trained.
        widths: Of the stem and of every residual block; see `widths`.
        filters: Tensors of the file that have only one right value.

    Raises:
        CheckpointError: The tensors do not fit.
    """
    blocks = len(widths) - 1
    num_layers = 2 * blocks + 2
    outputs = native_shape(consumer, layout["dense.weight"], ndim=2)[0]
    if outputs % num_layers:
        consumer.fail(
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
    return build(
        lambda: Encoder(
            backbone=backbone,
            num_layers=num_layers,
            w_dim=outputs // num_layers,
            norm=norm,
            head=variant,
        ),
        places(layout),
        consumer,
        filters=filters,
        absent=["w_offset"],
    )


def widths(consumer: Consumer, first: Foreign, last: Foreign, *, blocks: int) -> list[int]:
    """The feature maps of the stem and of every residual block: doubled up to those of the last.

    Args:
        consumer: The file's tensors.
        first: Where the stem's weight stands.
        last: Where that of the last block's second convolution stands.
        blocks: How many blocks there are.

    Raises:
        CheckpointError: No image of 8 … 4096 px has so many, or one of the two is not there.
    """
    most = LARGEST.bit_length() - 3
    if not 1 <= blocks <= most:
        consumer.fail(f"has {blocks} residual blocks, expected 1 … {most}")
    stem = native_shape(consumer, first, ndim=4)[0]
    widest = native_shape(consumer, last, ndim=4)[0]
    return [min(stem << i, widest) for i in range(blocks + 1)]
