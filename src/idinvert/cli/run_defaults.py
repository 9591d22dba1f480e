"""Values that a command takes from a run or a task's list of methods.

``run=RUN`` sets an evaluation's data, networks and scale. A task that compares methods runs each
with the command's configuration and the method's overrides.
"""

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from idinvert.checkpoints.bundle import SHIPPED, find_weights
from idinvert.checkpoints.release import Header, read_header
from idinvert.cli.trained_gans import data_name, networks, with_trained_generator
from idinvert.config.argv import from_shell
from idinvert.config.compose import compose_plain, given_keys, shipped_for
from idinvert.config.instantiate import targets
from idinvert.config.run_folder import find_run, read_config, take_keys
from idinvert.errors import CheckpointError, ConfigError, nearest
from idinvert.evaluation.default_metrics import OF_CODES
from idinvert.results.record import Record
from idinvert.results.select import Where, failures

FROM_RUN = ("scale", "data", "generator", "perceptual", "attributes", "metric")
"""Top-level keys whose values come from a run, unless the command line sets them."""
GROUPS = ("scale", "data", "objective", "trainer", "system")
"""Groups that every run has; ``generator`` is missing because attribute networks have none."""
BUILT = ("data", "objective", "trainer")
"""Those of `GROUPS` that have a ``_target_``."""
METHOD_KEYS = ("label", "words", "where")
OF_THE_GENERATOR = "choices.generator"
"""Prefix of clauses on the generator; a figure's clauses do not apply to ``run=RUN``'s own."""


