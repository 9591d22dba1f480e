"""``status.json``: how a run stands, for sweeps, tables and people that come after it."""

import datetime
import json
import os
import socket
from pathlib import Path
from typing import Any

from idinvert.durable import write
from idinvert.untrusted import read_json


def write_status(folder: Path, *, state: str, nimg: int, stopped_by: str | None = None) -> None:
    """Stores the state of a run, with the process that says so, its machine and the time.

    Args:
        folder: The run's folder.
        state: ``running``, ``finished``, ``stopped`` (may go on), ``diverged`` or ``failed``.
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
    """State and images; ``{"state": "unknown", "nimg": 0}`` where it is missing or damaged.

    A run of this machine whose process lives no more is ``killed``, whatever it wrote last; on
    another machine it is taken at its word.
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
    """All that ``status.json`` holds; nothing where it cannot be read."""
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
