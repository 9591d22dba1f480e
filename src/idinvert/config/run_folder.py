"""The folder of a run: found by path or id, locked while a process works in it."""

import fcntl
import json
import os
import socket
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from idinvert import durable
from idinvert.config.compose import usual_targets
from idinvert.config.identity import present_targets
from idinvert.config.instantiate import check_stored
from idinvert.config.schema import TrainConfig
from idinvert.errors import ConfigError, RunLockedError, nearest
from idinvert.untrusted import (
    check_plain,
    open_regular,
    read_bounded,
    read_json,
    regular,
    shown,
)

CONFIG = "config.yaml"
LARGEST = 100_000
"""Bytes of a stored configuration; a usual one has 6,000."""
GROUPS = {one.name for one in fields(TrainConfig) if one.type is Any} - {"sweep"}
"""Keys that hold a group or nothing."""
STANDS_ON = "stands_on.json"
MAY_MOVE = ("data.path", "generator.path", "discriminator.path", "perceptual.network.path")
"""Keys of files that ``run=RUN`` takes from a command, where their content is the same."""
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
"""What Lightning and Slurm call a process that is not the first; 0 for the first."""
TORCHRUN = "TORCHELASTIC_RUN_ID"
"""Under torchrun ``RANK`` alone counts: it gives rank zero to any node, whatever Slurm says."""


def is_first_process() -> bool:
    """Whether this process writes the run's files: the only one, or rank zero of all nodes."""
    if TORCHRUN in os.environ:
        return int(os.environ["RANK"]) == 0
    return not any(int(os.environ.get(name, 0)) for name in RANKS)


def find_run(run: str, *, outputs: str | Path) -> Path:
    """The run's folder from a path, or from the beginning of its id.

    Args:
        run: A path to a run's folder, or the first characters of a run id.
        outputs: Where runs lie, as ``<outputs>/<experiment>/<id>``.

    Raises:
        ConfigError: No such run, or more than one.
    """
    if (Path(run) / CONFIG).is_file():
        return Path(run)
    folders = [path.parent for path in Path(outputs).glob(f"*/*/{CONFIG}")]
    found = [folder for folder in folders if folder.name.startswith(run)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"run={run} fits {len(found)} runs: {', '.join(map(str, found))}.")
    ids = [folder.name for folder in folders]
    hint = nearest(run, ids) if ids else f"There are no runs in {outputs} (system.outputs)."
    raise ConfigError(f"run={run} is neither a run's folder nor the id of one. {hint}")


def read_config(folder: Path, *, classes: Collection[str] = ()) -> dict[str, Any]:
    """The resolved configuration a run was started with; anyone may have written it.

    Args:
        folder: The run's folder.
        classes: Classes outside this package that it may name (``classes=[…]``), in full.

    Raises:
        ConfigError: It cannot be read, or names anything that is not allowed; see `check_stored`.
    """
    try:
        content = read_bounded(folder / CONFIG, most=LARGEST)
        found = yaml.load(content, Loader=_WithoutAliases)
        if not isinstance(found, dict):
            raise ValueError(f"is {shown(found)}, expected keys")
        check_plain(found)
        found = present_targets(found)
        for group in GROUPS & found.keys():
            if not isinstance(found[group], dict | None):
                raise ValueError(f"{group} is {shown(found[group])}, expected a group or null")
        check_stored(found, usual=usual_targets(), named=classes)
    except RecursionError:
        raise ConfigError(f"{folder / CONFIG}: is nested too deeply") from None
    except (OSError, ValueError, yaml.YAMLError, ConfigError) as error:
        told = str(error).removeprefix(f"{folder / CONFIG}: ")
        raise ConfigError(f"{folder / CONFIG}: {told}") from error
    return _from_start(found, folder)


