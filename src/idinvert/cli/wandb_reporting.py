"""Sends trainings, evaluations and tables to W&B, and names them."""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from idinvert import durable
from idinvert.checkpoints.bundle import find_weights
from idinvert.checkpoints.release import fingerprint, read_header
from idinvert.cli.assemble import Parts
from idinvert.cli.runs import choices_of, name_of
from idinvert.config.compose import config_dir, key_of
from idinvert.config.run_folder import first_command, is_first_process
from idinvert.data.folder import ImageFiles
from idinvert.errors import CheckpointError, ConfigError
from idinvert.evaluation.context import TaskResult
from idinvert.evaluation.networks import room_name
from idinvert.evaluation.provenance import commit, versions
from idinvert.results.cells import FilledCurves, FilledTable, records_of
from idinvert.results.record import Record, to_dict
from idinvert.results.render import to_grid
from idinvert.tracking.artifacts import DataSet, Weights, log_inputs
from idinvert.tracking.results import Result, log_results, log_table
from idinvert.tracking.wandb_run import TrackedRun, open_wandb, require_account
from idinvert.untrusted import read_json

STORED = "wandb.json"
"""File with the group, name and tags of a W&B run, which it keeps when it is continued."""
ROLES = ("generator", "encoder")
SPLITS = ("train", "val", "test")
IMAGES = 32
"""Rows with pictures in an evaluation's table, if logger.wandb.images is not set."""


