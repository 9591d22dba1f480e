"""What a command with ``-m`` is going to do: its jobs, its folder, what Hydra must be told."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from idinvert.cli.launchers import (
    Launcher,
    check_extras,
    drop_schemas,
    read_launcher,
    refuse_ranks_of_ranks,
)
from idinvert.cli.sweeps import chosen_row, with_rows
from idinvert.config.compose import compose_plain, config_dir, expand_sweep, register
from idinvert.config.instantiate import nearest
from idinvert.errors import ConfigError

OWN_SEARCH = "hydra.sweeper.params"
BASIC = "BasicSweeper"


@dataclass(frozen=True)
class Plan:
    """A sweep before it starts.

    Attributes:
        name: Of its folder: what was asked for, and a hash of the words that ask for it.
        folder: ``<outputs>/sweeps/<name>``.
        jobs: The words of each; ``None`` where an optimising sweeper draws them.
        launcher: That runs them.
        sweeper: The composed ``hydra.sweeper``.
        words: What Hydra must be told besides the user's words.
    """

    name: str
    folder: Path
    jobs: list[list[str]] | None
    launcher: Launcher
    sweeper: dict[str, Any]
    words: list[str] = field(default_factory=list)


def planned(program: str, overrides: list[str]) -> Plan:
    """Plans a sweep and checks every job of it.

    Args:
        program: ``"train"`` or ``"evaluate"``.
        overrides: Of the command line, Hydra's own included.

    Raises:
        ConfigError: Anything that would stop a job from being composed.
    """
    check_extras(overrides)
    rows = with_rows(program, overrides)[len(overrides) :]
    hydra, outputs = _hydra_of(program, overrides, rows)
    sweeper = hydra["sweeper"]
    params = [f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()]
    words = [*params, *without_hydra(overrides), *rows]
    basic = sweeper["_target_"].endswith(BASIC)
    jobs = expand_sweep(_last_wins(words)) if basic else probes(words)
    chosen = [(chosen := chosen_row(program, job), compose_plain(program, chosen)) for job in jobs]
    launcher = read_launcher(hydra["launcher"])
    trainers = [(words, plain["trainer"] or {}) for words, plain in chosen]
    refuse_ranks_of_ranks(program, ["-m", *overrides], trainers, launcher)
    name = sweep_name(program, overrides)
    folder = Path(outputs) / "sweeps" / name
    for_hydra = [*rows, f"hydra.sweep.dir={quoted(folder)}", f"hydra.job.name={name}"]
    return Plan(name, folder, jobs if basic else None, launcher, sweeper, for_hydra)


def sweep_name(program: str, overrides: list[str]) -> str:
    """What was asked for, and six letters of a hash of the words: the same command, the same name.

    Neither the launcher nor where outputs lie is part of it.
    """
    said = [
        word
        for word in overrides
        if not word.lstrip("+~").startswith(("hydra", "system.")) or word.startswith(OWN_SEARCH)
    ]
    values = dict(word.lstrip("+").split("=", 1) for word in said if "=" in word)
    asked = (values.get(key) for key in ("hparams_search", "experiment", "table", "task"))
    label = next((name for name in asked if name and name.replace("_", "").isalnum()), program)
    digest = hashlib.sha256(" ".join([program, *sorted(said)]).encode()).hexdigest()[:6]
    return f"{label}_{digest}"


def probes(words: list[str]) -> list[list[str]]:
    """Jobs that hold each choice and each end of each range once: what a search may draw.

    Args:
        words: Overrides, the later of one key counting.
    """
    drawn: list[list[str]] = []
    for override in _parsed(_last_wins(words)):
        key = override.get_key_element()
        if not override.is_sweep_override():
            drawn.append([str(override.input_line)])
        elif override.is_discrete_sweep():
            drawn.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        else:
            value: Any = override.value()
            drawn.append([f"{key}={value.start}", f"{key}={value.end}"])
    first = [values[0] for values in drawn]
    return [first] + [
        [*first[:index], value, *first[index + 1 :]]
        for index, values in enumerate(drawn)
        for value in values[1:]
    ]


def without_hydra(overrides: list[str]) -> list[str]:
    """Leaves out what sets up Hydra itself: launchers need not be installed to check a run."""
    return [word for word in overrides if not word.lstrip("+~").startswith("hydra")]


def quoted(path: Path) -> str:
    """A path as a value of an override, whatever signs are in it."""
    return "'" + str(path).replace("\\", "\\\\").replace("'", "\\'") + "'"


def _hydra_of(program: str, overrides: list[str], rows: list[str]) -> tuple[dict[str, Any], str]:
    """``hydra.launcher`` and ``hydra.sweeper`` as they will be, and ``system.outputs``."""
    single = [
        str(override.input_line)
        for override in _parsed(overrides)
        if not override.is_sweep_override() or override.key_or_group.startswith("hydra")
    ]
    try:
        whole = _composed(program, single)
        node = {
            key: OmegaConf.to_container(whole.hydra[key], resolve=key == "launcher")
            for key in ("launcher", "sweeper")
        }
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        # What is wrong with the program's own words is said first, and better.
        first = probes([*without_hydra(overrides), *rows])[0]
        compose_plain(program, chosen_row(program, first))
        raise ConfigError(_explained(program, single, error)) from error
    return node, str(whole.system.outputs)


def _composed(program: str, overrides: list[str]) -> Any:
    register()
    drop_schemas()
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_dir=str(config_dir()), version_base="1.3"):
        return compose(program, overrides=overrides, return_hydra_config=True)


def _explained(program: str, overrides: list[str], error: Exception) -> str:
    """What is wrong with the words for Hydra."""
    message = str(error).splitlines()[0]
    groups = [word for word in overrides if not word.lstrip("+").startswith("hydra.")]
    for word in overrides:
        if not word.startswith(("hydra.launcher.", "hydra.sweeper.")):
            continue
        group, key = word.split("=", 1)[0].split(".", 2)[1:]
        try:
            known = [str(name) for name in _composed(program, groups).hydra[group]]
        except (HydraException, OmegaConfBaseException, ValueError):
            return message
        if key.split(".")[0] not in known:
            return f"{word}: there is no such key. {nearest(key, known)}"
    return message


def _last_wins(words: list[str]) -> list[str]:
    """Of several overrides of one key, the last, at the place of the first."""
    last: dict[str, str] = {}
    for word in words:
        last[word.split("=", 1)[0]] = word
    return list(last.values())


def _parsed(words: list[str]) -> list[Any]:
    try:
        return OverridesParser.create().parse_overrides(words)
    except HydraException as error:
        raise ConfigError(str(error)) from error