def with_run(config: dict[str, Any], *, given: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Adds the values of ``run=RUN`` to a configuration, and defaults of ``n`` and ``batch_size``.

    ``usual`` lists which of ``n`` and ``metric.names`` the user did not set. A task may then use
    fewer images, or leave out metrics, if the data does not have what they need.

    Args:
        config: The resolved configuration as plain values.
        given: Keys that the command line sets, see `given_keys`. They take precedence over the
            run's: a whole group (``data=folder``) or a single key (``data.test=8``).

    Raises:
        ConfigError: No such run, a batch size below 1, or keys that task=invert does not use.
    """
    config = dict(config)
    own = str((config["task"] or {}).get("_target_")).endswith(".invert.invert")
    if own and (without := [key for key in ("n", "split") if key in given]):
        raise ConfigError(
            f"task=invert inverts all of images=…, and {without[0]} has no effect: leave "
            f"{without[0]}= out, and give the files or the folder by images=."
        )
    if config["run"] is not None:
        stored, encoder = _stored(config)
        config |= _values_of_run(stored, config, given=given)
        if not {"encoder", "encoder.path"} & set(given.get("encoder", ())):
            config["encoder"] = {"path": encoder, "classes": _own_classes(stored["encoder"])}
    if config["run"] is not None and not given.get("segmenter") and config.get("segmenter"):
        data = config["data"]  # of the run's images
        name = shipped_for(data_name(data), data.get("resolution"))
        path = f"{SHIPPED}{name}" if data_name(data).endswith("_mini") else ""
        config["segmenter"] = {**config["segmenter"], "path": path}
    typed = {
        "n": config["n"] is not None,
        "metric.names": "metric.names" in given.get("metric", ()),
    }
    config["usual"] = [key for key in typed if not typed[key]]
    if "metric.names" in config["usual"] and config["run"] is not None:
        names = config["metric"]["names"]  # the defaults at the time of the run
        later = [name for name in OF_CODES if name not in names]
        config["metric"] = {**config["metric"], "names": [*names, *later]}
    if config["n"] is None:
        config["n"] = config["scale"]["n_test"]
    if config["batch_size"] is None:
        config["batch_size"] = config["scale"]["inversion_batch_size"]
    if config["batch_size"] != "auto" and config["batch_size"] < 1:
        raise ConfigError(f"batch_size={config['batch_size']}: expected 1 or more.")
    return config


def _own_classes(node: dict[str, Any] | None) -> list[str]:
    """The classes outside this package that a run's encoder uses."""
    names = [str(below["_target_"]) for _, below in targets(node)]
    return [name for name in names if not name.startswith("idinvert.")]


def _stored(config: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """The configuration of ``run``, and the path of its encoder; ``None`` for a GAN.

    A shipped run has no folder; its generator and data are shipped too. Commands printed by tables
    may contain its id.

    Raises:
        ConfigError: No such run, on this machine or shipped.
    """
    try:
        folder = find_run(config["run"], outputs=config["system"]["outputs"])
    except ConfigError:
        path = shipped_bundle(config["run"])
        if path is None:
            raise
        words = [*words_of_bundle(path), f"generator.path={path}"]
        return compose_plain("evaluate", words), path
    stored = stored_config(folder, classes=config["classes"])
    if stored["encoder"]:
        return stored, str(folder)
    # For a GAN: its trained G, and the default networks for its data.
    words = [f"data._target_={stored['data']['_target_']}"]
    if resolution := stored["data"].get("resolution"):
        words.append(f"scale.resolution={resolution}")
    usual = compose_plain("evaluate", words)
    networks = {key: usual[key] for key in ("perceptual", "attributes")}
    return {**stored, **networks, "generator": {"path": str(folder)}}, None


def stored_config(folder: Path, *, classes: Collection[str]) -> dict[str, Any]:
    """Reads the configuration of a run's folder; every run's groups must be there.

    Args:
        folder: The run's folder.
        classes: Classes outside this package that it may name (``classes=[…]``).

    Raises:
        ConfigError: As `read_config`, or a group is missing.
    """
    stored = read_config(folder, classes=classes)
    groups = (*GROUPS, "generator") if stored.get("encoder") else GROUPS
    lacking = [key for key in groups if not isinstance(stored.get(key), dict)]
    lacking += [f"{key}._target_" for key in BUILT if "_target_" not in (stored.get(key) or {})]
    if lacking or "encoder" not in stored:
        raise ConfigError(
            f"run={folder}: its configuration lacks {', '.join(lacking or ['encoder'])}; it is not "
            "one that train.py wrote. Give another run."
        )
    return stored


def shipped_bundle(run: str) -> str | None:
    """The path (``shipped:NAME``) of a shipped encoder, or ``None``.

    Args:
        run: The id of the run that trained it.
    """
    for place, header in networks("encoder", []):
        if header.provenance.get("run") == run:
            return place
    return None


def words_of_bundle(path: str) -> list[str]:
    """The overrides that select the data and the resolution of ``shipped:NAME``.

    Raises:
        CheckpointError: No generator of this name is shipped.
    """
    header = read_header(find_weights(path, role="generator", key="source"), key="source")
    resolution = header.architecture["resolution"]
    return [f"data={header.provenance['data']}", f"scale.resolution={resolution}"]


def _values_of_run(
    stored: dict[str, Any], config: dict[str, Any], *, given: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """The values that come from a run, with the single keys that the command line sets."""
    found = {
        key: stored[key]
        for key in FROM_RUN
        if key in stored and key not in given.get(key, ()) and (stored[key] or key not in given)
    }
    take_keys(found, config, [word for key in found for word in given.get(key, ())])
    if "cache_dir" in found.get("data", {}) and "data.cache_dir" not in given.get("data", ()):
        found["data"]["cache_dir"] = config["system"]["cache"]  # this machine's
    return found


def trained_runs(outputs: Path) -> Iterator[Record]:
    """Yields this machine's trained encoders and the shipped ones, as records without metrics."""
    paths = sorted(outputs.glob("*/*/weights/encoder.safetensors"))
    for place, header in networks("encoder", [path.parents[1] for path in paths]):
        if "choices" in header.provenance:
            yield _run_of(header, place)


def typed_encoder(config: Mapping[str, Any]) -> Record | None:
    """The encoder of ``encoder.path=FILE`` as in `trained_runs`; None for a run's or a shipped one.

    Raises:
        CheckpointError: There is no such file, or it does not name what trained it.
    """
    path = str((config["encoder"] or {}).get("path") or SHIPPED)
    if config["run"] is not None or path.startswith(SHIPPED):
        return None
    key = "encoder.path"
    header = read_header(find_weights(path, role="encoder", key=key), key=key)
    if "choices" not in header.provenance:
        raise CheckpointError(f"{key}={path} does not name its training; give a run's, or run=RUN")
    return _run_of(header, path)


def _run_of(header: Header, place: str) -> Record:
    found = header.provenance
    return Record(
        run=found["run"],
        task="",
        choices=found["choices"],
        metrics={},
        n=0,
        nimg=found["nimg"],
        data={"name": found["data"]},
        seed=found["seed"],
        extra={"folder": place},
    )


def run_id(run: str, outputs: Path) -> str:
    """The id of ``run=RUN``: RUN may be a folder, the start of an id, or a shipped run's id.

    Raises:
        ConfigError: No such run.
    """
    try:
        return find_run(run, outputs=outputs).name
    except ConfigError:
        if run not in [known.run for known in trained_runs(outputs)]:
            raise
        return run


def best_fitting(runs: Sequence[Record], where: Where) -> Record | None:
    """The run with the most images seen among those that satisfy the clauses, or ``None``."""
    fitting = [run for run in runs if not failures(run, where)]
    return max(fitting, key=lambda run: run.nimg, default=None)


def one_a_seed(runs: Sequence[Record], where: Where) -> list[Record]:
    """One run per seed, sorted by seed: those that satisfy the clauses and have the most images."""
    fitting = [run for run in runs if not failures(run, where)]
    most = max((run.nimg for run in fitting), default=0)
    by_seed = {run.seed: run for run in reversed(fitting) if run.nimg == most}
    return [by_seed[seed] for seed in sorted(by_seed, key=lambda one: (one is not None, one))]


def word_for(run: Record) -> str:
    """The override ``run=…`` that selects one of `trained_runs`."""
    folder = str(run.extra["folder"])
    return f"run={run.run if folder.startswith(SHIPPED) else folder}"


def check_methods(methods: Sequence[Mapping[str, Any]], *, key: str) -> None:
    """Refuses invalid methods or sections before any work.

    Args:
        methods: Each with a ``label``, and optionally ``words`` (overrides as on the command line)
            and ``where`` (clauses as in a table, which select a run).
        key: Their key in the configuration, for the error.

    Raises:
        ConfigError: An empty list, a missing label, an unknown key, or invalid overrides.
    """
    if not methods:
        raise ConfigError(f"{key} is empty: expected one entry or more")
    for place, method in enumerate(methods):
        here = f"{key}[{place}]"
        if not isinstance(method, Mapping) or not isinstance(method.get("label"), str):
            raise ConfigError(
                f"{here} is {method!r}: expected {{label: TEXT, words: OVERRIDES, where: CLAUSES}}"
            )
        for name in method:
            if name not in METHOD_KEYS:
                raise ConfigError(f"{here}.{name} is unknown. " + nearest(name, list(METHOD_KEYS)))
        try:
            compose_plain("evaluate", _words(method))
        except ConfigError as error:
            raise ConfigError(f"{here}.words: {error}") from error


def changed(config: dict[str, Any], *entries: Mapping[str, Any]) -> dict[str, Any]:
    """Applies the overrides of entries to a copy of a configuration; later entries take precedence.

    Data that an entry names has the resolution of the configuration, unless the entry sets another.

    Args:
        config: The configuration of the command, with the values of its run.
        entries: Sections and methods. A ``where`` selects, among this machine's runs and the
            shipped ones, the matching run with the most images seen. With ``run=RUN`` or
            ``encoder.path=FILE`` in the command only that one is considered, whatever its G.

    Raises:
        ConfigError: No run matches.
    """
    words = [word for entry in entries for word in _words(entry)]
    where = {k: v for entry in entries for k, v in (entry.get("where") or {}).items()}
    if where:
        words += _run_for(config, where)
    given = given_keys(words)
    config = copy.deepcopy(config)
    resolution = config["data"].get("resolution", config["scale"]["resolution"])
    sized = [] if "scale" in given else [f"scale.resolution={resolution}"]
    composed = compose_plain("evaluate", [*sized, *words])
    take_keys(config, composed, (word for below in given.values() for word in below))
    if "run" in given:
        config = with_run(config, given=given)
    return with_trained_generator(config)


def _words(entry: Mapping[str, Any]) -> list[str]:
    return from_shell(str(entry.get("words") or ""), key="words")


def _run_for(config: dict[str, Any], where: Where) -> list[str]:
    """The override that selects the run for a method's clauses; none for a typed encoder."""
    outputs, typed = Path(config["system"]["outputs"]), typed_encoder(config)
    runs = list(trained_runs(outputs)) if typed is None else [typed]
    advice = "no run fits {}; train one, or give run=RUN in its words"
    if config["run"] is not None:
        only = run_id(config["run"], outputs)
        runs = [run for run in runs if run.run == only]
        advice = f"run={config['run']} does not fit {{}}; without run= the runs are chosen among"
    elif typed is not None:
        advice = "encoder.path does not fit {}; without encoder.path the runs are chosen among"
    if config["run"] is not None or typed is not None:
        where = {k: v for k, v in where.items() if not k.startswith(OF_THE_GENERATOR)}
    run = best_fitting(runs, where)
    if run is None:
        clauses = ", ".join(f"{path}={wanted}" for path, wanted in where.items())
        raise ConfigError(advice.format(clauses))
    return [word_for(run)] if typed is None else []
