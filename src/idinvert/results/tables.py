"""Write a filled table as Markdown, with measured and printed values side by side and notes."""

import itertools
import json
from collections.abc import Callable, Iterable, Sequence

from idinvert.results.cells import FilledTable, Missing, TableCell
from idinvert.results.record import Record
from idinvert.results.select import lookup
from idinvert.results.spec import Column, Group, Row

EMPTY = "—"
MARK, MEAN = "†", "‡"
SEEDS = (
    f"{MEAN}: mean over the seeds in the list of runs ± their standard deviation; the intervals "
    "over images are in their records."
)
REFERENCES = {
    "same": "to the very images that were inverted (reference=same, the previous protocol); a copy "
    "gets the best of them",
    "disjoint": "to images that were not inverted (reference=disjoint)",
}
OURS = "Columns marked ours are not in the paper."
OF_CODES = (
    "Columns marked ours are not in the paper: it has no metric of codes. A code_distance of about "
    "1 is native, so the nearest to it is bold; a smaller one is nearer to the mean code than "
    "samples are, which is not better."
)
STEPS = ("choices.inversion.steps", "choices.inversion_steps", "choices.steps")


def to_markdown(filled: FilledTable) -> str:
    """Return the whole table with one section per group; ends in a newline."""
    table = filled.table
    empty: dict[tuple, list[TableCell]] = {}  # one entry for cells of a row with the same reason
    for cell in filled.cells:
        if cell.missing is not None:
            key = (cell.group.label, cell.row.label, cell.missing)
            empty.setdefault(key, []).append(cell)
    letters = {id(c): _letters(i) for i, cells in enumerate(empty.values()) for c in cells}
    bold = "Bold: the best of a column, once among the measured, once among the printed numbers."
    how = (
        "±: half of a 95 % interval over images, where the record has one; it holds no other seed."
    )
    lines = [f"# {table.title}", "", f"- Scale: {table.scale}."]
    lines += [f"- {note}" for note in (*table.notes, *explained(filled), bold, how)]
    for group in table.groups:
        header = ["Method"]
        for column in table.columns_of(group):
            ours = measured_header(column, filled.column(column, group)[0].metric)
            header.append(f"{ours} ({group.data})")
            header += [] if column.ours else [paper_header(column, group)]
        body = values(filled, group, bold="**{}**".format, missing=lambda c: letters[id(c)])
        lines += ["", f"## {group.label}", "", *_grid(header, body), ""]
        lines.append(f"- Measured on {data_line(records_in(filled, group), group)}.")
        lines += [f"- {line}." for line in protocol_lines(filled, group)]
        if orders := _orders(filled, group):
            lines.append(f"- Pairs of methods in the paper's order: {', '.join(orders)}.")
        lines += [f"- {line}." for line in marks(filled, group)]
        lines += [f"- **Caution**: {line}." for line in cautions(filled, group)]
        lines += _provenance(filled, group)
    if empty:
        lines += ["", "## Empty cells", ""]
    for index, cells in enumerate(empty.values()):
        missing: Missing = cells[0].missing  # type: ignore[assignment]
        columns = ", ".join(cell.column.name for cell in cells)
        place = f"{cells[0].group.label}, {cells[0].row.label} ({columns})"
        lines.append(f"- ({_letters(index)}) {place}: {missing.reason}.")
        lines += [f"  - `{command}`" for command in missing.commands]
    return "\n".join(lines) + "\n"


def values(
    filled: FilledTable,
    group: Group,
    *,
    bold: Callable[[str], str],
    text: Callable[[str], str] = str,
    missing: Callable[[TableCell], str] | None = None,
) -> list[list[str]]:
    """Return one line per row: its label, then the measured and printed value of each column.

    Args:
        filled: the table.
        group: the group of columns.
        bold: formats the best value of a column.
        text: formats any other text.
        missing: returns the label of the note that says why a cell has no value.
    """
    lines = []
    for row in filled.table.rows:
        line = [text(row.label)]
        for cell in filled.row(row, group):
            column = filled.column(cell.column, group)
            if cell.value is None:
                line.append(text(EMPTY) + (f" ({missing(cell)})" if missing else ""))
            else:
                shown = text(measured_text(cell))
                line.append(bold(shown) if is_best(cell, column) else shown)
            if cell.column.ours:
                continue
            if cell.printed is None:
                line.append(text(EMPTY))
            else:
                shown = printed_text(cell.printed, cell.column.digits)
                line.append(bold(shown) if cell.printed == best(column)[1] else shown)
        lines.append(line)
    return lines


def value_text(value: float, digits: int) -> str:
    """Format a value with the paper's decimals, or three significant digits if these show fewer."""
    text = f"{value:.{digits}f}"
    if value != 0 and abs(value) < 10 ** (2 - digits):
        text = f"{value:#.3g}"
    return text


