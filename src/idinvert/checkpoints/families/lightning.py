"""Checkpoints of this project's own runs, as written by Lightning to ``RUN/checkpoints``."""

import importlib
from pathlib import Path
from typing import Any

from torch import nn

from idinvert.checkpoints.checkpoint import Checkpoint
from idinvert.checkpoints.families.family import Family
from idinvert.checkpoints.formats.archive import Archive
from idinvert.checkpoints.release import CLASSES, read_header
from idinvert.checkpoints.strict_loading import StrictStateDict, load
from idinvert.errors import CheckpointError

ARCHITECTURES = "idinvert_networks"
"""Key of a checkpoint for the class and the architecture of its networks, by role."""
_ROLES = ("generator", "discriminator", "encoder")


def recognise(archive: Archive) -> bool:
    """Returns whether it is a Lightning checkpoint, which contains Lightning's version."""
    content = archive.content
    return (
        isinstance(content, dict)
        and "pytorch-lightning_version" in content
        and isinstance(content.get("state_dict"), dict)
    )


def read(archive: Archive, *, key: str, network: str | None = None) -> Checkpoint:
    """Reads the networks that a run was training.

    Their architecture is in the checkpoint; for older checkpoints, it is in the run's release files
    (``RUN/weights``).

    ``network`` is ``"g_ema"`` (same as None), the averaged G of a GAN, or ``"g"``, G itself.

    Raises:
        CheckpointError: It contains no network of a known architecture, or tensors do not match.
    """
    if network not in (None, "g_ema", "g"):
        raise CheckpointError(
            f"{archive.path}: got network {network!r}, expected g_ema or g; change --network"
        )
    state = archive.content["state_dict"]
    found: dict[str, nn.Module] = {}
    provenance: dict[str, Any] = {}
    for role in _ROLES:
        prefix = _prefix(role, state, network=network)
        tensors = {
            str(name)[len(prefix) :]: value
            for name, value in state.items()
            if str(name).startswith(prefix)
        }
        if tensors:
            found[role] = _rebuild(archive, role, tensors, prefix=prefix, key=key)
            beside = _beside(archive, role)
            if beside.is_file():
                provenance[role] = read_header(beside, key=key).provenance
    if not found:
        raise CheckpointError(
            f"{archive.path}: is a Lightning checkpoint without a network of this project, "
            f"expected one that train.py wrote; change {key}"
        )
    meta: dict[str, Any] = {"network": network or "g_ema"} if "generator" in found else {}
    clock = state.get("clock._extra_state")
    if isinstance(clock, dict) and isinstance(clock.get("nimg"), int):
        meta["nimg"] = clock["nimg"]
        provenance = {role: known | {"nimg": meta["nimg"]} for role, known in provenance.items()}
    meta["provenance"] = provenance
    generator: Any = found.get("generator")
    return Checkpoint(
        generator=generator,
        discriminator=found.get("discriminator"),
        encoder=found.get("encoder"),
        latent_avg=None if generator is None else generator.w_avg.clone(),
        meta=meta,
    )


FAMILY = Family("lightning", recognise, read, "whatever its maker says: a network of this project")


def _prefix(role: str, state: dict[Any, Any], *, network: str | None) -> str:
    """Returns the prefix of a network's tensors; a GAN's averaged generator is ``average``."""
    averaged = any(str(name).startswith("average.") for name in state)
    if role == "generator" and network != "g" and averaged:
        return "average."
    return f"{role}."


def _rebuild(
    archive: Archive, role: str, tensors: dict[str, Any], *, prefix: str, key: str
) -> nn.Module:
    class_name, architecture = _architecture(archive, role, key=key)
    if class_name not in CLASSES or CLASSES[class_name][0] != role:
        raise CheckpointError(
            f"{archive.path}: names the class {class_name!r} as its {role}; change {key}"
        )
    cls = getattr(importlib.import_module(CLASSES[class_name][1]), class_name)
    state = StrictStateDict(tensors, what=f"{archive.path}, {prefix}*", key=key)
    return load(lambda: cls(**architecture), None, state)


def _beside(archive: Archive, role: str) -> Path:
    """Returns the run's own, newest release file of a network."""
    return archive.path.parent.parent / "weights" / f"{role}.safetensors"


def _architecture(archive: Archive, role: str, *, key: str) -> tuple[str, dict[str, Any]]:
    stored = archive.content.get(ARCHITECTURES)
    if isinstance(stored, dict) and isinstance(stored.get(role), dict):
        facts = stored[role]
        architecture = facts.get("architecture")
        if isinstance(architecture, dict):
            return str(facts.get("class")), architecture
    beside = _beside(archive, role)
    if not beside.is_file():
        raise CheckpointError(
            f"{archive.path}: does not say how its {role} is built, and its run's {beside} is not "
            f"there; set {key} to the run's folder or to a file of its weights folder"
        )
    header = read_header(beside, key=key)
    return header.class_name, header.architecture
