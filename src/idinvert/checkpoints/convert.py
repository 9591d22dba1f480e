"""From any checkpoint to this project's release files, or out to layouts that other tools read."""

from collections.abc import Iterable
from pathlib import Path

from idinvert.checkpoints.checkpoint import OWN_ROLES, Checkpoint, open_checkpoint
from idinvert.checkpoints.export import to_nvlabs, to_rosinality, write_pt
from idinvert.checkpoints.opened import write_networks
from idinvert.errors import CheckpointError

LAYOUTS = ("native", "rosinality", "nvlabs")
_SUFFIX = ".safetensors"


def convert(
    path: str | Path,
    out: str | Path,
    *,
    to: str = "native",
    network: str | None = None,
    role: str | None = None,
    half: bool = False,
    drop_clamp: bool = False,
    force: bool = False,
) -> dict[str, Path]:
    """Converts a checkpoint.

    A native result that ends in ``.safetensors`` is the generator (or the one network there is);
    what else the checkpoint holds stands beside it, as ``OUT.discriminator.safetensors`` and
    ``OUT.encoder.safetensors``, where ``generator.path=OUT.safetensors`` finds its D. Any other
    ``out`` is a folder with ``generator.safetensors`` and so on.

    Args:
        path: As in `open_checkpoint`.
        out: Where to.
        to: ``"native"``, or ``"rosinality"`` or ``"nvlabs"``: one ``.pt`` file of tensors by name.
        network: As in `open_checkpoint`.
        role: Write only this network: one of `OWN_ROLES`.
        half: Round a native result to float16: half the size, loaded as float32.
        drop_clamp: Let ``"rosinality"``, which knows no conv_clamp, write a network that has one.
        force: Replace what is there.

    Returns:
        The files that were written, by role.

    Raises:
        CheckpointError: The checkpoint cannot be opened, does not hold the role, cannot be told in
            that layout, does not fit float16, or something stands where the result goes.
    """
    out = Path(out).expanduser()
    if to not in LAYOUTS:
        raise CheckpointError(f"--to {to}: expected one of {', '.join(LAYOUTS)}")
    if role is not None and role not in OWN_ROLES:
        raise CheckpointError(f"--role {role}: expected one of {', '.join(OWN_ROLES)}")
    if half and to != "native":
        raise CheckpointError(f"--half: is of this project's files; leave it or --to {to} out")
    checkpoint = open_checkpoint(path, key="FILE", network=network)
    _require_role(checkpoint, path, role)
    if to != "native":
        _require_free([out], force=force)
        return _export(checkpoint, out, to=to, role=role, drop_clamp=drop_clamp)
    files = _files(checkpoint, out, role=role)
    _require_free(files.values(), force=force)
    source = Path(path).expanduser()
    return write_networks(checkpoint, files, source=source, fingerprint=None, half=half)


def _export(
    checkpoint: Checkpoint, out: Path, *, to: str, role: str | None, drop_clamp: bool
) -> dict[str, Path]:
    """Writes G, and D unless it is left out, in a layout of others."""
    if checkpoint.generator is None or role not in (None, "generator"):
        raise CheckpointError(
            f"--to {to}: such a file is a generator with its discriminator or without; expected a "
            "checkpoint with a generator, and no --role or --role generator"
        )
    pair = {"generator": checkpoint.generator}
    if checkpoint.discriminator is not None and role is None:
        pair["discriminator"] = checkpoint.discriminator
    content = to_nvlabs(**pair) if to == "nvlabs" else to_rosinality(**pair, drop_clamp=drop_clamp)
    write_pt(content, out, key="OUT")
    return dict.fromkeys(pair, out)


def _files(checkpoint: Checkpoint, out: Path, *, role: str | None) -> dict[str, Path]:
    """Where each network goes."""
    wanted = [role] if role is not None else list(checkpoint.networks)
    if out.suffix != _SUFFIX:
        return {name: out / f"{name}{_SUFFIX}" for name in wanted}
    stem = out.name.removesuffix(_SUFFIX)
    first = wanted[0]  # the generator, where there is one
    rest = {name: out.with_name(f"{stem}.{name}{_SUFFIX}") for name in wanted[1:]}
    return {first: out} | rest


def _require_role(checkpoint: Checkpoint, path: str | Path, role: str | None) -> None:
    if role is not None and role not in checkpoint.networks:
        raise CheckpointError(
            f"{path}: holds {' and '.join(checkpoint.networks)}, but no {role}; change --role"
        )


def _require_free(files: Iterable[Path], *, force: bool) -> None:
    there = [str(file) for file in files if file.exists()]
    if there and not force:
        raise CheckpointError(f"{', '.join(there)} is there already; change OUT or add --force")
