"""``evaluate.py``: evaluates a run, inverts the user's images, or renders a table."""

import dataclasses
import functools
import importlib.util
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from idinvert.checkpoints.bundle import SHIPPED, find_weights, generator_hash
from idinvert.checkpoints.release import fingerprint
from idinvert.cli import run_defaults, wandb_reporting
from idinvert.cli.devices import check_devices, set_up
from idinvert.cli.run_defaults import changed, with_run
from idinvert.cli.slurm import requeued_on_signal
from idinvert.cli.tables import render_table
from idinvert.cli.trained_gans import with_trained_generator
from idinvert.config import run_folder
from idinvert.config.argv import from_shell
from idinvert.config.compose import compose_plain
from idinvert.config.identity import (
    digest_of,
    evaluation_config,
    evaluation_identity,
    has_no_effect,
)
from idinvert.config.instantiate import bind, check_signatures, targets
from idinvert.data.content import computed_anew, content_hash, file_hash
from idinvert.data.domain import ids_of
from idinvert.data.folder import open_without_results
from idinvert.errors import ConfigError, IdinvertError
from idinvert.evaluation.codes_file import NAME
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.directions import directions_file
from idinvert.evaluation.networks import data_opened_once, open_data
from idinvert.results.record import OF_SETS, Record, append, read_records
from idinvert.untrusted import open_regular

ROLES = ("generator", "encoder", "attributes", "segmenter")
"""Top-level keys whose ``path`` is that of a network with this role."""
PATHS = ("path", "images", "mask")
"""Last parts of keys that always hold a path, besides those that end in ``_path``."""
PLACES = ("task.out",)
"""Keys of output paths."""
WITHOUT_DATA = ("invert", "directions", "training_curves")
"""Tasks that do not read the images of ``data``."""
OWN_IMAGES = (
    "invert", "manipulation", "control", "interpolation", "mixing", "diffusion", "restoration",
    "paint",
)  # fmt: skip
"""Tasks that can read ``images`` instead of the images of ``data``."""
OF_OWN_IMAGES = ("video", "pairs", "out", "on_corrupt", "allow_upscale", "megapixels")
"""Keys of these tasks that have no effect without ``images``."""
PACKAGED = ("purelib", "platlib", "stdlib")
"""Folders of installed code, whose versions are in the record."""
ENTRIES = ("methods", "sections", "generators")
"""Keys of tasks that list methods: overrides that change the rest of the configuration."""


@requeued_on_signal()
def evaluate(
    config: dict[str, Any], *, given: Mapping[str, Sequence[str]] | None = None
) -> list[Record]:
    """Runs one task, or renders one table.

    Args:
        config: The resolved configuration as plain values.
        given: Keys that the command line sets, see `given_keys`.

    Returns:
        The new or reused records; they are also in ``<outputs>/records.jsonl``.
    """
    check_signatures(config)  # for calls from Python; the command line has been checked already
    check_devices(config["trainer"])
    set_up(config["system"])
    if config["records"] is not None and config["table"] is None:
        raise ConfigError(f"records={config['records']} is of table=NAME: tables show records.")
    _check_observe(config)
    if config["table"] is not None:
        once = functools.partial(run_task, once=True)
        config = wandb_reporting.as_table(config)
        track = functools.partial(wandb_reporting.track_table, config)
        return render_table(config, evaluate=once, given=given or {}, track=track)
    config = with_run(config, given=given or {})
    require_moved(config, given=given or {})
    return run_task(config, once=_in_sweep() or "row" in (given or {}))


def require_moved(config: dict[str, Any], *, given: Mapping[str, Sequence[str]]) -> None:
    """Refuses new paths of ``run=RUN`` whose images or generator are not those of the run.

    Args:
        config: The configuration with the values of its run.
        given: Keys of the command line; a whole group (``data=folder``) may choose other images.

    Raises:
        ConfigError: The contents differ; names both contents and both paths.
    """
    moved = [top for top in ("data", "generator") if list(given.get(top, ())) == [f"{top}.path"]]
    if config["run"] is None or not moved:
        return
    try:
        folder = run_folder.find_run(config["run"], outputs=config["system"]["outputs"])
    except ConfigError:
        return  # a shipped run, which does not read the user's files
    stored = run_folder.read_config(folder, classes=config["classes"])
    before = run_folder.read_contents(folder) or {}
    for top in moved:
        run_folder.require_file(stored, f"{top}.path", run=config["run"])
        path = config[top]["path"]
        here = config[top]
        now = open_data(here).fingerprint if top == "data" else generator_hash(here)
        if before.get(top) not in (None, now):
            other = {
                "data": f"To measure other images: data=folder data.path={path}.",
                "generator": "Encoders belong to one generator: put the run's back.",
            }
            raise ConfigError(
                f"{top}.path={path} holds {top} {now}, and run={config['run']} started with "
                f"{before[top]} at {top}.path={stored[top]['path']}. {other[top]}"
            )


