"""e4e, pSp, ReStyle and HyperStyle: ``.pt`` files that wrap rosinality's generator as a decoder.

The encoders of e4e and pSp are read too. Both use the same tensor names, so only the options in the
file distinguish a pSp from an e4e. ReStyle's encoder and HyperStyle's hypernetwork take the image
and its reconstruction, iteratively; they do not encode a single image, and are not read.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from idinvert.checkpoints.checkpoint import Checkpoint
from idinvert.checkpoints.families.family import Family, choose_generator, unwrapped
from idinvert.checkpoints.families.idinvert_encoders import STATISTICS, norm_table
from idinvert.checkpoints.families.rosinality import read_generator, read_latent_avg
from idinvert.checkpoints.families.stylegan2 import LARGEST
from idinvert.checkpoints.formats.archive import Archive
from idinvert.checkpoints.strict_loading import (
    Source,
    StrictStateDict,
    Table,
    affine,
    load,
    text_keys,
)
from idinvert.errors import CheckpointError
from idinvert.networks.irse import IRSE50
from idinvert.networks.psp_encoder import E4eEncoder, PspEncoder

E4E, PSP, INTO_W = "Encoder4Editing", "GradualStyleEncoder", "BackboneEncoderUsingLastLayerIntoW"
KNOWN = (E4E, PSP, INTO_W)
_SINGLE = ("SingleStyleCodeEncoder", "WEncoder")  # e4e's and HyperStyle's names of `INTO_W`
_PARTS = {"input_layer", "body", "styles", "latlayer1", "latlayer2", "linear"}  # of `KNOWN`
_DECODER, _ENCODER = "decoder.", "encoder."
_HYPERSTYLE = ("hypernet.", "w_encoder.")
_FIRST = ("input_layer.0.weight", "conv1.weight")  # an encoder's first layer; ReStyle's ResNet
_MARKS = {
    *(f"{_ENCODER}{name}" for name in _FIRST),
    "encoder.latlayer1.weight",
    "decoder.input.input",
    "decoder.conv1.conv.weight",
    "decoder.conv1.conv.modulation.weight",
}
_BATCH_NORM = STATISTICS | {"weight": ".weight", "bias": ".bias"}
_RGB = 3
_MOST_HALVINGS = 8


def recognise(archive: Archive) -> bool:
    """Returns whether the file's state dict has a rosinality decoder or one of these encoders."""
    return bool(state_of(archive.content))


def read(archive: Archive, *, key: str, network: str | None = None) -> Checkpoint:
    """Reads the decoder as G, and E; ``network`` is ``"decoder"``, the only one.

    Raises:
        CheckpointError: Tensors do not match; the message names all of them.
    """
    content, tensors = archive.content, state_of(archive.content)
    what = f"{archive.path} ({FAMILY.name})"
    choose_generator(["decoder"], ema="decoder", live="g", network=network, what=what, key=key)
    opts = text_keys(content.get("opts"))
    groups: dict[str, dict[str, Any]] = {p: {} for p in (_DECODER, _ENCODER, *_HYPERSTYLE)}
    strangers = {}
    for name, value in tensors.items():
        prefix = next((p for p in groups if name.startswith(p)), None)
        if prefix is None:
            strangers[name] = value
        else:
            groups[prefix][name.removeprefix(prefix)] = value
    StrictStateDict(strangers, what=what, key=key).finish()
    generator = encoder = latent_avg = None
    meta: dict[str, Any] = {"network": "decoder", "encoder": _whose(groups, opts)}
    failed: dict[str, str] = {}
    if groups[_DECODER]:
        try:
            state = StrictStateDict(groups[_DECODER], what=f"{what}, network decoder", key=key)
            generator, facts = read_generator(state)
            latent_avg = read_latent_avg(content, generator=generator, what=what, key=key)
            meta |= facts
        except CheckpointError as error:
            failed["generator"] = str(error)
    named = f"{what}, network encoder"
    if meta["encoder"] in ("e4e", "psp"):
        found = content.get("latent_avg")
        try:
            encoder = read_encoder(
                groups[_ENCODER],
                opts=opts,
                key=key,
                what=named,
                num_layers=None if generator is None else generator.num_layers,
                latent_avg=found[0] if _is_row(found) else found if _is_mean(found) else None,
            )
        except CheckpointError as error:
            failed["encoder"] = str(error)
    elif meta["encoder"] is not None:
        failed["encoder"] = f"{named}: {_why_not(groups, opts)}"
    return Checkpoint(
        generator=generator, encoder=encoder, latent_avg=latent_avg, meta=meta, failed=failed
    )


