"""The one door for checkpoints: any family in, native networks out; nothing in a file is run."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from idinvert.checkpoints.assets import assets_folder
from idinvert.checkpoints.families import recognise
from idinvert.checkpoints.families.family import Networks
from idinvert.checkpoints.formats.read import read_archive
from idinvert.checkpoints.mean_code import SAMPLES, SEED, mean_code
from idinvert.checkpoints.release import FORMAT, fingerprint, load_network, read_header
from idinvert.errors import CheckpointError, IdinvertError

ROLES = ("generator", "discriminator", "encoder")
OWN_ROLES = ("generator", "discriminator", "attributes", "encoder")
"""What a bundle of this project holds, that which others stand on first."""
NATIVE = "idinvert"
SHIPPED = "shipped:"
_HEADER = 1 << 20  # bytes of a safetensors header that are searched for this project's format


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Networks):
    """What a checkpoint holds, as native networks in ``eval()`` that ask for no gradients.

    The mean code w̄ is [L, w_dim], stored or computed, and None without a generator.

    Args:
        family: Who wrote the file: a name of `idinvert.checkpoints.families.FAMILIES`, or
            ``"idinvert"`` for this project's release files.
        attributes: The attribute network that lies beside them in a bundle of this project.
    """

    family: str
    attributes: nn.Module | None = None

    @property
    def networks(self) -> dict[str, Any]:
        """The networks that are there, by role."""
        found = {role: getattr(self, role) for role in OWN_ROLES}
        return {role: network for role, network in found.items() if network is not None}


def open_checkpoint(
    path: str | Path, *, key: str = "path", network: str | None = None
) -> Checkpoint:
    """Opens a checkpoint of any known family; which one it is shows from its content.

    A mean code that the file lacks is computed from 100,000 samples with a fixed seed, and kept in
    the cache folder.

    Args:
        path: A file; a folder with ``generator.safetensors`` and the like, such as a run's; or
            ``shipped:<name>``.
        key: The config key that named it, for messages.
        network: Which generator, where a file holds several: ``"g_ema"`` (None means it) or
            ``"g"``.

    Raises:
        CheckpointError: No such file; not readable or not safe to read; of no known family; or
            tensors that do not fit. Nothing half-read is ever returned.
    """
    checkpoint = open_as_it_is(path, key=key, network=network)
    generator = checkpoint.generator
    if generator is None or checkpoint.latent_avg is not None:
        return checkpoint
    average = mean_code(generator)
    generator.w_avg.copy_(average)
    words = f"computed from {SAMPLES:,} samples, seed {SEED}"
    meta = checkpoint.meta | {"latent_avg": words}
    return replace(checkpoint, latent_avg=average.clone(), meta=meta)


def open_as_it_is(path: str | Path, *, key: str, network: str | None = None) -> Checkpoint:
    """As `open_checkpoint`, but a mean code that the file lacks is None."""
    place = Path(path).expanduser()
    if str(path).startswith(SHIPPED):
        place = assets_folder() / str(path).removeprefix(SHIPPED)
    if not place.exists():
        raise CheckpointError(f"{key}={path}: no such file or folder; change {key}")
    try:
        if place.is_dir() or is_native(place):
            return _open_native(place, key=key, network=network)
        return _open_foreign(place, key=key, network=network)
    except IdinvertError:
        raise
    # Whatever a damaged or hostile file makes a reader stumble over ends in the same words.
    except Exception as error:
        raise CheckpointError(
            f"{place}: cannot be read ({type(error).__name__}: {str(error)[:200]}); the file is "
            f"damaged or not what it seems; change {key}"
        ) from error


def is_native(path: Path) -> bool:
    """Whether a file is safetensors with a format of this project, complete or not."""
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = file.read(min(length, _HEADER))
    except OSError:
        return False
    return header[:1] == b"{" and b'"format":"idinvert-' in header


def _open_native(place: Path, *, key: str, network: str | None) -> Checkpoint:
    if network is not None:
        raise CheckpointError(
            f"{place}: got network {network!r}, but this project's files hold one network each; "
            "leave --network out"
        )
    files = {} if place.is_file() else _bundle(place)
    if place.is_file():
        files = {read_header(place, key=key).role: place}
    found = {role: files[role] for role in OWN_ROLES if role in files}
    if not found:
        there = f" (it holds {', '.join(files)})" if files else ""
        raise CheckpointError(
            f"{place}: holds none of {', '.join(OWN_ROLES)}{there}; expected a folder with "
            f"generator.safetensors and the like, or a checkpoint file; change {key}"
        )
    networks: dict[str, Any] = {
        role: load_network(file, key=key, expect=role) for role, file in found.items()
    }
    provenance = {role: read_header(file, key=key).provenance for role, file in found.items()}
    prints = {role: fingerprint(file) for role, file in found.items()}
    meta: dict[str, Any] = {"format": FORMAT, "fingerprints": prints, "provenance": provenance}
    generator = networks.get("generator")
    if generator is not None:
        meta["latent_avg"] = "stored"
    return Checkpoint(
        generator=generator,
        discriminator=networks.get("discriminator"),
        encoder=networks.get("encoder"),
        latent_avg=None if generator is None else generator.w_avg.clone(),
        family=NATIVE,
        meta=meta,
        attributes=networks.get("attributes"),
    )


def _bundle(folder: Path) -> dict[str, Path]:
    """The files of a bundle's or a run's folder, by role."""
    for place in (folder, folder / "weights"):
        files = {role: place / f"{role}.safetensors" for role in OWN_ROLES}
        files = {role: file for role, file in files.items() if file.is_file()}
        if files:
            return files
    return {}


def _open_foreign(place: Path, *, key: str, network: str | None) -> Checkpoint:
    archive = read_archive(place, key=key)
    family = recognise(archive, key=key)
    read = family.read(archive, key=key, network=network)
    meta, latent_avg = {"container": archive.kind, **read.meta}, None
    if read.generator is not None:
        stored = read.latent_avg is not None
        latent_avg = read.generator.w_avg.clone() if stored else None
        meta["latent_avg"] = "stored" if stored else "not in the file"
    read = replace(read, latent_avg=latent_avg, meta=meta)
    checkpoint = Checkpoint(**vars(read), family=family.name)
    for role, module in checkpoint.networks.items():
        _require_finite(module, role=role, place=place, key=key)
    return checkpoint


def _require_finite(module: nn.Module, *, role: str, place: Path, key: str) -> None:
    for name, tensor in module.state_dict().items():
        if not tensor.isfinite().all():
            raise CheckpointError(
                f"{place}: {name} of its {role} holds numbers that are not finite; the training "
                f"diverged or the file is damaged; change {key}"
            )
