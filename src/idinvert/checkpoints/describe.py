"""Describes a checkpoint: family, architecture, content, and licence if known."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from idinvert.checkpoints.checkpoint import NATIVE, Checkpoint, open_as_it_is
from idinvert.checkpoints.families import FAMILIES
from idinvert.checkpoints.fetch import all_entries
from idinvert.data.content import file_hash


def describe(
    path: str | Path,
    *,
    key: str = "FILE",
    network: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns facts about a checkpoint; runs no code in the file and computes no mean code.

    Args:
        path: As in `idinvert.checkpoints.checkpoint.open_checkpoint`.
        key: Name of the argument that gave it, for messages.
        network: As in `open_checkpoint`.
        settings: As in `open_checkpoint`.

    Returns:
        JSON-able: ``file``, ``family``, ``networks`` by role (class, parameters, architecture),
        ``resolution``, ``num_layers`` and the like of the generator, ``meta``.

    Raises:
        CheckpointError: As in `open_checkpoint`.
    """
    checkpoint = open_as_it_is(path, key=key, network=network, settings=settings)
    facts: dict[str, Any] = {"file": str(path), "family": checkpoint.family}
    place = Path(path).expanduser()
    if place.is_file():
        facts["bytes"] = place.stat().st_size
        facts["sha256"] = file_hash(place)
        published = _published(place)
        facts["published_as"] = published.name if published else None
        facts["licence"] = published.licence if published else _licence(checkpoint)
    generator = checkpoint.generator
    if generator is not None:
        facts |= {
            "resolution": generator.resolution,
            "num_layers": generator.num_layers,
            "z_dim": generator.z_dim,
            "w_dim": generator.w_dim,
            "multi_w": generator.multi_w,
            "noise_maps": len(generator.noise_shapes),
        }
    facts["networks"] = {role: _network(module) for role, module in checkpoint.networks.items()}
    facts["not_read"] = checkpoint.failed
    facts["meta"] = checkpoint.meta
    return facts


def in_lines(facts: dict[str, Any]) -> list[str]:
    """Formats the facts as lines of text."""
    lines = [f"file          {facts['file']}"]
    if "bytes" in facts:
        lines.append(f"              {facts['bytes'] / 1e6:,.1f} MB, sha256 {facts['sha256']}")
    lines.append(f"family        {facts['family']}")
    if facts.get("published_as"):
        lines.append(f"published as  {facts['published_as']}")
    if "licence" in facts:
        lines.append(f"licence       {facts['licence']}")
    if "resolution" in facts:
        space = "one w a layer (multi-w)" if facts["multi_w"] else "one w for all layers"
        lines.append(
            f"generator     {facts['resolution']} px, L = {facts['num_layers']} layers, "
            f"z {facts['z_dim']}, w {facts['w_dim']}, {space}, {facts['noise_maps']} noise maps"
        )
    if "latent_avg" in facts["meta"]:
        lines.append(f"mean code     {_mean_code(facts['meta']['latent_avg'])}")
    for role, network in facts["networks"].items():
        lines.append(f"{role:13s} {network['class']}, {network['parameters']:,} parameters")
        lines += [f"                {name}: {v}" for name, v in network["architecture"].items()]
    for title in ("assumed", "given"):
        said = {name: _setting(v) for name, v in facts["meta"].get(title, {}).items()}
        if said:
            lines.append(f"{title:13s} {', '.join(f'{name}={v}' for name, v in said.items())}")
        if said and title == "assumed":
            options = " ".join(f"--{name.replace('_', '-')} VALUE" for name in said)
            lines.append("              the file does not say; if images look wrong, give")
            lines.append(f"              {options}")
    for role, reason in facts["not_read"].items():
        lines.append(f"not read      {role}: {reason}")
    missing = [
        role
        for role in ("generator", "discriminator", "encoder")
        if role not in facts["networks"] and role not in facts["not_read"]
    ]
    if missing:
        lines.append(f"not inside    {', '.join(missing)}")
    said_above = ("latent_avg", "assumed", "given")
    rest = {name: v for name, v in facts["meta"].items() if name not in said_above}
    lines += [f"meta          {name}: {_short(value)}" for name, value in rest.items()]
    return lines


def _network(module: Any) -> dict[str, Any]:
    return {
        "class": type(module).__name__,
        "parameters": sum(tensor.numel() for tensor in module.parameters()),
        "architecture": dict(module.architecture),
    }


def _published(place: Path) -> Any:
    """Returns the registry's entry with this file's sha256, if a full sha256 is known."""
    digest = file_hash(place)
    matches = [entry for entry in all_entries().values() if entry.sha256 == digest]
    return matches[0] if matches else None


def _licence(checkpoint: Checkpoint) -> str:
    """Returns the licence of the family's code; the licence of the weights may differ."""
    known = {family.name: family.licence for family in FAMILIES}
    if checkpoint.family in (NATIVE, "lightning"):
        return known["lightning"]
    return f"unknown for this file; the family's code: {known[checkpoint.family]}"


def _mean_code(words: str) -> str:
    if words == "not in the file":
        return "not in the file: computed from 100,000 samples where it is opened, and cached"
    return words


def _setting(value: Any) -> str:
    """Returns a setting as it is typed."""
    return (
        "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
