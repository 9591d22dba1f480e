"""The folder of a run: finds it by path or id, reads and writes its files, and locks it."""

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
"""Maximum bytes of a stored configuration; a typical one has 6,000."""
GROUPS = {one.name for one in fields(TrainConfig) if one.type is Any} - {"sweep"}
"""Keys whose value is a group or null."""
STANDS_ON = "stands_on.json"
MAY_MOVE = ("data.path", "generator.path", "discriminator.path", "perceptual.network.path")
"""Keys of files whose path may change with ``run=RUN``, if their content is the same."""
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
"""Rank variables of Lightning and Slurm; all are 0 or unset in the first process."""
TORCHRUN = "TORCHELASTIC_RUN_ID"
"""Set by torchrun. Then only ``RANK`` counts: torchrun may give rank zero to any Slurm node."""


def is_first_process() -> bool:
    """Whether this process writes the run's files: the only process, or global rank zero."""
    if TORCHRUN in os.environ:
        return int(os.environ["RANK"]) == 0
    return not any(int(os.environ.get(name, 0)) for name in RANKS)


def find_run(run: str, *, outputs: str | Path) -> Path:
    """Finds a run's folder by path, or by the beginning of its id.

    Args:
        run: A path to a run's folder, or the first characters of a run id.
        outputs: The folder of all runs; a run's folder is ``<outputs>/<experiment>/<id>``.

    Raises:
        ConfigError: No run or several runs match.
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
    """Reads the resolved configuration that a run was started with; the file is not trusted.

    Args:
        folder: The run's folder.
        classes: Full names of classes outside this package that it may use (``classes=[…]``).

    Raises:
        ConfigError: It cannot be read, or names a class that is not allowed; see `check_stored`.
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
    """Resolves the relative paths of a configuration against the folder the run was started in.

    A run is in ``<outputs>/<experiment>/<id>``, so a relative ``system.outputs`` determines that
    folder, even if the project has moved. A path that does not exist from there is kept.
    """
    outputs = Path(str((stored.get("system") or {}).get("outputs") or ""))
    up = len(outputs.parts) + 1
    parents = folder.resolve().parents
    if outputs.is_absolute() or ".." in outputs.parts or up >= len(parents):
        return stored
    return _absolute(stored, parents[up], only_there=True)


def _absolute(node: Any, start: Path, *, only_there: bool) -> Any:
    """Makes relative ``path`` and ``…_path`` values absolute if they exist in the folder `start`.

    `only_there`: change nothing if `start` is the working directory.
    """
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
    """Creates the folder of all outputs, so that an unusable folder is refused before any work.

    Raises:
        ConfigError: It cannot be created, or is not writable.
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
    """A loader that refuses aliases, a few of which can expand to billions of values."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("holds an alias (*name), which this project never writes")
        return super().compose_node(parent, index)


def take_keys(stored: dict[str, Any], config: dict[str, Any], words: Iterable[str]) -> None:
    """Copies the values at dotted keys of ``config`` into ``stored``."""
    # Whole groups first (trainer=ddp), then single keys (trainer.devices=4).
    for word in sorted(words, key=lambda word: word.count(".")):
        *path, last = word.split(".")
        there, here = stored, config
        for key in path:
            there, here = there.setdefault(key, {}), here[key]
        there[last] = here[last]


def require_file(stored: Mapping[str, Any], key: str, *, run: str) -> None:
    """Refuses a new path for something that the run does not read from a file.

    Raises:
        ConfigError: The run has no path at that key.
    """
    node: Any = stored
    for part in key.split(".")[:-1]:
        node = (node or {}).get(part)
    if not (node or {}).get("path"):
        raise ConfigError(f"run={run} reads no file at {key}: leave {key} out.")


def write_config(folder: Path, config: dict[str, Any], *, command: str | None = None) -> None:
    """Writes the resolved configuration, headed by the command that first created the folder.

    Args:
        folder: The run's folder; created if needed.
        config: Plain values.
        command: The command line; used only if the folder has none yet.
    """
    outputs = Path(str((config.get("system") or {}).get("outputs") or ""))
    # Then the run's folder does not show where the run was started.
    if outputs.is_absolute() or ".." in outputs.parts:
        config = _absolute(config, Path.cwd(), only_there=False)
    first = first_command(folder) or command
    heading = f"# {first}\n" if first else ""
    durable.write(folder / CONFIG, heading + yaml.safe_dump(config, sort_keys=False))


def write_contents(folder: Path, contents: Mapping[str, str]) -> None:
    """Writes the hashes of a run's inputs when it starts; existing ones are kept.

    Args:
        folder: The run's folder.
        contents: Top-level key to the content hash of the files at its paths.
    """
    if not (folder / STANDS_ON).is_file():
        durable.write(folder / STANDS_ON, json.dumps(dict(contents), indent=1) + "\n")


def read_contents(folder: Path) -> dict[str, str] | None:
    """Reads the input hashes of a run; ``None`` for an older run, which has none.

    Raises:
        ConfigError: The file cannot be read.
    """
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
    """Reads the command that started a run from the first line of its configuration, if any."""
    path = folder / CONFIG
    if not path.is_file():
        return None
    with open_regular(path) as file:
        first = file.readline(LARGEST).decode(errors="replace").rstrip()
    return first.removeprefix("# ") if first.startswith("# ") else None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Locks a run's folder against other processes; the lock ends with its process.

    Only rank zero locks. Processes on other machines are excluded if the file system shares locks,
    as NFS does. A file system without locks gives a warning.

    Raises:
        RunLockedError: Another process holds the lock.
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
