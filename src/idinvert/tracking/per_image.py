"""The table of an evaluation's images one by one: figures, time, and what they look like."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open

if TYPE_CHECKING:
    import wandb

SHOWN = "shown.safetensors"
"""The first images of an evaluation: ``target``, ``encoder``, ``inverted``, uint8 [m, 3, R, R]."""
ROWS = 10_000
"""Lines of the table at most, W&B's own limit where nothing else is set."""
_PART = re.compile(r"part-(\d+)-(\d+)")


def per_image_table(folder: Path, *, images: int) -> wandb.Table | None:
    """A line an image, from ``per_image.csv``, ``parts/`` and ``shown.safetensors``.

    Args:
        folder: Of an evaluation.
        images: The first so many lines show target, encoder's reconstruction and inversion.

    Returns:
        None where the evaluation keeps no figures of single images.
    """
    import wandb

    path = folder / "per_image.csv"
    if not path.is_file():
        return None
    with open(path, newline="", encoding="utf-8") as file:
        header, *lines = list(csv.reader(file))
    seconds = _seconds(folder / "parts")
    shown = _shown(folder / SHOWN, images)
    table = wandb.Table(columns=[*header, "seconds", *shown])
    for place, line in enumerate(lines[:ROWS]):
        pictures = [column[place] if place < len(column) else None for column in shown.values()]
        table.add_data(*map(_value, header, line), seconds.get(place), *pictures)
    return table


def _value(column: str, text: str) -> Any:
    """What stands in a cell: a name as it is, everything else as a number."""
    if column == "name":
        return text
    return int(text) if re.fullmatch(r"-?\d+", text) else float(text)


def _seconds(parts: Path) -> dict[int, float]:
    """Seconds an image: those of its chunk, shared out."""
    found: dict[int, float] = {}
    for path in parts.glob("part-*.json"):
        match = _PART.fullmatch(path.stem)
        if match is None:
            continue
        first, last = int(match[1]), int(match[2])
        try:
            whole = float(json.loads(path.read_text(encoding="utf-8"))["seconds"])
        except (OSError, ValueError, KeyError):
            continue
        found |= dict.fromkeys(range(first, last), whole / (last - first))
    return found


def _shown(path: Path, images: int) -> dict[str, list[Any]]:
    """Column to pictures, those that there are."""
    import wandb

    if not path.is_file() or images < 1:
        return {}
    with safe_open(path, framework="np") as file:
        columns = {name: file.get_tensor(name)[:images] for name in file.keys()}  # noqa: SIM118
    order = [name for name in ("target", "encoder", "inverted") if name in columns]
    return {
        name: [wandb.Image(pixels.transpose(1, 2, 0)) for pixels in columns[name]] for name in order
    }
