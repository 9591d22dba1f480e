"""From a description and records to a table or figure, written in every format."""

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from idinvert.errors import ConfigError
from idinvert.results.csv_lines import to_csv
from idinvert.results.curve import Curves, curves_from_dict
from idinvert.results.curve_page import curves_to_csv, curves_to_markdown
from idinvert.results.fill import FilledTable, fill
from idinvert.results.latex import to_latex
from idinvert.results.markdown import to_markdown
from idinvert.results.plot import draw_curves
from idinvert.results.record import Record
from idinvert.results.spec import Expected
from idinvert.results.table import Table, table_from_dict
from idinvert.results.trace import TracedCurves, trace

TABLE_FORMATS: dict[str, Callable[[FilledTable], str]] = {
    ".md": to_markdown,
    ".csv": to_csv,
    ".tex": to_latex,
}
CURVE_FORMATS: dict[str, Callable[[TracedCurves], str]] = {
    ".md": curves_to_markdown,
    ".csv": curves_to_csv,
}
PICTURES = (".png", ".pdf")


def described(
    spec: Mapping[str, Any],
    *,
    scale: str,
    expected: Expected | None = None,
    reference: str = "disjoint",
) -> Table | Curves:
    """The table, or the figure of curves, that a plain description is of (key `kind`).

    Args:
        spec: the description.
        scale: to show.
        expected: gives the choices of a row's commands, see `Table`.
        reference: of distances between sets, see `Table`.

    Raises:
        ConfigError: another kind, or what `table_from_dict` and `curves_from_dict` refuse.
    """
    kind = spec.get("kind", "table")
    if kind not in ("table", "curve"):
        raise ConfigError(f"table.kind is {kind!r}: expected table or curve")
    make = curves_from_dict if kind == "curve" else table_from_dict
    return make(spec, scale=scale, expected=expected, reference=reference)


def filled(table: Table | Curves, records: Sequence[Record]) -> FilledTable | TracedCurves:
    """Select the records that it shows."""
    return trace(table, records) if isinstance(table, Curves) else fill(table, records)


def page(shown: FilledTable | TracedCurves) -> str:
    """It in Markdown."""
    if isinstance(shown, TracedCurves):
        return curves_to_markdown(shown)
    return to_markdown(shown)


def write(shown: FilledTable | TracedCurves, folder: str | Path) -> list[Path]:
    """Write `<name>.<scale>` in every format, each file whole or not at all.

    Args:
        shown: a table (`.md`, `.csv`, `.tex`) or curves (`.md`, `.csv`, `.png`, `.pdf`).
        folder: made if it does not exist.

    Returns:
        The files, Markdown first.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{shown.table.name}.{shown.table.scale}"
    written = []
    formats: Any = CURVE_FORMATS if isinstance(shown, TracedCurves) else TABLE_FORMATS
    for suffix, render in formats.items():
        written.append(_replace(folder / f"{stem}{suffix}", render(shown).encode()))
    if isinstance(shown, TracedCurves):
        with tempfile.TemporaryDirectory(prefix=f".{stem}.", dir=folder) as drawn:
            for suffix in PICTURES:
                picture = Path(drawn) / f"picture{suffix}"
                draw_curves(shown, picture)
                written.append(_replace(folder / f"{stem}{suffix}", picture.read_bytes()))
    return written


def _replace(path: Path, content: bytes) -> Path:
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:
        file.write(content)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)
    return path
