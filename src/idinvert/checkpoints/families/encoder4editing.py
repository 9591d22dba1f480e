"""e4e, pSp, ReStyle and HyperStyle: ``.pt`` files that wrap rosinality's generator as a decoder.

The encoders of e4e and pSp are read too. ReStyle's encoder and HyperStyle's hypernetwork look at
the image and at its reconstruction, step by step; they are no encoders of one image, and are left.
"""

from collections.abc import Mapping
from typing import Any

from idinvert.checkpoints.families.consume import Consumer
from idinvert.checkpoints.families.networks import Networks, choose_generator
from idinvert.checkpoints.families.places import text_keys
from idinvert.checkpoints.families.psp_encoders import E4E, encoder_type, read_encoder
from idinvert.checkpoints.families.rosinality import read_generator, read_latent_avg
from idinvert.checkpoints.formats.archive import Archive

NAME = "encoder4editing"
_DECODER, _ENCODER = "decoder.", "encoder."
_MARKS = {
    "decoder.input.input",
    "decoder.conv1.conv.weight",
    "decoder.conv1.conv.modulation.weight",
}
_HYPERSTYLE = ("hypernet.", "w_encoder.")


def recognise(archive: Archive) -> bool:
    """Whether the file's state dict has a decoder of rosinality's."""
    return not _MARKS.isdisjoint(_state(archive.content))


def read(archive: Archive, *, key: str, network: str | None = None) -> Networks:
    """Reads the decoder as G, and E.

    Args:
        archive: The file.
        key: The config key that named it, for messages.
        network: ``"decoder"`` (default), the only one.

    Raises:
        CheckpointError: It does not fit; every tensor that does not is named.
    """
    content, state = archive.content, _state(archive.content)
    what = f"{archive.path} ({NAME})"
    choose_generator(["decoder"], ema="decoder", live="g", network=network, what=what, key=key)
    opts = text_keys(content.get("opts"))
    groups: dict[str, dict[str, Any]] = {p: {} for p in (_DECODER, _ENCODER, *_HYPERSTYLE)}
    strangers = {}
    for name, value in state.items():
        prefix = next((p for p in groups if name.startswith(p)), None)
        if prefix is None:
            strangers[name] = value
        else:
            groups[prefix][name.removeprefix(prefix)] = value
    Consumer(strangers, what=what, key=key).finish()
    consumer = Consumer(groups[_DECODER], what=f"{what}, network decoder", key=key)
    generator, meta = read_generator(consumer)
    latent_avg = read_latent_avg(content, generator=generator, what=what, key=key)
    tensors = groups[_ENCODER]
    meta |= {"network": "decoder", "encoder": _whose(groups, opts)}
    encoder = None
    if meta["encoder"] in ("e4e", "psp"):
        encoder = read_encoder(
            tensors,
            opts=opts,
            key=key,
            what=f"{what}, network encoder",
            num_layers=generator.num_layers,
            latent_avg=latent_avg,
        )
    return Networks(generator, None, encoder, latent_avg, meta)


def _state(content: Any) -> dict[str, Any]:
    return text_keys(text_keys(content).get("state_dict"))


def _whose(groups: Mapping[str, Mapping[str, Any]], opts: Mapping[str, Any]) -> str | None:
    """Whose encoder the file holds; ``"other"`` for one that does not stand on the image alone."""
    if any(groups[prefix] for prefix in _HYPERSTYLE):
        return "hyperstyle"
    if not groups[_ENCODER]:
        return None
    kind = encoder_type(groups[_ENCODER], opts=opts)
    return "other" if kind is None else "e4e" if kind == E4E else "psp"
