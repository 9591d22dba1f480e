"""Native copies of foreign checkpoints: made once, cached, and looked up by content."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import nn

from idinvert.checkpoints.bundle import NOT_READ, checked_settings, not_read
from idinvert.checkpoints.checkpoint import Checkpoint, open_checkpoint
from idinvert.checkpoints.families import FAMILIES
from idinvert.checkpoints.release import FORMAT, opened_folder, save_network
from idinvert.data.content import file_hash
from idinvert.durable import damaged, write_sums
from idinvert.errors import CheckpointError
from idinvert.untrusted import memory_bytes

_DIGITS = 32  # digits of a sha256 in a folder's name
TRAINED_BY = {family.name: family.objective for family in FAMILIES if family.objective}
"""The objective of each family's encoders, as named in tables."""


def native_copies(
    path: Path, *, key: str, role: str | None = None, settings: Mapping[str, Any] | None = None
) -> Path:
    """Returns the folder with the native files of a foreign checkpoint, by role.

    The first call reads the file and writes the copies; later calls, of any process, only hash it.
    Copies made by other versions of the readers are not used.

    Args:
        path: A checkpoint of a foreign family.
        key: The config key that named it, for messages.
        role: The network that is needed, as in `open_checkpoint`.
        settings: As in `open_checkpoint`; each combination of settings has its own copies.

    Raises:
        CheckpointError: The file cannot be read, or the cache folder cannot be written.
    """
    if path.stat().st_size > memory_bytes():  # before the whole file is hashed
        raise CheckpointError(
            f"{path}: has more bytes than this machine has memory, expected a checkpoint; change "
            f"{key}"
        )
    digest = file_hash(path)
    if given := checked_settings(settings or {}):
        digest = hashlib.sha256(f"{digest} {json.dumps(given)}".encode()).hexdigest()
    folder = opened_folder() / f"{digest[:_DIGITS]}-{_readers()}"
    if folder.is_dir():
        if damaged(folder):
            print(f"{folder} is damaged, and made anew from {path}", flush=True)
        elif role is not None and (reason := not_read(folder).get(role)):
            raise CheckpointError(reason)
        else:
            return folder
        shutil.rmtree(folder, ignore_errors=True)
    checkpoint = open_checkpoint(path, key=key, role=role, settings=settings)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial.", dir=folder.parent))
        try:
            files = {role: partial / f"{role}.safetensors" for role in checkpoint.networks}
            write_networks(checkpoint, files, source=path, fingerprint=digest[:16])
            kept = list(files.values())
            if checkpoint.failed:
                kept.append(partial / NOT_READ)
                kept[-1].write_text(json.dumps(checkpoint.failed), encoding="utf-8")
            write_sums(partial, kept)
            os.chmod(partial, 0o755)
            _publish(partial, folder)
            for old in folder.parent.glob(f"{digest[:_DIGITS]}-*"):
                if old != folder:  # made by other versions of the readers
                    shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise CheckpointError(
            f"{path}: its native copy could not be written to {folder.parent} ({error}); free some "
            "space or set IDINVERT_CACHE to another folder"
        ) from error
    return folder


def write_networks(
    checkpoint: Checkpoint,
    files: Mapping[str, Path],
    *,
    source: Path,
    fingerprint: str | None,
    half: bool = False,
) -> dict[str, Path]:
    """Writes one release file per network, which form a bundle; roles without a file are left out.

    Args:
        checkpoint: The checkpoint to write.
        files: Output files, by role.
        source: The source file, for the provenance.
        fingerprint: Fingerprint of the generator in the provenance of networks that depend on it;
            None for the fingerprint of the file written here.
        half: Round to float16, see `save_network`.
    """
    known = checkpoint.meta.get("provenance", {})
    prints = checkpoint.meta.get("fingerprints", {})
    written: dict[str, str] = {}  # role to fingerprint
    copies: dict[str, str] = {}  # fingerprint of a network to that of its copy
    for role, file in files.items():  # roles that others depend on come first
        provenance = _copied(known.get(role, {}), provenance_of(checkpoint, source=source))
        if half:
            provenance["rounded"] = "float16"
        generator = (fingerprint if "generator" in checkpoint.networks else None) or written.get(
            "generator"
        )
        stands_on = _stands_on(role, provenance, copies=copies, generator=generator)
        provenance |= {"stands_on": stands_on} if stands_on else {}
        if role == "encoder" and "choices" not in provenance:
            provenance["choices"] = _choices(checkpoint)
        save_network(checkpoint.networks[role], file, provenance=provenance, half=half)
        written[role] = file_hash(file)[:16]
        if role in prints:
            copies[prints[role]] = written[role]
    return dict(files)


