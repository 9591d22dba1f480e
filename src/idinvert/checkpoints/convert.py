"""Converts any checkpoint to this project's release files, or to layouts that other tools read.

The layouts of rosinality and NVlabs are dicts of plain state dicts, complete with filters, so that
``load_state_dict`` is strict: tensors, numbers and text, which
``torch.load(weights_only=True)`` reads.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from idinvert.checkpoints.bundle import ROLES
from idinvert.checkpoints.checkpoint import Checkpoint, open_checkpoint
from idinvert.checkpoints.families import nvlabs, rosinality
from idinvert.checkpoints.families.stylegan2 import (
    discriminator_layers,
    generator_layers,
    table_of,
    w_avg_table,
)
from idinvert.checkpoints.native_copies import write_networks
from idinvert.checkpoints.strict_loading import Constant, Table
from idinvert.durable import written_whole
from idinvert.errors import CheckpointError
from idinvert.networks.generator import widths
from idinvert.networks.stylegan2 import StyleGAN2Generator
from idinvert.networks.stylegan2_discriminator import StyleGAN2Discriminator

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
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Path]:
    """Converts a checkpoint.

    A native result that ends in ``.safetensors`` is the generator (or the only network); other
    networks are written beside it, as ``OUT.discriminator.safetensors`` and
    ``OUT.encoder.safetensors``, where ``generator.path=OUT.safetensors`` finds its D. Any other
    ``out`` is a folder with ``generator.safetensors`` and so on.

    Args:
        path: As in `open_checkpoint`.
        out: Output file or folder.
        to: ``"native"``, or ``"rosinality"`` or ``"nvlabs"``: one ``.pt`` file of tensors by name.
        network: As in `open_checkpoint`.
        role: Write only this network: one of `ROLES`.
        half: Round a native result to float16: half the size, loaded as float32.
        drop_clamp: Allow ``"rosinality"``, which has no conv_clamp, for a network that has one.
        force: Replace existing files.
        settings: As in `open_checkpoint`.

    Returns:
        The written files, by role.

    Raises:
        CheckpointError: The checkpoint cannot be opened, does not contain the role, cannot be
            written in that layout, does not fit float16, or an output file exists.
    """
    out = Path(out).expanduser()
    if to not in LAYOUTS:
        raise CheckpointError(f"--to {to}: expected one of {', '.join(LAYOUTS)}")
    if role is not None and role not in ROLES:
        raise CheckpointError(f"--role {role}: expected one of {', '.join(ROLES)}")
    if half and to != "native":
        raise CheckpointError(f"--half: is of this project's files; leave it or --to {to} out")
    checkpoint = open_checkpoint(path, key="FILE", network=network, role=role, settings=settings)
    if role is not None and role not in checkpoint.networks:
        raise CheckpointError(
            f"{path}: holds {' and '.join(checkpoint.networks)}, but no {role}; change --role"
        )
    for name, reason in checkpoint.failed.items() if role is None else ():
        print(f"{name} is left out: {reason}")
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
    """Writes G, and D unless it is left out, in the layout of another project."""
    if checkpoint.generator is None or role not in (None, "generator"):
        raise CheckpointError(
            f"--to {to}: such a file is a generator with its discriminator or without; expected a "
            "checkpoint with a generator, and no --role or --role generator"
        )
    pair = {"generator": checkpoint.generator}
    if checkpoint.discriminator is not None and role is None:
        pair["discriminator"] = checkpoint.discriminator
    for name in checkpoint.networks.keys() - pair.keys() if role is None else ():
        print(f"{name} is left out: the {to} layout has no place for it")
    content = to_nvlabs(**pair) if to == "nvlabs" else to_rosinality(**pair, drop_clamp=drop_clamp)
    made: dict[str, Any] = checkpoint.generator.architecture
    rule = {name: made[name] for name in ("channel_base", "channel_max")}
    own = widths(made["resolution"], made["channels"], **rule)
    theirs = rosinality.channel_multipliers(own)
    if not theirs if to == "rosinality" else "channels" in _nvlabs_channels(made):
        print(f"widths {own} follow no rule of {to}'s classes, which need them as a table")
    write_pt(content, out)
    return dict.fromkeys(pair, out)


def _files(checkpoint: Checkpoint, out: Path, *, role: str | None) -> dict[str, Path]:
    """Returns the output file of each network."""
    wanted = [role] if role is not None else list(checkpoint.networks)
    if out.suffix != _SUFFIX:
        return {name: out / f"{name}{_SUFFIX}" for name in wanted}
    stem = out.name.removesuffix(_SUFFIX)
    first = wanted[0]  # the generator, if there is one
    rest = {name: out.with_name(f"{stem}.{name}{_SUFFIX}") for name in wanted[1:]}
    return {first: out} | rest


def _require_free(files: Iterable[Path], *, force: bool) -> None:
    there = [str(file) for file in files if file.exists()]
    if there and not force:
        raise CheckpointError(f"{', '.join(there)} is there already; change OUT or add --force")


def to_rosinality(
    generator: nn.Module, *, discriminator: nn.Module | None = None, drop_clamp: bool = False
) -> dict[str, Any]:
    """Converts the networks to rosinality's ``.pt`` layout, which e4e, pSp and most editors read.

    rosinality's own class computes widths by a rule (``channel_multiplier``), so for networks of
    other widths its table must be changed.

    Args:
        generator: An unconditional `StyleGAN2Generator` with skip connections, one w for all
            layers, and z as wide as w.
        discriminator: An unconditional residual `StyleGAN2Discriminator`, or None.
        drop_clamp: Whether a bound on the layers' outputs (256 in NVlabs' half-precision models)
            may be left out; images change only where a layer exceeds it.

    Returns:
        ``{"g_ema": …, "latent_avg": …, "d": …}``: tensors by name. The mean code is [w_dim], or
        [L, w_dim] if it differs between layers; it is left out if it is unknown.

    Raises:
        CheckpointError: A network is of another class, or has a property not in that layout.
    """
    only: dict[str, Any] = {"c_dim": 0} | ({} if drop_clamp else {"conv_clamp": None})
    made = _architecture(
        generator,
        StyleGAN2Generator,
        target="rosinality",
        only={
            "multi_w": False,
            "connections": "skip",
            "z_dim": getattr(generator, "w_dim", None),
            "mapping_lr_mul": 0.01,
            "mapping_width": None,
            **only,
        },
    )
    table = table_of(rosinality.generator_layout, generator_layers(made))
    found: dict[str, Any] = {"g_ema": _lay_out(generator, table)}
    w_avg: Tensor = generator.get_buffer("w_avg")
    if w_avg.any():  # otherwise it was never measured
        same = torch.equal(w_avg, w_avg[:1].expand_as(w_avg))
        found["latent_avg"] = (w_avg[0] if same else w_avg).detach().cpu().clone()
    if discriminator is not None:
        made = _architecture(
            discriminator,
            StyleGAN2Discriminator,
            target="rosinality",
            only={
                "connections": "resnet",
                "mbstd_group": 4,
                "mbstd_channels": 1,
                "fc_width": None,
                **only,
            },
        )
        table = table_of(rosinality.discriminator_layout, discriminator_layers(made))
        found["d"] = _lay_out(discriminator, table)
    return found


def to_nvlabs(generator: nn.Module, *, discriminator: nn.Module | None = None) -> dict[str, Any]:
    """Converts the networks to the names of NVlabs' PyTorch repositories.

    ``Generator(**file["init_kwargs"]["G_ema"])`` and then ``load_state_dict(file["G_ema"])`` needs
    no pickled source.

    Args:
        generator: A `StyleGAN2Generator` with one w for all layers.
        discriminator: A `StyleGAN2Discriminator`, or None.

    Returns:
        ``{"G_ema": …, "D": …, "init_kwargs": {"G_ema": …, "D": …}}``: tensors, numbers and text.
        Widths that NVlabs' rule cannot produce are stored there as ``channels``.

    Raises:
        CheckpointError: A network is of another class, or has a property not in that layout.
    """
    only: dict[str, Any] = {"multi_w": False}
    made = _architecture(generator, StyleGAN2Generator, target="NVlabs", only=only)
    w_avg: Tensor = generator.get_buffer("w_avg")
    if not torch.equal(w_avg, w_avg[:1].expand_as(w_avg)):
        raise CheckpointError(
            "the NVlabs layout cannot hold this network: its mean code differs between layers "
            "(expected one w_avg for all); write the project's own format instead, a .safetensors "
            "file"
        )
    num_layers = 2 * (made["resolution"].bit_length() - 2)
    table = table_of(nvlabs.generator_layout, generator_layers(made))
    table |= w_avg_table(nvlabs.W_AVG, num_layers=num_layers, w_dim=made["w_dim"])
    found: dict[str, Any] = {
        "G_ema": _lay_out(generator, table),
        "init_kwargs": {"G_ema": _nvlabs_generator_arguments(made)},
    }
    if discriminator is not None:
        only = {"fc_width": None}
        made = _architecture(discriminator, StyleGAN2Discriminator, target="NVlabs", only=only)
        table = table_of(nvlabs.discriminator_layout, discriminator_layers(made))
        found["D"] = _lay_out(discriminator, table)
        found["init_kwargs"]["D"] = _nvlabs_discriminator_arguments(made)
    return found


def write_pt(content: dict[str, Any], path: Path) -> None:
    """Writes results of `to_rosinality` or `to_nvlabs` to a plain ``.pt``; see `written_whole`."""
    with written_whole(path) as temporary, open(temporary, "wb") as file:
        torch.save(content, file)


def _architecture(
    network: nn.Module, expected: type[nn.Module], *, target: str, only: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the architecture of a network if a layout can represent it.

    Raises:
        CheckpointError: It is not of the expected class, or an argument differs from the only value
            that the layout (`target`) supports.
    """
    if not isinstance(network, expected):
        judge = expected is StyleGAN2Discriminator
        advice = "leave the discriminator out" if judge else "export another generator"
        raise CheckpointError(f"{target} holds StyleGAN2, got a {type(network).__name__}; {advice}")
    made: dict[str, Any] = network.architecture  # type: ignore[assignment]
    wrong = [
        f"{name}={made[name]!r} (expected {value!r})"
        for name, value in only.items()
        if made[name] != value
    ]
    if wrong:
        raise CheckpointError(
            f"the {target} layout cannot hold this network: {', '.join(wrong)}; write the "
            "project's own format instead, a .safetensors file"
        )
    return made


