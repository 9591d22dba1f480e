"""``status.json``: how a run stands, for sweeps and tables that come after it."""

import json
import os
from pathlib import Path


def write_status(folder: Path, *, state: str, nimg: int) -> None:
    """Stores the state of a run.

    Args:
        folder: The run's folder.
        state: ``running``, ``finished``, ``stopped`` (may go on), ``diverged`` or ``failed``.
        nimg: Images seen.
    """
    partial = folder / "status.json.partial"
    partial.write_text(json.dumps({"state": state, "nimg": nimg}) + "\n", encoding="utf-8")
    os.replace(partial, folder / "status.json")


def read_status(folder: Path) -> dict[str, str | int]:
    """The stored state, or ``{"state": "unknown", "nimg": 0}``."""
    path = folder / "status.json"
    if not path.is_file():
        return {"state": "unknown", "nimg": 0}
    return json.loads(path.read_text(encoding="utf-8"))
