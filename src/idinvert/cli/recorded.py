"""What a sweep has measured before: records by the hash of all that their figures depend on."""

from pathlib import Path
from typing import Any

import idinvert
from idinvert.config.identity import digest_of
from idinvert.errors import CheckpointError
from idinvert.tables.record import Record
from idinvert.tables.store import read_records
from idinvert.weights.bundle import find_weights
from idinvert.weights.release import fingerprint

NOT_OF_THE_FIGURES = (
    "system",
    "logger",
    "recompute",
    "evaluate_missing",
    "records",
    "batch_size",
    "table",
    "sweep",
    "row",
    "run",
)
"""Top-level keys that change no figure."""
ROLES = ("generator", "encoder", "attributes")
"""Top-level keys whose ``path`` leads to weights."""


def evaluation_identity(config: dict[str, Any]) -> str:
    """Twelve digits for an evaluation: its configuration, with hashes of weights for their paths.

    Args:
        config: The resolved configuration as plain values, with what its run brings along.
    """
    science = {key: value for key, value in config.items() if key not in NOT_OF_THE_FIGURES}
    science["trainer"] = (config["trainer"] or {}).get("precision")
    for role in ROLES:
        path = (science.get(role) or {}).get("path")
        if isinstance(path, str):
            science[role] = {**science[role], "path": _content(path, role)}
            science[role].pop("classes", None)  # what the file is built from, its hash says
    data = dict(science.get("data") or {})
    data.pop("cache_dir", None)
    science |= {"data": data, "version": idinvert.__version__}
    return digest_of(science)[:12]


def recorded(identity: str, path: Path) -> list[Record]:
    """The records of an evaluation that was made before; several calls' count once, the last."""
    last: dict[tuple[str, str], Record] = {}
    for record in read_records(path):
        if record.evaluation == identity:
            last[record.task, digest_of(record.choices)] = record
    return list(last.values())


def _content(path: str, role: str) -> str:
    try:
        return fingerprint(find_weights(path, role=role, key=f"{role}.path"))
    except CheckpointError:
        return path  # the task says what is wrong with it
