"""The rows of ``metrics.jsonl``, without what writes them: reading needs no torch."""

import contextlib
import json
from pathlib import Path


def last_values(path: Path) -> dict[str, float]:
    """The last value of each column of a ``metrics.jsonl``."""
    return {name: value for row in read_rows(path) for name, value in row.items()}


def read_rows(path: Path) -> list[dict[str, float]]:
    """The rows of a ``metrics.jsonl``; lines that a kill or a damaged disk broke are left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_bytes().splitlines():
        with contextlib.suppress(ValueError, TypeError, OverflowError, RecursionError):
            row = {str(name): float(value) for name, value in dict(json.loads(line)).items()}
            rows += [row | {"nimg": int(row["nimg"])}] if "nimg" in row else []
    return rows
