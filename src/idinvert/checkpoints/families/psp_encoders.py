"""The encoders of pSp and e4e from their ``.pt`` files, whose other half is rosinality's decoder.

Both name their tensors alike, so that only the options beside them tell a pSp from an e4e.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from idinvert.checkpoints.families.base_encoder import STATISTICS, norm_layout
from idinvert.checkpoints.families.consume import Consumer
from idinvert.checkpoints.families.layout import build
from idinvert.checkpoints.families.places import Foreign, extent, places, same
from idinvert.checkpoints.families.stylegan2_shapes import LARGEST
from idinvert.networks.e4e_encoder import E4eEncoder
from idinvert.networks.irse import IRSE50
from idinvert.networks.psp_encoder import PspEncoder

E4E, PSP, INTO_W = "Encoder4Editing", "GradualStyleEncoder", "BackboneEncoderUsingLastLayerIntoW"
KNOWN = (E4E, PSP, INTO_W)
_BATCH_NORM = STATISTICS | {"weight": ".weight", "bias": ".bias"}
_RGB = 3
_MOST_HALVINGS = 8


def encoder_type(tensors: Mapping[str, Any], *, opts: Mapping[str, Any]) -> str | None:
    """Which of `KNOWN` a file's encoder is; None for any other, such as ReStyle's or HyperStyle's.

    Args:
        tensors: The encoder's tensors, without the prefix ``encoder.``.
        opts: The options that the file stands with.
    """
    named = opts.get("encoder_type")
    first: tuple[int, ...] = getattr(tensors.get("input_layer.0.weight"), "shape", ())
    if named not in KNOWN or len(first) != 4 or first[1] != _RGB:
        return None
    return named


def read_encoder(
    tensors: Mapping[str, Any],
    *,
    opts: Mapping[str, Any],
    key: str,
    what: str = "encoder (pSp, e4e)",
    num_layers: int | None = None,
    latent_avg: Tensor | None = None,
) -> E4eEncoder | PspEncoder:
    """Reads an encoder.

    Args:
        tensors: The encoder's tensors, without the prefix ``encoder.``.
        opts: The options that the file stands with: ``encoder_type``, ``start_from_latent_avg``,
            ``dataset_type`` (e4e's cars are cropped), and where they are needed the sizes of G.
        key: The config key that named the file, for messages.
        what: The file, for messages.
        num_layers: L of the decoder; None reads it off the heads or the options.
        latent_avg: The mean code beside them, [w_dim] or [L, w_dim]; added where the options say.

    Returns:
        The encoder, in ``eval()`` and without gradients.

    Raises:
        CheckpointError: It is none of `KNOWN`; or it does not fit, and every tensor that does not
            is named; or the mean code that it adds is not there.
    """
    consumer = Consumer(tensors, what=what, key=key)
    kind = encoder_type(tensors, opts=opts)
    if kind is None:
        consumer.fail(
            f"is of type {opts.get('encoder_type')!r:.60} with an input layer "
            f"{_shape(tensors, 'input_layer.0.weight')}, expected one of {list(KNOWN)} on images"
        )
    channels = consumer.shape("input_layer.0.weight", ndim=4)[0]
    layout = body_layout()
    architecture: dict[str, Any] = {
        "channels": channels,
        "reduction": _reduction(consumer, channels=channels),
        "offset": bool(opts.get("start_from_latent_avg", latent_avg is not None)),
    }
    absent = ["w_offset"]
    if kind == INTO_W:
        layout |= {"linear.weight": same("linear.weight"), "linear.bias": same("linear.bias")}
        architecture |= {
            "latent": "w",
            "w_dim": consumer.shape("linear.weight", ndim=2)[0],
            "num_layers": num_layers or _layers_of(opts, consumer),
        }
    else:
        heads = extent(consumer, "styles.")
        sizes = _halvings(consumer, heads=heads)
        layout |= _head_layout(sizes)
        size = 16 << sizes[0]
        cars = "cars" in str(opts.get("dataset_type"))
        if cars and size < 64:
            consumer.fail(f"takes cars of {size} px, expected 64 or more")
        architecture |= {
            "w_dim": consumer.shape("styles.0.linear.weight", ndim=2)[0],
            "num_layers": heads,
            "input_size": size,
            "input_height": size * 3 // 4 if cars else None,
        }
    if kind == E4E:
        absent.append("unlocked")
    for name in [name for name in consumer.names() if name.endswith(".num_batches_tracked")]:
        consumer.drop([name])
    make = E4eEncoder if kind == E4E else PspEncoder
    encoder = build(lambda: make(**architecture), places(layout), consumer, absent=absent)
    _set_offset(encoder, latent_avg, consumer)
    return encoder


def body_layout() -> dict[str, Foreign]:
    """Where the tensors of the 50-layer body stand, under their names in an encoder."""
    layout = {
        "body.conv.weight": same("input_layer.0.weight"),
        "body.prelu.weight": same("input_layer.2.weight"),
    }
    norms = {"body.norm": "input_layer.1"}
    unit = 0
    for stage, units in enumerate(IRSE50):
        for i in range(units):
            native, name = f"body.stages.{stage}.{i}", f"body.{unit}"
            norms |= {
                f"{native}.norm0": f"{name}.res_layer.0",
                f"{native}.norm1": f"{name}.res_layer.4",
            }
            for tensor, place in (
                ("conv0", "res_layer.1"),
                ("prelu", "res_layer.2"),
                ("conv1", "res_layer.3"),
                ("attention.squeeze", "res_layer.5.fc1"),
                ("attention.excite", "res_layer.5.fc2"),
            ):
                layout[f"{native}.{tensor}.weight"] = same(f"{name}.{place}.weight")
            if stage > 0 and i == 0:  # the others keep their width, and take pixels as they are
                layout[f"{native}.shortcut.0.weight"] = same(f"{name}.shortcut_layer.0.weight")
                norms[f"{native}.shortcut.1"] = f"{name}.shortcut_layer.1"
            unit += 1
    return layout | norm_layout(norms, _BATCH_NORM)


def _head_layout(sizes: list[int]) -> dict[str, Foreign]:
    """Where the pyramid and the heads stand; a head halves its features so many times."""
    layout = {}
    for native, name in (("middle", "latlayer1"), ("fine", "latlayer2")):
        for kind in ("weight", "bias"):
            layout[f"pyramid.{native}.{kind}"] = same(f"{name}.{kind}")
    for i, size in enumerate(sizes):
        for kind in ("weight", "bias"):
            layout[f"heads.{i}.linear.{kind}"] = same(f"styles.{i}.linear.{kind}")
            for j in range(size):  # every second module is an activation
                layout[f"heads.{i}.convs.{j}.{kind}"] = same(f"styles.{i}.convs.{2 * j}.{kind}")
    return layout


def _halvings(consumer: Consumer, *, heads: int) -> list[int]:
    """How often each head halves its features, by the first head's count."""
    first = (extent(consumer, "styles.0.convs.") + 1) // 2
    if not 1 <= first <= _MOST_HALVINGS or not 4 <= heads <= 2 * LARGEST.bit_length():
        consumer.fail(
            f"has {heads} heads, the first of {first} convolutions, expected one for each layer of "
            "a generator, of 4 in the authors' files"
        )
    levels = [0] * 3 + [1] * 4 + [2] * heads
    return [first + level for level in levels[:heads]]


def _reduction(consumer: Consumer, *, channels: int) -> int:
    """How much narrower the hidden layer of squeeze and excitation is, 16 in the authors' files."""
    hidden = consumer.shape("body.0.res_layer.5.fc1.weight", ndim=4)[0]
    return max(1, channels // hidden)


def _layers_of(opts: Mapping[str, Any], consumer: Consumer) -> int:
    """L of the options' image size.

    Raises:
        CheckpointError: They say nothing of it.
    """
    for name in ("stylegan_size", "output_size"):
        size = opts.get(name)
        if isinstance(size, int) and 8 <= size <= LARGEST and not size & (size - 1):
            return 2 * size.bit_length() - 4
    consumer.fail("gives one w, and its options say no stylegan_size of the generator it is for")


def _set_offset(
    encoder: E4eEncoder | PspEncoder, latent_avg: Tensor | None, consumer: Consumer
) -> None:
    if not encoder.offset:
        return
    expected = (encoder.num_layers, encoder.w_dim)
    if latent_avg is None or tuple(latent_avg.shape) not in (expected, expected[1:]):
        found = None if latent_avg is None else tuple(latent_avg.shape)
        consumer.fail(f"adds a mean code to its codes, and latent_avg is {found}, not {expected}")
    encoder.set_offset(latent_avg)


def _shape(tensors: Mapping[str, Any], name: str) -> tuple[int, ...] | None:
    shape = getattr(tensors.get(name), "shape", None)
    return None if shape is None else tuple(shape)
