"""What W&B keeps as artifacts: weights, codes, data-set manifests; and what a run stands on."""

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from idinvert.tracking.wandb_run import TrackedRun


@dataclass(frozen=True)
class Weights:
    """A network that a run stands on.

    Attributes:
        role: ``generator``, ``encoder``, …
        sha: Fingerprint of its file.
        path: The file.
        run: Id of the run that trained it; None where it is another program's.
        facts: Its provenance.
    """

    role: str
    sha: str
    path: Path
    run: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DataSet:
    """The images that a run stands on, without any of them.

    Attributes:
        name: As in records.
        resolution: Pixels.
        fingerprint: Changes when any image or split changes.
        path: Where they lie on this machine; None for those that are drawn.
        splits: Split to the names of its files, where there are files.
        counts: Split to its number of images.
    """

    name: str
    resolution: int
    fingerprint: str
    path: Path | None = None
    splits: Mapping[str, Sequence[str]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


def made_artifact(
    name: str, kind: str, content: Mapping[str, Path | str], *, facts: Mapping[str, Any]
) -> Any:
    """An artifact of files that exist (a path) and files that are made here (their text).

    Args:
        name: what W&B does not take in it is replaced.
        kind: ``weights``, ``codes``, ``table``, ``record``, ``dataset``.
        content: file name in the artifact to path or text.
        facts: its metadata.
    """
    import wandb

    artifact = wandb.Artifact(plain(name), type=kind, metadata=dict(facts))
    for file_name, there in content.items():
        if isinstance(there, Path):
            artifact.add_file(str(there), name=file_name)
        else:
            with artifact.new_file(file_name, mode="w", encoding="utf-8") as file:
                file.write(there)
    return artifact


def data_artifact(data: DataSet) -> Any:
    """A data set's manifest: fingerprint, splits, and where its files lie; none is uploaded."""
    facts = {
        "name": data.name,
        "resolution": data.resolution,
        "fingerprint": data.fingerprint,
        "images": dict(data.counts),
    }
    texts: dict[str, Path | str] = {"manifest.json": json.dumps(facts, indent=1, sort_keys=True)}
    texts |= {f"{split}.txt": "\n".join(names) + "\n" for split, names in data.splits.items()}
    artifact = made_artifact(_data_name(data), "dataset", texts, facts=facts)
    if data.path is not None:
        artifact.add_reference(data.path.absolute().as_uri(), name="images", checksum=False)
    return artifact


def log_inputs(
    tracked: TrackedRun,
    *,
    hashes: Mapping[str, str],
    data: DataSet | None,
    weights: Sequence[Weights],
) -> None:
    """Says what a run stands on: lineage online, hashes in its configuration in any case.

    Args:
        tracked: The run.
        hashes: Of all that it stands on, by role; they stand in its configuration as ``inputs``.
        data: Its images. Online it is an input; offline, where W&B takes no inputs, the manifest is
            logged with the run.
        weights: Its networks. One that no run of this W&B project logged becomes a reference to
            its file, which is not uploaded.
    """
    tracked.configure({"inputs": dict(hashes)})
    for one in weights:
        name = plain(f"{one.role}-{one.run or one.sha}")
        reference = functools.partial(_named, one, name)
        tracked.use(name, f"sha-{one.sha}", otherwise=reference)
    if data is not None:
        alias, manifest = f"fingerprint-{data.fingerprint}", functools.partial(data_artifact, data)
        tracked.use(plain(_data_name(data)), alias, otherwise=manifest)
        if not tracked.online:
            tracked.artifact(manifest(), aliases=[alias])


def plain(name: str) -> str:
    """The name with what W&B does not take in an artifact's name replaced."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:128]


def _data_name(data: DataSet) -> str:
    return f"data-{data.name}-{data.resolution}px"


def _named(one: Weights, name: str) -> Any:
    """A reference to a weights file on this machine, by its hash."""
    import wandb

    artifact = wandb.Artifact(name, type="weights", metadata={**one.facts, "sha": one.sha})
    artifact.add_reference(one.path.absolute().as_uri(), name=f"{one.role}.safetensors")
    return artifact
