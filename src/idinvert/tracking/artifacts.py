"""W&B artifacts (weights, codes, data-set manifests), and the inputs of a run."""

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
    """A network that is an input of a run.

    Attributes:
        role: ``generator``, ``encoder``, …
        sha: Fingerprint of its file.
        path: The file.
        run: Id of the run that trained it; None if another program did.
        facts: Its provenance.
    """

    role: str
    sha: str
    path: Path
    run: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DataSet:
    """Description of the data set that is an input of a run, without the images.

    Attributes:
        name: Name in records.
        resolution: Side in pixels.
        fingerprint: Changes when any image or split changes.
        path: Path on this machine; None for procedural images.
        splits: Split to the names of its files, if there are files.
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
    """Creates an artifact from existing files (paths) and new files (their text).

    Args:
        name: Name of the artifact; characters that W&B does not allow are replaced.
        kind: ``weights``, ``codes``, ``table``, ``record``, ``dataset``.
        content: File name in the artifact to path or text.
        facts: Metadata of the artifact.
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
    """Creates a data set's manifest: fingerprint, splits and path; no image is uploaded."""
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
    """Logs the inputs of a run: as lineage if online, and always as hashes in its configuration.

    Args:
        tracked: The run.
        hashes: Role to hash of every input; stored in the configuration as ``inputs``.
        data: Its images. Online they are an input; offline, where W&B takes no inputs, the
            manifest is logged with the run.
        weights: Its networks. A network that no run of this W&B project logged becomes a
            reference to its file, which is not uploaded.
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
    """Replaces the characters that W&B does not allow in an artifact's name; cuts it to 128."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:128]


def _data_name(data: DataSet) -> str:
    return f"data-{data.name}-{data.resolution}px"


def _named(one: Weights, name: str) -> Any:
    """Creates an artifact that references a weights file on this machine, with its hash."""
    import wandb

    artifact = wandb.Artifact(name, type="weights", metadata={**one.facts, "sha": one.sha})
    artifact.add_reference(one.path.absolute().as_uri(), name=f"{one.role}.safetensors")
    return artifact
