"""Entry point for all checkpoints: reads any family into native networks; runs no code in files."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from idinvert.checkpoints.bundle import (
    ROLES,
    SHIPPED,
    checked_settings,
    is_native,
    native_files,
    refuse_settings,
    shipped_place,
)
from idinvert.checkpoints.mean_code import SAMPLES, SEED, mean_code
from idinvert.checkpoints.release import FORMAT, fingerprint, load_network, read_header
from idinvert.errors import CheckpointError, IdinvertError
from idinvert.untrusted import shown

NATIVE = "idinvert"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The content of a checkpoint, as native networks in ``eval()`` that require no gradients.

    Args:
        generator: StyleGAN or StyleGAN2; None if the file has none.
        discriminator: D, if the file has one.
        encoder: E, if the file has one.
        attributes: The attribute network in a bundle of this project.
        segmenter: The segmenter in a bundle of this project.
        latent_avg: The mean code w̄, [L, w_dim] or [w_dim], float32, also stored in the generator's
            `w_avg`; None if the file has none, until `open_checkpoint` computes it.
        family: The source of the file: a name of `idinvert.checkpoints.families.FAMILIES`, or
            ``"idinvert"`` for this project's release files.
        meta: JSON-able information for users: which network was taken, what else the file has.
        failed: Roles that the file has but that could not be read, with the reason.
    """

    generator: Any = None
    discriminator: nn.Module | None = None
    encoder: Any = None
    attributes: nn.Module | None = None
    segmenter: nn.Module | None = None
    latent_avg: Tensor | None = None
    family: str = ""
    meta: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def require(self, role: str | None) -> None:
        """Raises a CheckpointError if this role (None: the generator) could not be read.

        If no network at all was read, the first reason is raised.
        """
        reason = self.failed.get(role or "generator")
        if reason is None and not self.networks:
            reason = next(iter(self.failed.values()), None)
        if reason is not None:
            raise CheckpointError(reason)

    @property
    def networks(self) -> dict[str, Any]:
        """The networks that are present, by role."""
        found = {role: getattr(self, role) for role in ROLES}
        return {role: network for role, network in found.items() if network is not None}


def open_checkpoint(
    path: str | Path,
    *,
    key: str = "path",
    network: str | None = None,
    role: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Checkpoint:
    """Opens a checkpoint of any known family, which is recognised from the content.

    A mean code that is missing in the file is computed from 100,000 samples with a fixed seed, and
    kept in the cache folder.

    Args:
        path: A file; a folder with ``generator.safetensors`` and the like, such as a run's; or
            ``shipped:<name>``.
        key: The config key that named it, for messages.
        network: Which generator to take if a file has several: ``"g_ema"`` (same as None) or
            ``"g"``.
        role: The network that is needed; None means the generator. Other networks that cannot be
            read are left out, with the reason in ``failed``.
        settings: Some of `bundle.SETTINGS`, if the generator's arguments differ from those in the
            file or from the assumed ones: ``fused_scale`` (bool or ``"auto"``), ``final_tanh``
            (bool), ``conv_clamp`` (above 0, or ``"none"``), ``mapping_lr_mul`` (above 0).

    Raises:
        CheckpointError: The file does not exist, is not readable or not safe to read, is of no
            known family, or has tensors that do not match. Partial results are never returned.
    """
    checkpoint = open_as_it_is(path, key=key, network=network, role=role, settings=settings)
    generator = checkpoint.generator
    if generator is None or checkpoint.latent_avg is not None:
        return checkpoint
    average = mean_code(generator)
    generator.w_avg.copy_(average)
    words = f"computed from {SAMPLES:,} samples, seed {SEED}"
    meta = checkpoint.meta | {"latent_avg": words}
    return replace(checkpoint, latent_avg=average.clone(), meta=meta)


def open_as_it_is(
    path: str | Path,
    *,
    key: str,
    network: str | None = None,
    role: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Checkpoint:
    """Like `open_checkpoint`, but a mean code that is missing in the file is None."""
    given = checked_settings(settings or {})
    place = Path(path).expanduser()
    if str(path).startswith(SHIPPED):
        place = shipped_place(str(path), key=key)
    if not place.exists():
        raise CheckpointError(f"{key}={path}: no such file or folder; change {key}")
    with one_error(place, key=key):
        if place.is_dir() or is_native(place):
            refuse_settings(given, (), f"{place} (this project's own)")
            return _open_native(place, key=key, network=network)
        return _open_foreign(place, key=key, network=network, role=role, given=given)


@contextlib.contextmanager
def one_error(place: Path, *, key: str) -> Iterator[None]:
    """Converts any exception raised by reading a damaged or hostile file to a CheckpointError."""
    try:
        yield
    except IdinvertError:
        raise
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


def _open_foreign(
    place: Path, *, key: str, network: str | None, role: str | None, given: dict[str, Any]
) -> Checkpoint:
    from idinvert.checkpoints.families import recognise  # imports every family
    from idinvert.checkpoints.formats.read import read_archive

    archive = read_archive(place, key=key)
    family = recognise(archive, key=key)
    refuse_settings(given, family.settings, f"{place} ({family.name})")
    read = family.read(replace(archive, given=given), key=key, network=network)
    meta, latent_avg = {"container": archive.kind, **read.meta}, None
    meta |= {"given": given} if given else {}
    if read.generator is not None:
        stored = read.latent_avg is not None
        latent_avg = read.generator.w_avg.clone() if stored else None
        meta["latent_avg"] = "stored" if stored else "not in the file"
    checkpoint = replace(read, latent_avg=latent_avg, meta=meta, family=family.name)
    for name, module in checkpoint.networks.items():
        try:
            _require_finite(module, role=name, place=place, key=key)
        except CheckpointError as error:
            checkpoint.failed[name] = str(error)
    checkpoint.require(role)
    unread: dict[str, Any] = dict.fromkeys(checkpoint.failed)
    return replace(checkpoint, **unread)


def _require_finite(module: nn.Module, *, role: str, place: Path, key: str) -> None:
    for name, tensor in module.state_dict().items():
        if not tensor.isfinite().all():
            raise CheckpointError(
                f"{place}: {name} of its {role} holds numbers that are not finite; the training "
                f"diverged or the file is damaged; change {key}"
            )
