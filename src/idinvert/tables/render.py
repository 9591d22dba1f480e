"""Write a filled table in every format."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from idinvert.tables.csv_lines import to_csv
from idinvert.tables.fill import FilledTable
from idinvert.tables.latex import to_latex
from idinvert.tables.markdown import to_markdown

FORMATS: dict[str, Callable[[FilledTable], str]] = {
    ".md": to_markdown,
    ".csv": to_csv,
    ".tex": to_latex,
}


def write_table(filled: FilledTable, folder: str | Path) -> list[Path]:
    """Write `<name>.<scale>.md`, `.csv` and `.tex`, each whole or not at all.

    Args:
        filled: the table.
        folder: made if it does not exist.

    Returns:
        The files, Markdown first.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for suffix, render in FORMATS.items():
        path = folder / f"{filled.table.name}.{filled.table.scale}{suffix}"
        _replace(path, render(filled))
        written.append(path)
    return written


def _replace(path: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:
        file.write(text)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)
