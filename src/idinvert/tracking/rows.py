"""The rows of ``metrics.jsonl``, without what writes them: reading needs no torch."""

import contextlib
from pathlib import Path

from idinvert.untrusted import memory_bytes, parse_json, read_bounded


def last_values(path: Path) -> dict[str, float]:
    """The last value of each column of a ``metrics.jsonl``."""
    return {name: value for row in read_rows(path) for name, value in row.items()}


def read_rows(path: Path) -> list[dict[str, float]]:
    """The rows of a ``metrics.jsonl``; lines that a kill or a damaged disk broke are left out."""
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