def measured_text(cell: TableCell) -> str:
    """Format a measured value, its deviation over seeds or half 95 % interval, and its marks."""
    assert cell.value is not None
    text, spread = value_text(cell.value, cell.column.digits), cell.deviation
    if cell.interval is not None:
        spread = (cell.interval[1] - cell.interval[0]) / 2
    if spread is not None:
        decimals = len(text.partition(".")[2])
        width = f"{spread:.{decimals}f}"
        text += f" ± {width if float(width) else f'{spread:.1g}'}"
    return text + (MEAN if cell.deviation is not None else "") + (MARK if cell.reference else "")


def printed_text(value: float, digits: int) -> str:
    """Format a value of the paper with the column's decimals, or with more if it has more."""
    text = f"{value:.{digits}f}"
    return text if float(text) == value else f"{value:.10f}".rstrip("0")


def measured_header(column: Column, metric: str | None) -> str:
    """Return the metric's name in records, or the paper's label if it is the same, as for `FID`."""
    name = column.label if metric in (None, column.label.lower()) else metric
    return f"{column.part} {name} {column.arrow}{', ours' if column.ours else ''}".strip()


def paper_header(column: Column, group: Group) -> str:
    """Return the header of the paper's values: their data and metric."""
    return f"paper ({group.paper_data}, {column.name}) {column.arrow}"


def best(cells: Sequence[TableCell]) -> tuple[float | None, float | None]:
    """Return the best measured and best printed value of a column; None with fewer than two."""
    better = cells[0].column.better

    def pick(of: list[float]) -> float:
        return min(of, key=lambda value: {"up": -value, "down": value}.get(better, abs(value - 1)))

    values = [cell.value for cell in comparable(cells) if cell.value is not None]
    printed = [cell.printed for cell in cells if cell.printed is not None]
    return (
        pick(values) if len(values) > 1 else None,
        pick(printed) if len(printed) > 1 else None,
    )


def is_best(cell: TableCell, cells: Sequence[TableCell]) -> bool:
    """Return whether a measured value is the best of its column."""
    return any(cell is one for one in comparable(cells)) and cell.value == best(cells)[0]


def comparable(cells: Sequence[TableCell]) -> list[TableCell]:
    """Return a column's cells with the table's reference, or all measured cells if none has it."""
    there = [cell for cell in cells if cell.value is not None]
    return [cell for cell in there if not cell.reference] or there


def explained(filled: FilledTable) -> list[str]:
    """Return the notes that explain our own columns and means over seeds."""
    ours = [column for column in filled.table.columns if column.ours]
    of_codes = any(column.better == "native" for column in ours)
    means = any(cell.deviation is not None for cell in filled.cells)
    return [OF_CODES if of_codes else OURS] * bool(ours) + [SEEDS] * means


def _orders(filled: FilledTable, group: Group) -> list[str]:
    """Count, per column, the pairs of rows with both values that are in the paper's order."""
    orders = []
    for column in filled.table.columns_of(group):
        both: dict[float, float] = {}  # printed to measured; rows with equal printed value are one
        cells = filled.column(column, group)
        for cell in comparable(cells):
            if cell.value is not None and cell.printed is not None:
                both.setdefault(cell.printed, cell.value)
        pairs = list(itertools.combinations(both.items(), 2))
        same = sum((a[0] - b[0]) * (a[1] - b[1]) > 0 for a, b in pairs)
        if pairs:
            orders.append(f"{column.part} {cells[0].metric} {same} of {len(pairs)}".strip())
    return orders


def _provenance(filled: FilledTable, group: Group) -> list[str]:
    """Return a Markdown table with the run behind each row's values."""
    header = ["Method", "run", "nimg", "steps", "seed", "n", "matched", "measured", "device"]
    body = []
    tasks = {record.task for record in records_in(filled, group)}
    for row in filled.table.rows:
        for records, cells in sources(filled, row, group):
            record, matched = records[0], max(cell.matched for cell in cells)
            name = f"{row.label}: {record.task}" if len(tasks) > 1 else row.label
            line = [name, ", ".join(r.run for r in records), f"{record.nimg:,}", steps(record)]
            line += [", ".join("–" if r.seed is None else str(r.seed) for r in records)]
            line += [f"{record.n:,}", str(matched), record.created[:10], record.device or "–"]
            body.append(line)
    return ["", *_grid(header, body)] if body else []


def steps(record: Record) -> str:
    """Return the optimisation steps of the inversion, "–" if there are none."""
    plain = {"choices": record.choices}
    found = next((value for path in STEPS if (value := lookup(plain, path)) is not None), None)
    return "–" if found is None else f"{found:,}" if isinstance(found, int) else str(found)


def sources(
    filled: FilledTable, row: Row, group: Group
) -> list[tuple[Sequence[Record], list[TableCell]]]:
    """Return the records behind a row, grouped over seeds, each group with its cells."""
    found: dict[tuple, tuple[Sequence[Record], list[TableCell]]] = {}
    for cell in filled.row(row, group):
        if cell.value is not None:
            of_it = found.setdefault(tuple(map(id, cell.records)), (cell.records, []))
            of_it[1].append(cell)
    return list(found.values())


