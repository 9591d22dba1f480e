"""The one door for checkpoints: any family in, native networks out; nothing in a file is run."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from idinvert.checkpoints.bundle import ROLES, SHIPPED, assets_folder, is_native, native_files
from idinvert.checkpoints.mean_code import SAMPLES, SEED, mean_code
from idinvert.checkpoints.release import FORMAT, fingerprint, load_network, read_header
from idinvert.errors import CheckpointError, IdinvertError
from idinvert.untrusted import shown

NATIVE = "idinvert"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a checkpoint holds, as native networks in ``eval()`` that ask for no gradients.

    Args:
        generator: StyleGAN or StyleGAN2; None where the file holds none.
        discriminator: D, where the file holds it.
        encoder: E, where the file holds it.
        attributes: The attribute network that lies beside them in a bundle of this project.
        latent_avg: The mean code w̄, [L, w_dim] or [w_dim], float32, which a generator's `w_avg`
            carries as well; None where the file holds none, until `open_checkpoint` computes it.
        family: Who wrote the file: a name of `idinvert.checkpoints.families.FAMILIES`, or
            ``"idinvert"`` for this project's release files.
        meta: JSON-able facts for people: which network was taken, what else the file holds.
    """

    generator: Any = None
    discriminator: nn.Module | None = None
    encoder: Any = None
    attributes: nn.Module | None = None
    latent_avg: Tensor | None = None
    family: str = ""
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def networks(self) -> dict[str, Any]:
        """The networks that are there, by role."""
        found = {role: getattr(self, role) for role in ROLES}
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
            f"{place}: cannot be read ({type(error).__name__}: {shown(str(error))}); the file is "
            f"damaged or not what it seems; change {key}"
        ) from error


def _open_native(place: Path, *, key: str, network: str | None) -> Checkpoint:
    if network is not None:
        raise CheckpointError(
            f"{place}: got network {network!r}, but this project's files hold one network each; "
            "leave --network out"
        )
    if place.is_file():
        files = {read_header(place, key=key).role: place}
    else:
        files = native_files(place)
    found = {role: files[role] for role in ROLES if role in files}
    if not found:
        there = f" (it holds {', '.join(files)})" if files else ""
        raise CheckpointError(
            f"{place}: holds none of {', '.join(ROLES)}{there}; expected a folder with "
            f"generator.safetensors and the like, or a checkpoint file; change {key}"
        )
    networks: dict[str, Any] = {
        role: load_network(file, key=key, expect=role) for role, file in found.items()
    }
    provenance = {role: read_header(file, key=key).provenance for role, file in found.items()}
    prints = {role: fingerprint(file) for role, file in found.items()}
    meta: dict[str, Any] = {"format": FORMAT, "fingerprints": prints, "provenance": provenance}
    latent_avg = None
    if "generator" in networks:
        meta["latent_avg"] = "stored"
        latent_avg = networks["generator"].w_avg.clone()
    return Checkpoint(**networks, latent_avg=latent_avg, family=NATIVE, meta=meta)


def _open_foreign(place: Path, *, key: str, network: str | None) -> Checkpoint:
    from idinvert.checkpoints.families import recognise  # imports every family
    from idinvert.checkpoints.formats.read import read_archive

    archive = read_archive(place, key=key)
    family = recognise(archive, key=key)
    read = family.read(archive, key=key, network=network)
    meta, latent_avg = {"container": archive.kind, **read.meta}, None
    if read.generator is not None:
        stored = read.latent_avg is not None
        latent_avg = read.generator.w_avg.clone() if stored else None
        meta["latent_avg"] = "stored" if stored else "not in the file"
    checkpoint = replace(read, latent_avg=latent_avg, meta=meta, family=family.name)
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
