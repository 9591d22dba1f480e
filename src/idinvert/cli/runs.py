"""``python -m idinvert runs``: lists the runs of this machine with their settings and state."""

# Nothing here imports torch: shell completion of run= must answer within a second.

import argparse
import contextlib
import datetime
import functools
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from idinvert.config.compose import key_of
from idinvert.config.identity import NOT_SCIENCE
from idinvert.config.run_folder import CONFIG, LARGEST, first_command
from idinvert.errors import command_line, readable
from idinvert.tracking.run_files import last_values, read_facts, read_status
from idinvert.untrusted import read_bounded

NO_CHOICE = {"experiment", "hydra", "hparams_search", "trainer", "debug", *NOT_SCIENCE} - {"scale"}
"""Top-level keys that do not distinguish runs, or have a column of their own."""
OFF = ("null", "none", "false", "0", "")
STATES = (
    "running", "finished", "stopped", "killed", "diverged", "failed", "failed to start", "unknown"
)  # fmt: skip
FIGURES = ("val/mse", "val/", "loss/")
"""Prefixes of the last column's metric, in order of preference."""
NO_FIGURE = ("_of_mean_image", "_squared")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One line of the list.

    Attributes:
        id: Id of the run, the name of its folder.
        name: The user's name for it, or a readable name made of what differs from the default.
        folder: Path of its folder.
        date: Time of its last status, in UTC.
        experiment: Its objective.
        choices: Overrides of its first command that name it or change its identity.
        nimg: Images seen.
        state: One of `STATES`; ``unknown`` if the status of a started run cannot be read.
        last_metric: The last value of a validation metric, or of a loss if there is none.
    """

    id: str
    name: str
    folder: str
    date: str
    experiment: str
    choices: list[str]
    nimg: int
    state: str
    last_metric: str


def choices_of(command: str | None) -> list[str]:
    """The overrides of a command that determine what is trained.

    Args:
        command: The command in the first line of the run's configuration; ``None`` if unknown.
    """
    words = [word for word in _words(command) if re.match(r"[+~]*\w[\w./@]*=", word)]
    return [word for word in words if key_of(word).split(".", 1)[0] not in NO_CHOICE]


def _words(command: str | None) -> list[str]:
    """Splits a command into words as a shell does, without the program."""
    try:
        return shlex.split(command or "")[1:]
    except ValueError:  # from an older version, or edited
        return (command or "").split()[1:]


def name_of(choices: Sequence[str], *, data: str) -> str:
    """A readable name, such as ``faces_mini-resnet18-no_offset``.

    Args:
        choices: The overrides from `choices_of`.
        data: Name of the data set.
    """
    parts = [data]
    for word in choices:
        key, value = word.lstrip("+~").split("=", 1)
        last = re.split(r"[./]", key)[-1]
        if key in ("data", "data.name", "data.path"):
            continue
        if value.lower() in OFF and last != "seed":
            parts.append(f"no_{last}")
        elif "." not in key and re.fullmatch(r"[a-z]\w*", value):
            parts.append(value)
        else:
            parts.append(f"{last}_{re.sub(r'[^0-9A-Za-z.]+', '_', value).strip('_')}")
    return "-".join(parts)


def runs_in(outputs: Path) -> Iterator[Run]:
    """Yields the runs of a folder, the newest last."""
    folders = [path.parent for path in outputs.glob(f"*/*/{CONFIG}")]
    yield from sorted(map(_run, folders), key=lambda run: (run.date, run.id))


def _run(folder: Path) -> Run:
    status, facts = read_status(folder), read_facts(folder)
    state, last = str(status["state"]), dict[str, float]()
    with contextlib.suppress(OSError):  # an unreadable run must not hide the others
        last = last_values(folder / "metrics.jsonl")
    begun = bool(last) or any((folder / "checkpoints").glob("*.ckpt"))
    if not begun and not status["nimg"] and state not in ("running", "stopped", "finished"):
        state = "failed to start"
    written = datetime.datetime.fromtimestamp((folder / CONFIG).stat().st_mtime, datetime.UTC)
    date = str(facts.get("time") or written.isoformat(timespec="seconds"))
    choices = choices_of(first_command(folder))
    called = [word for word in _words(first_command(folder)) if word.startswith("name=")][-1:]
    name = called[0].removeprefix("name=") if called else name_of(choices, data=_data_of(folder))
    return Run(
        id=folder.name,
        name=name,
        folder=str(folder),
        date=date,
        experiment=folder.parent.name,
        choices=[*called, *choices],
        nimg=int(status["nimg"]),
        state=state,
        last_metric=_last_metric(last),
    )


def _data_of(folder: Path) -> str:
    try:
        node = yaml.safe_load(read_bounded(folder / CONFIG, most=LARGEST))["data"]
        return str(node.get("name") or node["_target_"].rsplit(".", 1)[-1])
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError):
        return "unreadable"


def _last_metric(last: dict[str, float]) -> str:
    for start in FIGURES:
        for name, value in last.items():
            if name.startswith(start) and not name.endswith(NO_FIGURE):
                return f"{name} {value:.4g}"
    return ""


def offered(line: str) -> list[str]:
    """The words ``run=ID`` that complete a command line, without runs that failed to start.

    Args:
        line: The command line typed so far.
    """
    words = line.split()
    outputs = [word.split("=", 1)[1] for word in words if word.startswith("system.outputs=")]
    found = runs_in(Path(outputs[-1] if outputs else "outputs"))
    ids = [f"run={run.id}" for run in found if run.state != "failed to start"]
    return [word for word in ids if word.startswith(words[-1])]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m idinvert runs", description=__doc__)
    parser.add_argument(
        "words",
        nargs="*",
        metavar="WORD",
        help="only runs whose entry contains each of these words",
    )
    parser.add_argument("--state", choices=STATES, help="only runs of this state")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="folder of the runs")
    parser.add_argument("--json", action="store_true", help="all facts, one run a line")
    parser.set_defaults(work=_list)
    return parser


main = functools.partial(command_line, _parser)


def _list(given: argparse.Namespace) -> None:
    found = [
        run
        for run in runs_in(given.outputs)
        if given.state in (None, run.state)
        and all(word in " ".join(map(str, asdict(run).values())) for word in given.words)
    ]
    if given.json:
        print("\n".join(json.dumps(asdict(run)) for run in found))
    elif found:
        Console(highlight=False).print(_table(found))
    else:
        print(f"no such runs in {given.outputs}")


def _table(found: list[Run]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    columns: dict[str, Any] = {
        "id": {"no_wrap": True, "style": "bold"},
        "date": {"no_wrap": True},
        "experiment, choices": {"overflow": "fold"},
        "nimg": {"justify": "right", "no_wrap": True},
        "state": {"overflow": "fold"},
        "last metric": {"overflow": "fold"},
    }
    for name, look in columns.items():
        table.add_column(name, **look)
    for run in found:
        what = " ".join([run.experiment, *run.choices])
        day = run.date[5:16].replace("T", " ")
        row = (run.id, day, what, f"{run.nimg:,}", run.state, run.last_metric)
        table.add_row(*(Text(readable(cell)) for cell in row))
    return table
