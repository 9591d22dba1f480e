"""The checkpoint families, and the detection of a file's family from its content."""

from collections.abc import Iterable
from typing import Any

from idinvert.checkpoints.families import (
    encoder4editing,
    genforce,
    idinvert,
    lightning,
    nvlabs,
    rosinality,
    tf_stylegan,
    tf_stylegan2,
)
from idinvert.checkpoints.families.family import Family, foreign_encoder, unwrapped
from idinvert.checkpoints.formats.archive import Archive, Stored
from idinvert.checkpoints.strict_loading import text_keys
from idinvert.errors import CheckpointError

FAMILIES: tuple[Family, ...] = (
    lightning.FAMILY,
    nvlabs.FAMILY,
    idinvert.TENSORFLOW,
    tf_stylegan.FAMILY,
    tf_stylegan2.FAMILY,
    encoder4editing.FAMILY,
    rosinality.FAMILY,
    genforce.STYLEGAN2,
    genforce.STYLEGAN,
    idinvert.PYTORCH,
)
"""Tried in this order; the first that recognises a file reads it."""

_SHOWN = 8  # maximum number of entries in a message


def recognise(archive: Archive, *, key: str) -> Family:
    """Returns the family that reads a file.

    Args:
        archive: The file's content.
        key: The config key that named it, for messages.

    Raises:
        CheckpointError: No family does, or the file is of a known kind that is not supported; the
            message says what is in the file and what is supported.
    """
    refuse_known(archive, key=key)
    for family in FAMILIES:
        if family.recognise(archive):
            return family
    raise CheckpointError(
        f"{archive.path}: is a readable {_container(archive)}, but of no checkpoint family that is "
        f"known here: it holds {in_words(archive.content)}.{_hint(archive.content)} Expected one "
        f"of {', '.join(family.name for family in FAMILIES)}, or this project's own files "
        f"(docs/checkpoints.md); change {key}"
    )


def in_words(content: Any) -> str:
    """Describes the content of a file briefly."""
    if isinstance(content, dict):
        names = _some(repr(name) if isinstance(name, str) else str(name) for name in content)
        return f"a dict of {len(content)} entries ({names})" if content else "an empty dict"
    if isinstance(content, list | tuple):
        kinds = _some(_kind(item) for item in content)
        return f"a {type(content).__name__} of {len(content)} ({kinds})"
    return _kind(content)


def _hint(content: Any) -> str:
    """Describes a file without generator and encoder, if its kind can be told."""
    if encoder := foreign_encoder(content, what="It"):
        return f" {encoder['encoder']}."
    arrays = not isinstance(content, dict | list | tuple | Stored) and hasattr(content, "shape")
    names = content if isinstance(content, dict) else {}
    if arrays or names.keys() & {"boundary", "lat_comp", "comp"}:
        return " That looks like edit directions, which tasks that edit take."
    own = names.keys() & {"synthesis.const", "from_rgb.weight"}
    if own or any(str(name).startswith("backbone.") for name in names):
        return (
            " That looks like a network of this project's own without its architecture: "
            "idinvert.checkpoints.release.save_network writes a file that opens."
        )
    if names.keys() & {"layer0.weight", "features.0.weight"}:
        return " That looks like a perceptual network: perceptual.network.path takes it."
    return ""


def _kind(item: Any) -> str:
    if isinstance(item, Stored):
        return f"an object {item.module}.{item.name}"
    shape = getattr(item, "shape", None)
    name = type(item).__name__
    return f"{name} {tuple(shape)}" if shape is not None else name


def _some(words: Iterable[str]) -> str:
    words = [word if len(word) <= 60 else f"{word[:60]}…" for word in words]
    rest = ", …" if len(words) > _SHOWN else ""
    return ", ".join(words[:_SHOWN]) + rest


def _container(archive: Archive) -> str:
    return {"torch_zip": "torch file", "torch_legacy": "torch file (before 1.6)"}.get(
        archive.kind, f"{archive.kind} file"
    )


_PGGAN = "PGGAN (Progressive GAN), which has no style codes to invert into"
_BACKBONE = "backbone.synthesis"  # EG3D's StyleGAN2, which generates feature planes
_READ = "expected a StyleGAN or StyleGAN2 generator"


def refuse_known(archive: Archive, *, key: str) -> None:
    """Refuses known networks that are not StyleGANs.

    Raises:
        CheckpointError: Names the network, and why it is not supported.
    """
    for found, name in ((_is_pggan, _PGGAN), (_is_eg3d, "EG3D, whose images are of a 3D scene")):
        if found(archive.content):
            raise CheckpointError(f"{archive.path}: is {name}; {_READ}; change {key}")


def _is_pggan(content: Any) -> bool:
    """Returns whether it is PGGAN of NVlabs (TensorFlow) or genforce, whose D has no filters."""
    for network in tf_stylegan.networks(content):
        if "4x4/Dense/weight" in tf_stylegan.variables(network):
            return True
    top = text_keys(content)
    held = text_keys(top.get("models")) or top
    names = ("generator_smooth", "generator", "discriminator")
    states = [unwrapped(held.get(name), bool) or {} for name in names]
    return any(_is_genforce_pggan(state) for state in (*states, unwrapped(held, bool) or {}))


def _is_genforce_pggan(state: dict[str, Any]) -> bool:
    for part in (".weight", ".conv.weight"):
        if {"lod", f"layer0{part}", f"output0{part}"} <= state.keys():
            return True
    judge = {"lod", "input1.weight", "layer1.weight"} <= state.keys()
    return judge and not any("blur" in name or "filter" in name for name in state)


def _is_eg3d(content: Any) -> bool:
    held = [content, *(text_keys(content).get(name) for name in ("G_ema", "G"))]
    parts = [text_keys(found.state) for found in held if isinstance(found, Stored)]
    if any("backbone" in text_keys(part.get("_modules")) for part in parts):
        return True
    return any(f"{_BACKBONE}.b4.const" in (unwrapped(found, bool) or {}) for found in held)