def wandb_options(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """``logger.wandb`` in the first process; ``None`` if nothing goes to W&B."""
    options = (config["logger"] or {}).get("wandb")
    return dict(options) if options is not None and is_first_process() else None


def check_account(config: Mapping[str, Any]) -> None:
    """Checks before any work that W&B has an account and TensorBoard is installed, if chosen.

    Raises:
        ConfigError: One of them is missing; says what to do.
    """
    options = wandb_options(config)
    if (config["logger"] or {}).get("tensorboard") is not None:
        from idinvert.tracking.loggers import require_tensorboard

        require_tensorboard()
    if options is not None and not options["offline"]:
        require_account()


def pictures_wanted(config: Mapping[str, Any]) -> int:
    """The number of single images of an evaluation to show in W&B."""
    options = wandb_options(config)
    return 0 if options is None else options.get("images", IMAGES)


def track_training(parts: Parts, *, folder: Path) -> list[Any]:
    """The TensorBoard and W&B loggers of a training; the W&B id is the run's id."""
    from idinvert.tracking.loggers import NimgTensorBoardLogger, NimgWandbLogger

    options = wandb_options(parts.config)
    board = (parts.config["logger"] or {}).get("tensorboard")
    boards = [] if board is None else [NimgTensorBoardLogger(folder, **board)]
    if options is None:
        return boards
    options.pop("images", None)
    known = _stored(folder)
    sweep = chosen_experiment()
    tags = [*known.get("tags", []), *options["tags"], *_table_tags(sweep)]
    tags += parts.config.get("tags") or []
    options["tags"] = list(dict.fromkeys(tags))
    options["group"] = options["group"] or known.get("group") or sweep or parts.experiment
    name = parts.config.get("name") or known.get("name") or _training_name(parts, folder)
    tracked = open_wandb(
        folder=folder,
        run_id=folder.name,
        config=parts.config | {"versions": versions(), "commit": commit()},
        job_type="train",
        name=name,
        **options,
    )
    known = {"id": folder.name, "name": name, "group": options["group"], "tags": options["tags"]}
    durable.write(folder / STORED, json.dumps(known) + "\n")
    domain, path = parts.domain, parts.config["data"].get("path")
    splits = {split: getattr(domain, split) for split in SPLITS}
    data = DataSet(
        name=domain.name,
        resolution=domain.resolution,
        fingerprint=domain.fingerprint,
        path=Path(path).expanduser() if path else None,
        splits={
            key: images.names for key, images in splits.items() if isinstance(images, ImageFiles)
        },
        counts={key: len(images) for key, images in splits.items()},
    )
    weights = weights_of(parts.config, parts.contents)
    log_inputs(tracked, hashes=parts.contents, data=data, weights=weights)
    return [NimgWandbLogger(tracked), *boards]


def track_evaluation(
    config: dict[str, Any],
    records: Sequence[Record],
    results: Sequence[TaskResult],
    *,
    evaluation: str,
) -> None:
    """Sends the results of one evaluation, which are already on disk, to W&B.

    Args:
        config: The configuration of the evaluation, with the values of its run.
        records: Its records.
        results: The folders of its files.
        evaluation: Its hash.
    """
    options = wandb_options(config)
    if options is None or not (records or results):
        return
    images = options.pop("images", IMAGES)
    first = records[0] if records else None
    words = [first.task if first else room_name(config["task"]["_target_"])]
    words += [room_name(config["inversion"]["_target_"])] if config["inversion"] else []
    words += [str(first.data.get("name")), first.run] if first else []
    sweep = chosen_experiment()
    options["tags"] = [*options["tags"], *(config.get("tags") or []), *_table_tags(sweep)]
    options["group"] = options["group"] or sweep or words[0]

    def log(tracked: TrackedRun) -> None:
        if first is not None:
            facts: list[Any] = [
                first.data.get(key) for key in ("name", "resolution", "fingerprint")
            ]
            hashes = {**first.checkpoints, **({"data": facts[-1]} if facts[-1] else {})}
            data = DataSet(*facts) if None not in facts else None
            weights = weights_of(config, first.checkpoints)
            log_inputs(tracked, hashes=hashes, data=data, weights=weights)
        log_results(tracked, _results(records, results), evaluation=evaluation, images=images)

    name, run_id = config.get("name") or "_".join(words), f"eval-{evaluation}"
    _send(config, log, options, folder="evaluations", job_type="evaluate", run_id=run_id, name=name)


def track_table(
    config: dict[str, Any], shown: FilledTable | FilledCurves, files: Sequence[Path]
) -> None:
    """Sends the cells, files and records of a rendered table to W&B."""
    options = wandb_options(config)
    if options is None:
        return
    options.pop("images", None)
    name = f"{shown.table.name}.{shown.table.scale}"
    records = {record.evaluation: to_dict(record) for record in records_of(shown)}
    columns, lines = to_grid(shown)
    content = json.dumps([columns, lines, sorted(records)])
    run_id = f"table-{hashlib.sha256(content.encode()).hexdigest()[:12]}"

    def log(tracked: TrackedRun) -> None:
        log_table(tracked, name=name, columns=columns, lines=lines, files=files, records=records)

    _send(config, log, options, folder="tables", job_type="table", run_id=run_id, name=name)


def as_table(config: dict[str, Any]) -> dict[str, Any]:
    """Sets the table's name as W&B group and tag in a configuration."""
    options = (config["logger"] or {}).get("wandb")
    if options is None:
        return config
    name = config["table"]["name"]
    tagged = {**options, "group": options["group"] or name, "tags": [*options["tags"], name]}
    return config | {"logger": {**config["logger"], "wandb": tagged}}


def chosen_experiment() -> str | None:
    """The ``experiment=`` of the command line, which may be a sweep, or ``None``."""
    if not HydraConfig.initialized():
        return None
    words = [word for word in HydraConfig.get().overrides.task if word.startswith("experiment=")]
    return words[-1].split("=", 1)[1] if words else None


def _send(
    config: dict[str, Any],
    log: Callable[[TrackedRun], None],
    options: dict[str, Any],
    *,
    folder: str,
    **what: Any,
) -> None:
    """Opens a W&B run and logs results, which are on disk whether or not the server answers."""
    try:
        tracked = open_wandb(
            folder=Path(config["system"]["outputs"]) / folder,
            config=config | {"versions": versions(), "commit": commit()},
            **what,
            **options,
        )
    except ConfigError as error:
        print(
            f"not sent to W&B: {error} What was measured is kept; the same command sends it later.",
            file=sys.stderr,
            flush=True,
        )
        return
    done = False
    try:
        done = tracked.attempt(lambda: log(tracked))
    finally:
        tracked.finish(failed=not done)


def _results(records: Sequence[Record], results: Sequence[TaskResult]) -> list[Result]:
    """Pairs each record with its folder; appends folders without a record."""
    places = {(r.task, r.created): folder for r, folder in results if r is not None}
    found = [Result(to_dict(one), places.get((one.task, one.created))) for one in records]
    return found + [Result(None, folder) for record, folder in results if record is None]


def _training_name(parts: Parts, folder: Path) -> str:
    """A readable name: what is trained, its variant, data, other choices, and seed."""
    choices = parts.choices
    variant = choices.get("encoder") or choices.get("generator") or {}
    seed = f"seed{parts.config['seed']}"
    chosen = choices_of(first_command(folder))
    others = [word for word in chosen if key_of(word) not in ("seed", "encoder", "generator")]
    words = [parts.experiment, variant.get("name"), name_of(others, data=parts.domain.name), seed]
    return "_".join(filter(None, words))


def _table_tags(experiment: str | None) -> list[str]:
    """The experiment's name as a tag, if it is that of a table or figure."""
    known = experiment and (config_dir() / "table" / f"{experiment}.yaml").is_file()
    return [experiment] if experiment and known else []


def _stored(folder: Path) -> dict[str, Any]:
    try:
        found = read_json(folder / STORED)
    except (OSError, ValueError):
        return {}
    tags = found.get("tags", []) if isinstance(found, dict) else None
    return found if isinstance(tags, list) else {}


def weights_of(config: Mapping[str, Any], contents: Mapping[str, str]) -> list[Weights]:
    """The weights files of a run or evaluation whose hashes match the known ones."""
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
