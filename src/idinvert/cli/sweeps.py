"""Sweeps that stand in an experiment file: one line a set of runs, as one would type them."""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from idinvert.config.compose import config_dir, expand_sweep, own_config_dir
from idinvert.config.instantiate import nearest
from idinvert.errors import ConfigError
from idinvert.results.parse import described

PROGRAMS = ("train", "evaluate")
EXPERIMENT = "experiment"
ROW = "row"
CHOSEN = "sweep=null"
"""Says of a row that it is one: where it names its experiment, that is no sweep again."""
OF_TABLE = "of_table"
"""Instead of lines: every run that conf/table/<experiment>.yaml asks for."""


@dataclass(frozen=True)
class Sweep:
    """The rows of an experiment file for one program.

    Attributes:
        name: Of the file.
        rows: Overrides of each run, the user's own words included.
    """

    name: str
    rows: list[list[str]]


def find_sweep(program: str, overrides: list[str]) -> Sweep | None:
    """The sweep that a command line names, with the user's words in every row.

    A row is a line of ``sweep.<program>`` in the experiment's file, or one combination of it where
    it lists several values; ``of_table`` stands for the training commands of the table of that
    name. A word of the user's wins over the row's, so that one line serves other
    data and scales; rows that this makes equal are one.

    Args:
        program: ``"train"`` or ``"evaluate"``.
        overrides: The command line's overrides; ``row=`` and ``experiment=`` do not get into rows.

    Returns:
        ``None`` where ``experiment=`` is not given or names a single run, or a row was chosen.

    Raises:
        ConfigError: The experiment is the other program's.
    """
    name = _named(overrides)
    if name is None or CHOSEN in overrides:
        return None
    file = _read(name)
    lines = file.get("sweep")
    if lines is None:
        if _program_of(file) != program:
            raise ConfigError(_other(program, name, many=False))
        return None
    if not lines or not set(lines) <= set(PROGRAMS):
        raise ConfigError(f"experiment={name}: sweep takes {' and '.join(PROGRAMS)}; got {lines!r}")
    if program not in lines:
        raise ConfigError(_other(program, name, many=True))
    kept = [f"{EXPERIMENT}={name}"] if len(file) > 1 else []  # it says more than its sweep
    own = [word for word in overrides if _key(word) not in (EXPERIMENT, ROW)]
    keys = {_key(word) for word in own}
    own += [CHOSEN] if kept else []
    rows: list[list[str]] = []
    of_table = lines[program] == OF_TABLE
    scale = _value_of("scale", overrides) or "miniature"
    for line in _lines_of_table(name, scale) if of_table else lines[program]:
        words = [word for word in line.split() if _key(word) not in keys]
        for row in expand_sweep(words):
            if (whole := [*kept, *row, *own]) not in rows:
                rows.append(whole)
    return Sweep(name=name, rows=rows)


def with_rows(program: str, overrides: list[str]) -> list[str]:
    """A multirun's overrides, with ``row=0,1,…`` where its experiment is a sweep.

    Raises:
        ConfigError: As `find_sweep`.
    """
    sweep = find_sweep(program, overrides)
    if sweep is None or _value_of(ROW, overrides) is not None:
        return overrides
    return [*overrides, f"{ROW}={','.join(str(index) for index in range(len(sweep.rows)))}"]


def chosen_row(program: str, overrides: list[str]) -> list[str]:
    """The overrides of one job: the row that ``row=`` chooses, or those given.

    Raises:
        ConfigError: A sweep without ``-m`` and without ``row=``, or a row that it has not.
    """
    sweep = find_sweep(program, overrides)
    given = _value_of(ROW, overrides)
    if sweep is None:
        if given is not None:
            raise ConfigError(f"row={given} chooses from a sweep: give its experiment=NAME.")
        return overrides
    if given is None:
        raise ConfigError(
            f"experiment={sweep.name} is a sweep of {len(sweep.rows)}: add -m, or choose one with "
            f"row=0 to row={len(sweep.rows) - 1}."
        )
    if not given.isdigit() or int(given) >= len(sweep.rows):
        raise ConfigError(
            f"row={given}: experiment={sweep.name} has rows 0 to {len(sweep.rows) - 1}."
        )
    return [*sweep.rows[int(given)], f"{ROW}={given}"]


def chosen_by_experiment(overrides: list[str]) -> list[str]:
    """The keys that an experiment's file sets, as words: they count as given on the command line.

    Of a run's configuration they win, as the words of the command line do.
    """
    name = _named(overrides)
    if name is None:
        return []
    file = _read(name)
    groups = [
        str(key).removeprefix("override /")
        for entry in file.get("defaults", [])
        if isinstance(entry, dict)
        for key in entry
    ]
    return [*groups, *(key for key in file if key not in ("defaults", "sweep"))]


def given_keys(overrides: Sequence[str]) -> dict[str, list[str]]:
    """The top-level keys that overrides name, each with the dotted keys that stand there."""
    given: dict[str, list[str]] = {}
    for override in overrides:
        word = override.lstrip("+~").split("=", 1)[0].split("@", 1)[0]
        given.setdefault(word.split(".", 1)[0], []).append(word)
    return given


def _named(overrides: list[str]) -> str | None:
    """The one experiment that is given; Hydra takes several one by one."""
    name = _value_of(EXPERIMENT, overrides)
    return name if name is not None and re.fullmatch(r"[\w-]+", name) else None


def _read(name: str) -> dict[str, Any]:
    """What stands in an experiment's file."""
    roots = [root for root in (own_config_dir(), config_dir()) if root is not None]
    files = {path.stem: path for root in roots for path in root.glob(f"{EXPERIMENT}/*.yaml")}
    path = files.get(name)
    if path is None:
        raise ConfigError(f"there is no such experiment: {name}. " + nearest(name, list(files)))
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def _program_of(file: dict[str, Any]) -> str:
    """Which program a single run's experiment is for: one that chooses a task is evaluation's."""
    groups = [key for entry in file.get("defaults", []) if isinstance(entry, dict) for key in entry]
    return "evaluate" if "override /task" in groups else "train"


def _other(program: str, name: str, *, many: bool) -> str:
    """Which command an experiment is for, said to who typed the other one."""
    other = "train" if program == "evaluate" else "evaluate"
    command = f"python {other}.py {'-m ' if many else ''}experiment={name}"
    if other == "train":
        return f"experiment={name} trains: {command}. Then evaluate: python evaluate.py run=RUN."
    return f"experiment={name} only evaluates: {command} run=RUN."


def _lines_of_table(name: str, scale: str) -> list[str]:
    """The words of the training commands of a table."""
    return _commands_in(config_dir() / "table" / f"{name}.yaml", scale)


@functools.cache
def _commands_in(path: Path, scale: str) -> list[str]:
    """The same from the table's file; every job of a sweep asks for them."""
    spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [" ".join(words) for words in described(spec, scale=scale).trainings()]


def _key(word: str) -> str:
    return word.lstrip("+~").split("=", 1)[0].split("@", 1)[0]


def _value_of(key: str, overrides: list[str]) -> str | None:
    """What the last override of a key says."""
    found = [word.split("=", 1)[1] for word in overrides if _key(word) == key and "=" in word]
    value = found[-1].strip("'\"") if found else None
    return None if value == "null" else value
