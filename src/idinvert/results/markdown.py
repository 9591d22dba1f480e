"""A table in Markdown: measured and printed figures side by side, and where they come from."""

from idinvert.results.figures import (
    agreement,
    best,
    cautions,
    data_line,
    is_best,
    marks,
    measured,
    measured_header,
    paper_header,
    printed,
    protocol_lines,
    sources,
    steps,
)
from idinvert.results.fill import Cell, FilledTable, Missing
from idinvert.results.table import Group

EMPTY = "—"


def to_markdown(filled: FilledTable) -> str:
    """The whole table, one section a group; ends in a newline."""
    table = filled.table
    missing = filled.missing()
    bold = "Bold: the best of a column, once among the measured, once among the printed figures."
    how = (
        "±: half of a 95 % interval over images, where the record has one; it holds no other seed."
    )
    lines = [f"# {table.title}", "", f"- Scale: {table.scale}."]
    lines += [f"- {note}" for note in (*table.notes, bold, how)]
    for group in table.groups:
        lines += ["", f"## {group.label}", "", *_figures(filled, group, missing)]
        lines += ["", *_caption(filled, group)]
        lines += _provenance(filled, group)
    if missing:
        lines += ["", "## Empty cells", "", *_footnotes(missing)]
    return "\n".join(lines) + "\n"


def _figures(filled: FilledTable, group: Group, missing: list[Missing]) -> list[str]:
    columns = filled.table.columns_of(group)
    header = ["Method"]
    for column in columns:
        metric = filled.column(column, group)[0].metric
        measured = measured_header(column, metric)
        header += [f"{measured} ({group.data})", paper_header(column, group)]
    body = []
    for row in filled.table.rows:
        line = [row.label]
        for cell in filled.row(row, group):
            cells = filled.column(cell.column, group)
            line += [_measured(cell, cells, missing), _printed(cell, best(cells)[1])]
        body.append(line)
    return _grid(header, body)


def _measured(cell: Cell, column: list[Cell], missing: list[Missing]) -> str:
    if cell.value is None:
        return f"{EMPTY} ({_mark(cell, missing)})"
    return _bold(measured(cell), is_best(cell, column))


def _printed(cell: Cell, best_value: float | None) -> str:
    if cell.printed is None:
        return EMPTY
    return _bold(printed(cell.printed, cell.column.digits), cell.printed == best_value)


def _bold(text: str, bold: bool) -> str:
    return f"**{text}**" if bold else text


def _caption(filled: FilledTable, group: Group) -> list[str]:
    records = [
        cell.record for cell in filled.cells if cell.group is group and cell.value is not None
    ]
    lines = [f"- Measured on {data_line([r for r in records if r], group)}."]
    lines += [f"- {line}." for line in protocol_lines(filled, group)]
    orders = []
    for column in filled.table.columns_of(group):
        cells = filled.column(column, group)
        same, pairs = agreement(cells)
        if pairs:
            orders.append(f"{column.part} {cells[0].metric} {same} of {pairs}".strip())
    if orders:
        lines.append(f"- Pairs of methods in the paper's order: {', '.join(orders)}.")
    lines += [f"- {line}." for line in marks(filled, group)]
    lines += [f"- **Caution**: {line}." for line in cautions(filled, group)]
    return lines


def _provenance(filled: FilledTable, group: Group) -> list[str]:
    header = ["Method", "run", "nimg", "steps", "seed", "n", "matched", "measured", "device"]
    body = []
    tasks = {
        c.record.task for c in filled.cells if c.group is group and c.value is not None and c.record
    }
    for row in filled.table.rows:
        for record, cells in sources(filled, row, group):
            name = f"{row.label}: {record.task}" if len(tasks) > 1 else row.label
            matched = max(cell.matched for cell in cells)
            seeds = sorted({seed for cell in cells for seed in cell.seeds})
            of = f" (seeds {', '.join(map(str, seeds))})" if len(seeds) > 1 else ""
            line = [name, record.run, f"{record.nimg:,}", steps(record)]
            line += ["–" if record.seed is None else str(record.seed), f"{record.n:,}"]
            line += [f"{matched}{of}", record.created[:10], record.device or "–"]
            body.append(line)
    return ["", *_grid(header, body)] if body else []


def _footnotes(missing: list[Missing]) -> list[str]:
    lines = []
    for index, entry in enumerate(missing):
        place = f"{entry.group.label}, {entry.row.label} ({', '.join(entry.columns)})"
        lines.append(f"- ({_letters(index)}) {place}: {entry.reason}.")
        lines += [f"  - `{command}`" for command in entry.commands]
    return lines


def _mark(cell: Cell, missing: list[Missing]) -> str:
    for index, entry in enumerate(missing):
        here = entry.row is cell.row and entry.group is cell.group
        if here and cell.column.name in entry.columns and cell.reason == entry.reason:
            return _letters(index)
    raise AssertionError("every empty cell has an entry")


def _letters(index: int) -> str:
    """a, b, … z, aa, ab, …"""
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
