"""Reads and writes a run's ``status.json``, and reads the rows of its ``metrics.jsonl``.

Sweeps, tables and lists of runs use these files; reading does not import torch.
"""

import contextlib
import datetime
import json
import os
import socket
from pathlib import Path
from typing import Any

from idinvert.durable import write
from idinvert.untrusted import memory_bytes, parse_json, read_bounded, read_json


def write_status(folder: Path, *, state: str, nimg: int, stopped_by: str | None = None) -> None:
    """Writes the state of a run, with this process's id, its machine and the time.

    Args:
        folder: The run's folder.
        state: ``running``, ``finished``, ``stopped`` (can continue), ``diverged`` or ``failed``.
        nimg: Images seen.
        stopped_by: Name of the signal that stopped it.
    """
    facts = {
        "state": state,
        "nimg": nimg,
        "process": os.getpid(),
        "host": socket.gethostname(),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    facts |= {"stopped_by": stopped_by} if stopped_by else {}
    write(folder / "status.json", json.dumps(facts) + "\n")


def read_status(folder: Path) -> dict[str, str | int]:
    """Reads state and images seen; ``unknown`` and 0 if the file is missing or damaged.

    A ``running`` run whose process no longer exists is ``killed``. This is only checked for runs
    of this machine.
    """
    try:
        found = read_facts(folder)
        state, nimg = str(found["state"]), int(found["nimg"])
        if state == "running" and found.get("host") == socket.gethostname():
            state = "running" if _lives(int(found["process"])) else "killed"
        return {"state": state, "nimg": nimg}
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        return {"state": "unknown", "nimg": 0}


def read_facts(folder: Path) -> dict[str, Any]:
    """Reads the whole ``status.json``; empty if it cannot be read."""
    try:
        return dict(read_json(folder / "status.json", nan=True))
    except (OSError, ValueError, TypeError):
        return {}


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def last_values(path: Path) -> dict[str, float]:
    """The last value of each column of a ``metrics.jsonl``."""
    return {name: value for row in read_rows(path) for name, value in row.items()}


def read_rows(path: Path) -> list[dict[str, float]]:
    """The rows of a ``metrics.jsonl``; damaged lines are skipped."""
    try:
        lines = read_bounded(path, most=memory_bytes()).splitlines()
    except FileNotFoundError:
        return []
    rows = []
    for line in lines:
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            found = dict(parse_json(line, nan=True))
            row = {name: float(value) for name, value in found.items()}
            rows += [row | {"nimg": int(row["nimg"])}] if "nimg" in row else []
    return rows