def run_task(config: dict[str, Any], *, once: bool = False) -> list[Record]:
    """Runs the task of a configuration and stores its records.

    Args:
        config: The configuration with the values of its run.
        once: Whether to reuse existing records, unless ``recompute`` is set.
    """
    wandb_reporting.check_account(config)
    _check_images(config)
    _require_sets(config)
    config = with_trained_generator(config)
    with computed_anew(config["verify"]), data_opened_once():
        return _run_task(config, once=once)


def _run_task(config: dict[str, Any], *, once: bool) -> list[Record]:
    unused = OF_OWN_IMAGES if config["images"] is None else ()
    task = {key: value for key, value in config["task"].items() if key not in unused}
    identity = evaluation_identity({**config, "task": task}, contents=contents_of(config))
    found = cached_records(identity, records_path(config)) if once else []
    if found and not config["recompute"]:
        print(f"measured before ({found[-1].created[:10]}); recompute=true measures again")
        wandb_reporting.track_evaluation(config, found, [], evaluation=identity)
        return found
    if records_path(config).exists():
        open_regular(records_path(config)).close()  # fails now rather than after the work
    context = EvaluationContext(
        config, entries=run_defaults, shown_tensors=wandb_reporting.pictures_wanted(config)
    )
    records = [
        dataclasses.replace(record, evaluation=identity)
        for record in bind(config["task"], key="task")(context)
    ]
    for record in records if run_folder.is_first_process() else ():  # some tasks run on every rank
        append(records_path(config), record)
    wandb_reporting.track_evaluation(config, records, context.results, evaluation=identity)
    return records


def _check_images(config: dict[str, Any]) -> None:
    """Refuses ``images`` that do not exist or that the task does not read.

    Raises:
        ConfigError: Says which key to set.
    """
    images, task = config["images"], config["task"]["_target_"].rsplit(".", 2)[-2]
    given = [key for key in ("video", "pairs", "out") if config["task"].get(key) is not None]
    if images is None and task in OWN_IMAGES[1:] and given:
        raise ConfigError(
            f"task.{given[0]} is for your own pictures: give images=FOLDER too, or leave it out."
        )
    if images is None:
        return
    if not images.strip():
        raise ConfigError(
            "images= is empty: give a picture, [a.jpg,b.jpg], a folder, a zip or codes.safetensors."
        )
    if task not in OWN_IMAGES:
        raise ConfigError(
            f"this task measures the images of data and does not read images={images}. Give "
            f"task={', '.join(OWN_IMAGES[:-1])} or {OWN_IMAGES[-1]}, or set data=folder "
            f"data.path={images}."
        )
    if not Path(images).expanduser().exists():
        _images_hash(config)  # resolves a list or a pattern, or says what is missing


def _check_observe(config: dict[str, Any]) -> None:
    """Refuses an observation that the task does not use.

    Raises:
        ConfigError: Says which key to set.
    """
    if config.get("observe") is not None and "observe" not in (config["task"] or {}):
        name = config["observe"]["_target_"].rsplit(".", 1)[-1]
        raise ConfigError(
            f"observe= ({name}) is of task=restoration: give task=restoration, or leave it out."
        )


def _require_sets(config: dict[str, Any]) -> None:
    """Refuses set metrics that the user requested for a single image; default ones are skipped.

    Raises:
        ConfigError: Names the metrics.
    """
    asked = (config["metric"] or {}).get("names", ())
    of_sets = [name for name in asked if OF_SETS.match(name) and not name.startswith("swd")]
    usual = "metric.names" in config.get("usual", ("metric.names",))
    if config["n"] == 1 and of_sets and not usual:
        raise ConfigError(
            f"got n=1, expected 2 or more: {', '.join(of_sets)} compare sets of images; change n "
            "or metric.names"
        )


def records_path(config: dict[str, Any]) -> Path:
    """The file of the user's own records."""
    return Path(config["system"]["outputs"]) / "records.jsonl"


def cached_records(identity: str, path: Path) -> list[Record]:
    """The records of an earlier evaluation; of repeated evaluations, only the last."""
    last: dict[tuple[str, str], Record] = {}
    for record in read_records(path):
        if record.evaluation == identity:
            last[record.task, digest_of(record.choices)] = record
    return list(last.values())