def _stands_on(
    role: str, provenance: dict[str, Any], *, copies: dict[str, str], generator: str | None
) -> dict[str, str]:
    """Returns fingerprints of the networks a copy was trained with, or of their copies if made."""
    known = provenance.get("stands_on", {})
    found = {name: copies.get(value, value) for name, value in known.items()}
    if generator is not None and role in ("discriminator", "encoder"):
        found.setdefault("generator", generator)
    return found


def _copied(known: dict[str, Any], copy: dict[str, Any]) -> dict[str, Any]:
    """Merges a file's own provenance into its copy's; its own source is kept as a nested source."""
    if "source" in known:
        copy = {"source": copy["source"] | {"source": known["source"]}}
    return known | copy


def provenance_of(checkpoint: Checkpoint, *, source: Path) -> dict[str, Any]:
    """Returns the provenance of a native file made from a foreign one; JSON-able."""
    known = {name: fact for name, fact in checkpoint.meta.items() if name != "provenance"}
    meta = json.loads(json.dumps(known, default=str))
    return {
        "source": {
            "family": checkpoint.family,
            "file": source.name,
            "sha256": file_hash(source) if source.is_file() else None,
            "meta": meta,
        }
    }


def _publish(partial: Path, folder: Path) -> None:
    """Renames a finished folder into place; if another process was first, its copy is kept."""
    try:
        os.rename(partial, folder)
    except OSError:
        if not folder.is_dir():
            raise


@lru_cache(maxsize=1)
def _readers() -> str:
    """Returns eight digits that change with the code that reads foreign files."""
    digest = hashlib.sha256(FORMAT.encode())
    here = Path(__file__).parent
    shared = (here / name for name in ("strict_loading.py", "style_encoders.py"))
    for file in sorted((*here.glob("families/*.py"), *here.glob("formats/*.py"), *shared)):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:8]


def _choices(checkpoint: Checkpoint) -> dict[str, Any]:
    """Returns the configuration choices of a published encoder, by which tables select."""
    choices: dict[str, Any] = {"encoder": _in_words(checkpoint.networks["encoder"])}
    choices["weights"] = checkpoint.family
    # The files of e4e and pSp say which of the two they are.
    objective = TRAINED_BY.get(checkpoint.family) or checkpoint.meta.get("encoder")
    if objective is not None:
        choices["objective"] = {"name": objective}
    if checkpoint.generator is not None:
        choices["generator"] = _in_words(checkpoint.generator)
    architecture = checkpoint.networks["encoder"].architecture
    choices["latent"] = {
        "space": architecture.get("latent", "w_plus"),
        "offset": "w_avg" if architecture.get("offset") else "none",
    }
    return choices


def _in_words(network: nn.Module) -> dict[str, Any]:
    backbone = getattr(network, "backbone", network)
    name = type(backbone).__module__.rsplit(".", 1)[-1].removeprefix("encoder_")
    scalars = {
        key: value
        for key, value in backbone.architecture.items()  # type: ignore[union-attr, operator]
        if isinstance(value, str | int | float | bool) and key != "class"
    }
    return {"name": name.removesuffix("_encoder")} | scalars
