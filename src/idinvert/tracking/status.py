"""``status.json``: how a run stands, for sweeps and tables that come after it."""

import json
from pathlib import Path

from idinvert.durable import write


def write_status(folder: Path, *, state: str, nimg: int) -> None:
    """Stores the state of a run.

    Args:
        folder: The run's folder.
        state: ``running``, ``finished``, ``stopped`` (may go on), ``diverged`` or ``failed``.
        nimg: Images seen.
    """
    write(folder / "status.json", json.dumps({"state": state, "nimg": nimg}) + "\n")


def read_status(folder: Path) -> dict[str, str | int]:
    """The stored state; ``{"state": "unknown", "nimg": 0}`` where it is missing or damaged."""
    try:
        found = json.loads((folder / "status.json").read_bytes())
        return {"state": str(found["state"]), "nimg": int(found["nimg"])}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return {"state": "unknown", "nimg": 0}