def _in_sweep() -> bool:
    """Whether this process is running a job of a sweep."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def contents_of(config: dict[str, Any]) -> dict[str, str]:
    """Maps dotted keys to the hash of their files, for `config.identity.evaluation_config`.

    Missing or damaged files are left out; the task reports them.

    Args:
        config: The resolved configuration as plain values, with the values of its run.
    """
    found: dict[str, str] = {}

    def note(key: str, content: Callable[..., str | None], *arguments: Any) -> None:
        try:
            value = content(*arguments)
        except (IdinvertError, OSError):
            return
        if value is not None:
            found[key] = value

    for key, value in _leaves(config):
        if key == "images" and value is not None:
            note(key, _images_hash, config)
        elif is_path(key, value) and not has_no_effect(key) and not key.startswith("data."):
            note(key, _content, key, value, config["generator"] if key == "generator.path" else {})
    for key, module in _own_modules(config):
        note(key, file_hash, module)
    task = config["task"] or {}
    name = task["_target_"].rsplit(".", 2)[-2] if task else ""  # the task's file
    if name in WITHOUT_DATA or config["images"] is not None:
        found["data"] = "not read"
    else:
        note("data", _data_hash, config)
    if "directions" in task:
        note("task.directions", _directions_hash, config, found)
    if name == "training_curves":
        note("run", _rows_hash, config)
    for key in set(ENTRIES) & task.keys():
        note(f"task.{key}", _entries_hash, config, task[key])
    if task.get("own") is not None:  # out_of_domain
        note("task.own", lambda: _data_hash(changed(config, {"words": task["own"]})))
    if name == "untrained_encoder":
        words = from_shell(task["encoder"], key="task.encoder")
        note("task.encoder", lambda: digest_of(compose_plain("train", words)["encoder"]))
    return found


def is_path(key: str, value: Any) -> bool:
    """Whether a value is a path: by the name of its key, or because the file exists.

    Args:
        key: A dotted key such as ``inversion.mask``.
        value: The value of the key.
    """
    last = key.rsplit(".", 1)[-1]
    if not isinstance(value, str) or key in PLACES or last.startswith("_"):
        return False
    if last in PATHS or last.endswith("_path"):
        return True
    return bool({"/", "."} & set(value)) and Path(value).expanduser().exists()


def _leaves(node: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(value, f"{at}.{key}" if at else str(key))
    else:
        yield at, node


def _content(key: str, value: str, settings: Mapping[str, Any] | None) -> str:
    """The hash of a network's weights if the key is that of a network, else of the files."""
    top = key.split(".", 1)[0]
    role = top if top in ROLES else "attributes"
    if top in ROLES or value.startswith(SHIPPED) or Path(value).expanduser().is_dir():
        try:
            return fingerprint(find_weights(value, role=role, key=key, settings=settings))
        except IdinvertError:
            if top in ROLES and not Path(value).expanduser().is_file():
                raise
    return content_hash(value)


def _images_hash(config: dict[str, Any]) -> str:
    """The hash of the user's images, without results that are in the same folder."""
    path, without = Path(config["images"]).expanduser(), [Path(config["system"]["outputs"])]
    if path.is_file():
        return content_hash(path)
    if (path / NAME).is_file():
        return content_hash(path / NAME)
    source = open_without_results(path, without, key="images")
    return content_hash(source.path, source.names)


def _data_hash(config: dict[str, Any]) -> str:
    """The hash of the images of ``data`` and of their ids, which seed random numbers."""
    domain = open_data(config["data"])
    ids = ids_of(getattr(domain, config["split"], domain.test))
    return "/".join([domain.name, domain.fingerprint, digest_of(ids)[:16]])


def _directions_hash(config: dict[str, Any], found: dict[str, str]) -> str | None:
    """The hash of the file of ``task.directions``, by default the directions found last."""
    generator = found.get("generator.path")
    if generator is None:
        return None
    path = config["task"]["directions"]
    return content_hash(directions_file(config, path, generator=generator))


def _rows_hash(config: dict[str, Any]) -> str | None:
    """The hash of the losses that a run has logged so far."""
    if config["run"] is None:
        return None
    folder = run_folder.find_run(config["run"], outputs=config["system"]["outputs"])
    return file_hash(folder / "metrics.jsonl")


def _entries_hash(config: dict[str, Any], entries: list[dict[str, Any]]) -> str:
    """The hash of a list of methods: the configurations that their overrides give."""
    made = []
    for entry in entries:
        one = changed(config, entry) | {"task": None}
        made.append([entry.get("label"), evaluation_config(one, contents=contents_of(one))])
    return digest_of(made)


def _own_modules(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields the files of the user's own classes, whose code may change under the same name."""
    names = [(f"{at}._target_", str(node["_target_"])) for at, node in targets(config)]
    classes = (config["encoder"] or {}).get("classes") or []
    names += [(f"encoder.classes.{name}", str(name)) for name in classes]
    installed = [str(Path(place).resolve()) for place in map(sysconfig.get_path, PACKAGED)]
    for key, name in names:
        if name.startswith("idinvert.") or has_no_effect(key):
            continue
        try:
            spec = importlib.util.find_spec(name.rpartition(".")[0])
        except (ImportError, ValueError):
            continue
        origin = spec.origin if spec else None
        if origin and not any(str(Path(origin).resolve()).startswith(at) for at in installed):
            yield key, origin


if __name__ == "__main__":
    from idinvert.cli import commands  # imports this module under its own name

    commands.evaluate()
