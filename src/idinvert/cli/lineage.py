"""What a run or an evaluation stands on, as W&B's lineage has it: networks by hash, images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from idinvert.checkpoints.bundle import find_weights
from idinvert.checkpoints.release import fingerprint, read_header
from idinvert.cli.assemble import Parts
from idinvert.errors import CheckpointError
from idinvert.results.record import Record
from idinvert.tracking.artifacts import DataSet, Weights

ROLES = ("generator", "encoder")
SPLITS = ("train", "val", "test")


def weights_of(config: Mapping[str, Any], contents: Mapping[str, str]) -> list[Weights]:
    """The networks with files that a run or evaluation stands on.

    Args:
        config: The configuration.
        contents: Role to content hash, of those that were opened.
    """
    found = []
    for role in ROLES:
        path = (config.get(role) or {}).get("path")
        if role not in contents or not isinstance(path, str):
            continue
        try:
            file = find_weights(path, role=role, key=f"{role}.path")
            facts = read_header(file, key=f"{role}.path").provenance
        except CheckpointError:
            continue
        if fingerprint(file) == contents[role]:
            found.append(Weights(role, contents[role], file, run=facts.get("run"), facts=facts))
    return found


def data_of_run(parts: Parts) -> DataSet:
    """The images of a training, with the names of their files where there are files."""
    domain, path = parts.domain, parts.config["data"].get("path")
    splits = {split: getattr(domain, split) for split in SPLITS}
    return DataSet(
        name=domain.name,
        resolution=domain.resolution,
        fingerprint=domain.fingerprint,
        path=Path(path).expanduser() if path else None,
        splits={name: data.files for name, data in splits.items() if hasattr(data, "files")},
        counts={name: len(data) for name, data in splits.items()},
    )


def data_of_record(record: Record) -> DataSet | None:
    """The images that a record was measured on."""
    facts = record.data
    if not {"name", "resolution", "fingerprint"} <= set(facts):
        return None
    return DataSet(facts["name"], facts["resolution"], facts["fingerprint"])


def hashes_of(record: Record) -> dict[str, str]:
    """Content hashes of all that a record stands on."""
    found = record.data.get("fingerprint")
    return {**record.checkpoints, **({"data": found} if found else {})}