def _from_start(stored: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The configuration with its relative paths read from where the run was started.

    A run lies in ``<outputs>/<experiment>/<id>``, so a relative ``system.outputs`` tells the start,
    also of a project that has moved. A path that leads nowhere from there stays as it is.
    """
    outputs = Path(str((stored.get("system") or {}).get("outputs") or ""))
    up = len(outputs.parts) + 1
    parents = folder.resolve().parents
    if outputs.is_absolute() or ".." in outputs.parts or up >= len(parents):
        return stored
    return _absolute(stored, parents[up], only_there=True)


def _absolute(node: Any, start: Path, *, only_there: bool) -> Any:
    """A configuration whose relative ``path`` and ``…_path`` values are read from a folder."""
    if not isinstance(node, dict):
        return node
    found = {}
    for key, value in node.items():
        found[key] = _absolute(value, start, only_there=only_there)
        if isinstance(value, str) and (key == "path" or str(key).endswith("_path")):
            typed = Path(value)
            there = start / typed
            relative = not typed.is_absolute() and value[:1] not in ("", "~") and ":" not in value
            moved = start.resolve() != Path.cwd() or not only_there
            if relative and moved and there.exists():
                found[key] = str(there)
    return found


def require_folder(outputs: str) -> None:
    """Makes the folder of all outputs, so that one that cannot be is refused before any work.

    Raises:
        ConfigError: It cannot be made, or nothing can be written there.
    """
    try:
        Path(outputs).mkdir(parents=True, exist_ok=True)
        reason = "it is not for writing" if not os.access(outputs, os.W_OK) else ""
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise ConfigError(
            f"got system.outputs={outputs}, expected a folder that can be written ({reason}); "
            "change system.outputs"
        )


class _WithoutAliases(yaml.SafeLoader):
    """A few aliases can stand for billions of values."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("holds an alias (*name), which this project never writes")
        return super().compose_node(parent, index)


def take_keys(stored: dict[str, Any], config: dict[str, Any], words: Iterable[str]) -> None:
    """Puts what stands at dotted keys of ``config`` into ``stored``."""
    # Whole groups first (trainer=ddp), then single keys (trainer.devices=4).
    for word in sorted(words, key=lambda word: word.count(".")):
        *path, last = word.split(".")
        there, here = stored, config
        for key in path:
            there, here = there.setdefault(key, {}), here[key]
        there[last] = here[last]


def require_file(stored: Mapping[str, Any], key: str, *, run: str) -> None:
    """Refuses a new place for what a run does not read from a file.

    Raises:
        ConfigError: There is no file at that key.
    """
    node: Any = stored
    for part in key.split(".")[:-1]:
        node = (node or {}).get(part)
    if not (node or {}).get("path"):
        raise ConfigError(f"run={run} reads no file at {key}: leave {key} out.")


def write_config(folder: Path, config: dict[str, Any], *, command: str | None = None) -> None:
    """Stores the resolved configuration under the command that first made the folder.

    Args:
        folder: The run's folder; made if need be.
        config: Plain values.
        command: The command line; only a folder without one takes it.
    """
    outputs = Path(str((config.get("system") or {}).get("outputs") or ""))
    if outputs.is_absolute() or ".." in outputs.parts:  # then the folder does not tell the start
        config = _absolute(config, Path.cwd(), only_there=False)
    first = first_command(folder) or command
    heading = f"# {first}\n" if first else ""
    durable.write(folder / CONFIG, heading + yaml.safe_dump(config, sort_keys=False))


def write_contents(folder: Path, contents: Mapping[str, str]) -> None:
    """Stores the hashes of a run's inputs when it starts; they stay as they are.

    Args:
        folder: The run's folder.
        contents: Top-level key to the hash of what its paths lead to.
    """
    if not (folder / STANDS_ON).is_file():
        durable.write(folder / STANDS_ON, json.dumps(dict(contents), indent=1) + "\n")


def read_contents(folder: Path) -> dict[str, str] | None:
    """The hashes that a run started with; ``None`` where it is older than they are."""
    try:
        return dict(read_json(folder / STANDS_ON, most=LARGEST))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{folder / STANDS_ON}: cannot be read ({error}); delete it to continue without a "
            "check of the images and networks that the run started with"
        ) from error


def first_command(folder: Path) -> str | None:
    """The command line that a run was started with, as its configuration is headed."""
    path = folder / CONFIG
    if not path.is_file():
        return None
    with open_regular(path) as file:
        first = file.readline(LARGEST).decode(errors="replace").rstrip()
    return first.removeprefix("# ") if first.startswith("# ") else None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps a second process out of a run's folder; the lock dies with its process.

    Ranks beside rank zero do not lock. Processes on other machines are kept out as well where the
    file system hands locks on, as NFS does; one that knows no locks is said aloud.

    Raises:
        RunLockedError: Another process is at work there.
    """
    if not is_first_process():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a+", encoding="utf-8", opener=regular) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise RunLockedError(
                f"{folder} is in use by process {file.read().strip() or '?'}: the same run is "
                "already going on. Wait for it, or change what makes this run another one "
                "(seed=1, for instance).",
                folder=folder,
            ) from None
        except OSError as error:
            warnings.warn(
                f"the file system of {folder} does not lock ({error}): see to it yourself that "
                "no second process works on this run.",
                stacklevel=3,
            )
        file.truncate(0)
        file.write(f"{os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
