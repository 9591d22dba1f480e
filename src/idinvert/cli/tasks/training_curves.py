"""``task=training_curves``: a run's losses over images seen, as a record (Fig. 14)."""

from typing import Any

from idinvert.checkpoints.release import read_header
from idinvert.config.run_folder import find_run
from idinvert.errors import ConfigError
from idinvert.evaluation.provenance import Provenance, command, versions
from idinvert.evaluation.training_curves import training_curves
from idinvert.results.record import Record
from idinvert.tracking.csv_logger import read_rows


def record_curves(*, config: dict[str, Any], terms: list[str]) -> list[Record]:
    """Keeps the losses that a run logged, so that figures can select them.

    Raises:
        ConfigError: No ``run=RUN``, or one that has no weights yet.
    """
    if config["run"] is None:
        raise ConfigError("task=training_curves needs run=RUN: shipped networks bring no losses.")
    folder = find_run(config["run"], outputs=config["system"]["outputs"])
    weights = sorted((folder / "weights").glob("*.safetensors"))
    if not weights:
        raise ConfigError(f"run={config['run']} has no weights yet: wait for its first checkpoint.")
    first = {path.stem: path for path in reversed(weights)}
    provenance = read_header(first.get("encoder", weights[0]), key="run").provenance
    record = training_curves(
        read_rows(folder / "metrics.jsonl"),
        terms=terms,
        origin=Provenance(
            run=folder.name,
            choices=provenance["choices"],
            seed=provenance["seed"],
            command=command(),
            versions=versions(),
        ),
        data={
            "name": provenance["data"],
            "resolution": config["data"]["resolution"],
            "fingerprint": provenance["data_fingerprint"],
            "split": "train",
        },
    )
    print(f"training_curves: {record.n} rows of run {record.run}, to {record.nimg:,} images")
    return [record]