def _lay_out(network: nn.Module, table: Table) -> dict[str, Tensor]:
    """Converts a network's tensors to the file's layout: the inverse of `strict_loading.load`.

    Returns:
        Name to tensor: contiguous, on the CPU, sharing no memory with the network.
    """
    own = network.state_dict()
    found = {
        entry.key: entry.value if isinstance(entry, Constant) else entry.write(own[name])
        for name, entry in table.items()
    }
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in found.items()
    }


def _nvlabs_generator_arguments(made: dict[str, Any]) -> dict[str, Any]:
    return {
        "z_dim": made["z_dim"],
        "c_dim": made["c_dim"],
        "w_dim": made["w_dim"],
        "img_resolution": made["resolution"],
        "img_channels": 3,
        "mapping_kwargs": {
            "num_layers": made["mapping_depth"],
            "embed_features": made["embed_dim"],
            "layer_features": made["mapping_width"],
            "lr_multiplier": made["mapping_lr_mul"],
        },
        "synthesis_kwargs": {
            **_nvlabs_channels(made),
            "architecture": made["connections"],
            "conv_clamp": made["conv_clamp"],
            "num_fp16_res": 0,
        },
    }


def _nvlabs_discriminator_arguments(made: dict[str, Any]) -> dict[str, Any]:
    found = {
        "c_dim": made["c_dim"],
        "img_resolution": made["resolution"],
        "img_channels": 3,
        "architecture": made["connections"],
        **_nvlabs_channels(made),
        "num_fp16_res": 0,
        "conv_clamp": made["conv_clamp"],
        "epilogue_kwargs": {
            "mbstd_group_size": made["mbstd_group"],
            "mbstd_num_channels": made["mbstd_channels"],
        },
    }
    if made["c_dim"] > 0:
        found["cmap_dim"] = made["cmap_dim"]
        found["mapping_kwargs"] = {
            "num_layers": made["cmap_depth"],
            "lr_multiplier": made["cmap_lr_mul"],
        }
    return found


def _nvlabs_channels(made: dict[str, Any]) -> dict[str, Any]:
    """Returns NVlabs' two numbers if they produce these widths, otherwise the widths."""
    rule = {"channel_base": made["channel_base"], "channel_max": made["channel_max"]}
    own = widths(made["resolution"], made["channels"], **rule)
    rule = {"channel_base": own[-1] * made["resolution"], "channel_max": max(own)}
    return rule if widths(made["resolution"], None, **rule) == own else {"channels": own}