FAMILY = Family(
    "encoder4editing",
    recognise,
    read,
    "MIT (omertov/encoder4editing, eladrich/pixel2style2pixel)",
)


def encoder_type(tensors: Mapping[str, Any], *, opts: Mapping[str, Any]) -> str | None:
    """Returns which of `KNOWN` a file's encoder is; None for others, such as ReStyle's.

    Tensors are named without the prefix ``encoder.``; ``opts`` are the options in the file.
    """
    named = opts.get("encoder_type")
    if named in _SINGLE:
        named = INTO_W
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
        opts: The options in the file: ``encoder_type``, ``start_from_latent_avg``,
            ``dataset_type`` (e4e's cars are cropped), and the sizes of G where they are needed.
        key: The config key that named the file, for messages.
        what: The file, for messages.
        num_layers: L of the decoder; None infers it from the heads or the options.
        latent_avg: The mean code in the file, [w_dim] or [L, w_dim]; added if the options say so.

    Returns:
        The encoder, in ``eval()`` and without gradients.

    Raises:
        CheckpointError: It is none of `KNOWN`; tensors do not match (the message names all of
            them); or the mean code that it adds is missing.
    """
    state = StrictStateDict(tensors, what=what, key=key)
    kind = encoder_type(tensors, opts=opts)
    if kind is None:
        shape = getattr(tensors.get("input_layer.0.weight"), "shape", None)
        first = None if shape is None else tuple(shape)
        state.fail(
            f"is of type {opts.get('encoder_type')!r:.60} with an input layer {first}, expected "
            f"one of {list(KNOWN)} on images"
        )
    channels = state.shape("input_layer.0.weight", ndim=4)[0]
    hidden = state.shape("body.0.res_layer.5.fc1.weight", ndim=4)[0]
    table = body_table()
    architecture: dict[str, Any] = {
        "channels": channels,
        "reduction": max(1, channels // hidden),  # 16 in the authors' files
        "offset": bool(opts.get("start_from_latent_avg", latent_avg is not None)),
    }
    absent = ["w_offset"]
    if kind == INTO_W:
        table |= _table("linear", "linear")
        architecture |= {
            "latent": "w",
            "w_dim": state.shape("linear.weight", ndim=2)[0],
            "num_layers": num_layers or _layers_of(opts, state),
        }
    else:
        heads = state.extent("styles.")
        sizes = _halvings(state, heads=heads)
        table |= _head_table(sizes)
        size = 16 << sizes[0]
        cars = "cars" in str(opts.get("dataset_type"))
        if cars and size < 64:
            state.fail(f"takes cars of {size} px, expected 64 or more")
        architecture |= {
            "w_dim": state.shape("styles.0.linear.weight", ndim=2)[0],
            "num_layers": heads,
            "input_size": size,
            "input_height": size * 3 // 4 if cars else None,
        }
    if kind == E4E:
        absent.append("unlocked")
    state.drop([name for name in state.names() if name.endswith(".num_batches_tracked")])
    make = E4eEncoder if kind == E4E else PspEncoder
    encoder = load(lambda: make(**architecture), table, state, absent=absent)
    if encoder.offset:
        expected = (encoder.num_layers, encoder.w_dim)
        found = None if latent_avg is None else tuple(latent_avg.shape)
        if latent_avg is None or found not in (expected, expected[1:]):
            state.fail(f"adds a mean code to its codes, and latent_avg is {found}, not {expected}")
        encoder.set_offset(latent_avg)
    return encoder


def body_table() -> Table:
    """Returns the location of the 50-layer body's tensors, by their names in an encoder."""
    table: Table = {
        "body.conv.weight": Source("input_layer.0.weight"),
        "body.prelu.weight": Source("input_layer.2.weight"),
    }
    norms = {"body.norm": "input_layer.1"}
    unit = 0
    for stage, units in enumerate(IRSE50):
        for i in range(units):
            native, name = f"body.stages.{stage}.{i}", f"body.{unit}"
            norms[f"{native}.norm0"] = f"{name}.res_layer.0"
            norms[f"{native}.norm1"] = f"{name}.res_layer.4"
            for tensor, place in (
                ("conv0", "res_layer.1"),
                ("prelu", "res_layer.2"),
                ("conv1", "res_layer.3"),
                ("attention.squeeze", "res_layer.5.fc1"),
                ("attention.excite", "res_layer.5.fc2"),
            ):
                table[f"{native}.{tensor}.weight"] = Source(f"{name}.{place}.weight")
            if stage > 0 and i == 0:  # other units keep their width and have no shortcut weights
                table[f"{native}.shortcut.0.weight"] = Source(f"{name}.shortcut_layer.0.weight")
                norms[f"{native}.shortcut.1"] = f"{name}.shortcut_layer.1"
            unit += 1
    return table | norm_table(norms, _BATCH_NORM)


def _head_table(sizes: list[int]) -> Table:
    """Returns the location of the pyramid and the heads, given each head's number of halvings."""
    table = _table("pyramid.middle", "latlayer1") | _table("pyramid.fine", "latlayer2")
    for i, size in enumerate(sizes):
        table |= _table(f"heads.{i}.linear", f"styles.{i}.linear")
        for j in range(size):  # every second module is an activation
            table |= _table(f"heads.{i}.convs.{j}", f"styles.{i}.convs.{2 * j}")
    return table


def _table(native: str, name: str) -> Table:
    """Returns the location of weight and bias of a layer."""
    return {f"{native}.{part}": source for part, source in affine(name).items()}


def _halvings(state: StrictStateDict, *, heads: int) -> list[int]:
    """Returns the number of halvings of each head, inferred from the first head."""
    first = (state.extent("styles.0.convs.") + 1) // 2
    if not 1 <= first <= _MOST_HALVINGS or not 4 <= heads <= 2 * LARGEST.bit_length():
        state.fail(
            f"has {heads} heads, the first of {first} convolutions, expected one for each layer of "
            "a generator, of 4 in the authors' files"
        )
    levels = [0] * 3 + [1] * 4 + [2] * heads
    return [first + level for level in levels[:heads]]


def _layers_of(opts: Mapping[str, Any], state: StrictStateDict) -> int:
    """Returns L for the image size in the options.

    Raises:
        CheckpointError: The options contain no size.
    """
    for name in ("stylegan_size", "output_size"):
        size = opts.get(name)
        if isinstance(size, int) and 8 <= size <= LARGEST and not size & (size - 1):
            return 2 * size.bit_length() - 4
    state.fail("gives one w, and its options say no stylegan_size of the generator it is for")


def state_of(content: Any) -> dict[str, Any]:
    """Returns the tensors of G and E in a file of this family, {} for any other file."""
    return unwrapped(content, _is_ours) or {}


def _is_ours(state: Mapping[str, Any]) -> bool:
    return not _MARKS.isdisjoint(state) or any(name.startswith(_HYPERSTYLE) for name in state)


def _whose(groups: Mapping[str, Mapping[str, Any]], opts: Mapping[str, Any]) -> str | None:
    """Returns whose encoder the file has; ``"other"`` for one that needs more than the image."""
    if any(groups[prefix] for prefix in _HYPERSTYLE):
        return "hyperstyle"
    if not groups[_ENCODER]:
        return None
    kind = encoder_type(groups[_ENCODER], opts=opts)
    if kind is None:
        return "other"
    return "e4e" if opts.get("encoder_type") in (E4E, *_SINGLE) else "psp"


def _why_not(groups: Mapping[str, Mapping[str, Any]], opts: Mapping[str, Any]) -> str:
    """Describes an encoder that cannot be read."""
    if any(groups[prefix] for prefix in _HYPERSTYLE):
        return (
            "is HyperStyle's hypernetwork, which changes the generator's weights for every image; "
            "no encoder here does"
        )
    tensors, named = groups[_ENCODER], opts.get("encoder_type")
    kind = f"of type {named!r:.60}"
    shapes: list[tuple[int, ...]] = [getattr(tensors.get(n), "shape", ()) for n in _FIRST]
    channels = next((shape[1] for shape in shapes if len(shape) == 4), _RGB)
    if channels == 2 * _RGB:
        return (
            f"is ReStyle's ({kind}): its input has 6 channels, the image and its reconstruction, "
            "and it goes in steps; encoders here take the image alone"
        )
    if channels != _RGB:
        return (
            f"{kind} takes inputs of {channels} channels, such as pSp's sketches (1) and "
            "segmentation maps (19); encoders here take RGB images"
        )
    if named is None:
        return (
            "the file's opts do not name its encoder_type, without which e4e's and pSp's cannot be "
            f"told apart; expected one of {', '.join(KNOWN)}"
        )
    own = dict.fromkeys(name.partition(".")[0] for name in tensors)
    layers = ", ".join(f"{part:.40}" for part in list(own) if part not in _PARTS)
    layers = f"layers ({layers:.120})" if layers else "layers"
    return f"is {kind}, whose {layers} no encoder here has; expected one of {', '.join(KNOWN)}"


def _is_mean(found: Any) -> bool:
    return isinstance(found, Tensor) and found.is_floating_point() and found.ndim in (1, 2)


def _is_row(found: Any) -> bool:
    return _is_mean(found) and found.ndim == 2 and len(found) == 1
