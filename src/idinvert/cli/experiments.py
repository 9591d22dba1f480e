"""Reads sweeps from experiment files; each line of a sweep is a list of overrides as typed."""

import functools
import re
import shlex
from typing import Any

import yaml

from idinvert.config.argv import from_shell
from idinvert.config.compose import config_dir, config_files, expand_sweep, key_of
from idinvert.errors import ConfigError, nearest

PROGRAMS = ("train", "evaluate")
EXPERIMENT = "experiment"
ROW = "row"
CHOSEN = "sweep=null"
"""Added to a row that names its own experiment, so that the row is not a sweep again."""
OF_TABLE = "of_table"
"""Used instead of lines: every run that conf/table/<experiment>.yaml needs."""


def rows_of_sweep(program: str, overrides: list[str]) -> list[list[str]] | None:
    """The rows of a command line's sweep: the overrides of each job, including the user's.

    A row is a line of ``sweep.<program>`` in the experiment's file, or one combination if the line
    has several values; ``of_table`` means the training commands of the table of that name. The
    user's overrides replace those of the row with the same key, so that a line also works with
    other data and scales. Rows do not contain ``row=`` and ``experiment=``. Equal rows are listed
    once.

    Returns:
        ``None`` if ``experiment=`` is not given or names a single run, or a row was chosen.

    Raises:
        ConfigError: The experiment belongs to the other program.
    """
    name = _experiment(overrides)
    if name is None or CHOSEN in overrides:
        return None
    file = _read(name)
    lines = file.get("sweep")
    if lines is None:
        # A single run's file that chooses a task belongs to evaluate.py.
        if ("override /task" in _groups(file)) != (program == "evaluate"):
            raise ConfigError(_other_program(program, f"experiment={name}"))
        return None
    if not lines or not set(lines) <= set(PROGRAMS):
        raise ConfigError(f"experiment={name}: sweep takes {' and '.join(PROGRAMS)}; got {lines!r}")
    if program not in lines:
        raise ConfigError(_other_program(program, f"-m experiment={name}"))
    own = [word for word in overrides if key_of(word) not in (EXPERIMENT, ROW)]
    keys = {key_of(word) for word in own}
    kept = []
    if len(file) > 1:  # the file sets more than its sweep
        kept, own = [f"{EXPERIMENT}={name}"], [*own, CHOSEN]
    found = lines[program]
    if found == OF_TABLE:
        found = _lines_of_table(name, _value_of("scale", overrides) or "miniature")
    rows: list[list[str]] = []
    for line in found:
        words = from_shell(line, key="sweep")
        for row in expand_sweep([word for word in words if key_of(word) not in keys]):
            if (whole := [*kept, *row, *own]) not in rows:
                rows.append(whole)
    return rows


def every_row(program: str, overrides: list[str]) -> list[str]:
    """The override ``row=0,1,…`` that a multirun gets if its experiment is a sweep; else empty.

    Raises:
        ConfigError: As `rows_of_sweep`.
    """
    rows = rows_of_sweep(program, overrides)
    if rows is None or _value_of(ROW, overrides) is not None:
        return []
    return [f"{ROW}={','.join(map(str, range(len(rows))))}"]


def chosen_row(program: str, overrides: list[str]) -> list[str]:
    """The overrides of one job: the row chosen by ``row=``, or the given ones without a sweep.

    Raises:
        ConfigError: A sweep without ``-m`` and without ``row=``, or a row that does not exist.
    """
    rows, given = rows_of_sweep(program, overrides), _value_of(ROW, overrides)
    if rows is None:
        if given is not None:
            raise ConfigError(f"row={given} chooses from a sweep: give its experiment=NAME.")
        return overrides
    named = f"experiment={_experiment(overrides)}"
    if given is None:
        last = f" to row={len(rows) - 1}" if len(rows) > 1 else ""
        raise ConfigError(f"{named} is a sweep of {len(rows)}: add -m, or give row=0{last}.")
    if not given.isdigit() or int(given) >= len(rows):
        raise ConfigError(f"row={given}: {named} has rows 0 to {len(rows) - 1}.")
    return [*rows[int(given)], f"{ROW}={given}"]


def chosen_by_experiment(overrides: list[str]) -> list[str]:
    """The keys that an experiment's file sets.

    Like overrides on the command line, they take precedence over a run's configuration.
    """
    name = _experiment(overrides)
    if name is None:
        return []
    file = _read(name)
    groups = [key.removeprefix("override /") for key in _groups(file)]
    return [*groups, *(key for key in file if key not in ("defaults", "sweep"))]


def _experiment(overrides: list[str]) -> str | None:
    """The experiment if exactly one is given; Hydra runs several one by one."""
    name = _value_of(EXPERIMENT, overrides)
    return name if name is not None and re.fullmatch(r"[\w-]+", name) else None


def _read(name: str) -> dict[str, Any]:
    """The content of an experiment's file."""
    files = config_files(EXPERIMENT)
    if name not in files:
        raise ConfigError(f"there is no such experiment: {name}. " + nearest(name, list(files)))
    return yaml.safe_load(files[name].read_text(encoding="utf-8")) or {}


def _groups(file: dict[str, Any]) -> list[str]:
    """The keys of a file's defaults list, such as ``override /task``."""
    return [str(key) for item in file.get("defaults", []) if isinstance(item, dict) for key in item]


def _other_program(program: str, words: str) -> str:
    """The error message if an experiment belongs to the other program."""
    name = words.removeprefix("-m ")
    if program == "evaluate":
        command = f"python train.py {words}"
        return f"{name} trains: {command}. Then evaluate: python evaluate.py run=RUN."
    return f"{name} only evaluates: python evaluate.py {words} run=RUN."


@functools.cache
def _lines_of_table(name: str, scale: str) -> list[str]:
    """The overrides of a table's training commands; cached, as every job of a sweep needs them."""
    from idinvert.results.parse import described  # few commands need it

    path = config_dir() / "table" / f"{name}.yaml"
    spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [shlex.join(words) for words in described(spec, scale=scale).trainings()]


def _value_of(key: str, overrides: list[str]) -> str | None:
    """The value in the last override of a key."""
    found = [word.split("=", 1)[1] for word in overrides if key_of(word) == key and "=" in word]
    value = found[-1].strip("'\"") if found else None
    return None if value == "null" else value