def data_line(records: Sequence[Record], group: Group) -> str:
    """Describe the images on which a group's values were measured."""
    if not records:
        return f"{group.data}: nothing measured yet"
    unit = "rows of the log" if records[0].task == "training_curves" else "images"
    parts = [
        f"{_several(record.data.get('resolution') for record in records)} px",
        f"split {_several(record.data.get('split') for record in records)}",
        f"fingerprint {_several(str(record.data.get('fingerprint'))[:12] for record in records)}",
        f"n = {_several(f'{record.n:,}' for record in records)} {unit}",
    ]
    return f"{group.data}, {', '.join(parts)}"


def protocol_lines(filled: FilledTable, group: Group) -> list[str]:
    """Describe how each metric of a group was measured, with its floor if one was measured."""
    lines: dict[str, None] = {}  # several tasks may measure a metric in the same way: one line
    for column in filled.table.columns_of(group):
        cells = [cell for cell in filled.column(column, group) if cell.value is not None]
        if not cells:
            continue
        metric, records = cells[0].metric, [cell.record for cell in cells if cell.record]
        texts = {record.protocol.get(str(metric), "protocol not recorded") for record in records}
        line = f"{metric}: {' / '.join(sorted(texts))}"
        floor = f"{metric}_floor"
        floors = {
            f"{value_text(record.metrics[floor], column.digits)} {_of_floor(record, floor)}"
            for record in records
            if floor in record.metrics
        }
        line += f"; floor {_several(floors)}" if floors else ""
        native = [record.metrics.get(f"{metric}_native") for record in records]
        known = {value_text(value, column.digits) for value in native if value is not None}
        line += f"; native samples {_several(known)}" if known else ""
        lines.setdefault(line)
    return list(lines)


def _of_floor(record: Record, floor: str) -> str:
    """Describe a floor: two disjoint real sets, or, in the previous protocol, one with itself."""
    if "disjoint" in record.protocol.get(floor, "disjoint"):
        return "(two disjoint sets of real images)"
    return "(the real images with themselves, previous protocol)"


def marks(filled: FilledTable, group: Group) -> list[str]:
    """Explain the marked values of a group, one line per reference."""
    asides = {c.reference for c in filled.cells if c.group is group and c.value is not None}
    return [
        f"{MARK}: distances {REFERENCES.get(one, one)}; not comparable with unmarked numbers"
        for one in sorted(asides - {""})
    ]


def cautions(filled: FilledTable, group: Group) -> list[str]:
    """Return how the rows of a group differ in what a fair comparison must keep equal."""
    found = []
    records = records_in(filled, group)
    shared: dict[str, set] = {
        "data fingerprints": {record.data.get("fingerprint") for record in records},
        "resolutions": {record.data.get("resolution") for record in records},
        "numbers of images": {record.n for record in records},
        "generators": {record.checkpoints.get("generator") for record in records},
    }
    for what, values in shared.items():
        if len(values) > 1:
            listed = " and ".join(sorted(str(value) for value in values))
            found.append(f"the rows of {group.label} stand on different {what}: {listed}")
    trained = {record.nimg for record in records if record.choices.get("encoder")}
    if len(trained) > 1:
        listed = " and ".join(f"{nimg:,}" for nimg in sorted(trained))
        found.append(f"the encoders of {group.label} were trained on {listed} images")
    for column in filled.table.columns_of(group):
        cells = [cell for cell in filled.column(column, group) if cell.value is not None]
        if len({cell.record.protocol.get(str(cell.metric)) for cell in cells if cell.record}) > 1:
            found.append(f"the rows of {group.label} measured {cells[0].metric} in different ways")
        options = {json.dumps(cell.record.choices.get("task")) for cell in cells if cell.record}
        if len(options) > 1:
            what = f"{column.part} {cells[0].metric}".strip()
            found.append(
                f"the rows of {group.label} measured {what} with other options of the task"
            )
    return found


def records_in(filled: FilledTable, group: Group) -> list[Record]:
    """Return the record of each measured cell of a group."""
    cells = [c for c in filled.cells if c.group is group and c.value is not None]
    return [cell.record for cell in cells if cell.record]


def _several(values: Iterable[object]) -> str:
    return " / ".join(sorted({str(value) for value in values}))


def _letters(index: int) -> str:
    """Return the label of an index: a, b, … z, aa, ab, …"""
    text = ""
    index += 1
    while index:
        index, letter = divmod(index - 1, 26)
        text = chr(ord("a") + letter) + text
    return text


def _grid(header: list[str], body: list[list[str]]) -> list[str]:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = ["---", *["---:"] * (len(header) - 1)]
    return [line(header), line(rule), *map(line, body)]
