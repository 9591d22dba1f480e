"""How figures, headers and their provenance read, the same in every format."""

import itertools
import json
from collections.abc import Iterable, Sequence

from idinvert.results.fill import Cell, FilledTable
from idinvert.results.record import Record
from idinvert.results.select import lookup
from idinvert.results.table import Column, Group, Row

MARK = "†"
REFERENCES = {
    "same": "to the very images that were inverted (reference=same, the previous protocol); a copy "
    "gets the best of them",
    "disjoint": "to images that were not inverted (reference=disjoint)",
}
STEPS = ("choices.inversion.steps", "choices.inversion_steps", "choices.steps")


def figure(value: float, digits: int) -> str:
    """A figure with the paper's decimals, or with three significant digits where they show less."""
    text = f"{value:.{digits}f}"
    if value != 0 and abs(value) < 10 ** (2 - digits):
        text = f"{value:#.3g}"
    return text


def measured(cell: Cell) -> str:
    """A measured figure with half the width of its 95 % interval, and its mark."""
    assert cell.value is not None
    text = figure(cell.value, cell.column.digits)
    if cell.interval is not None:
        half = (cell.interval[1] - cell.interval[0]) / 2
        decimals = len(text.partition(".")[2])
        width = f"{half:.{decimals}f}"
        text += f" ± {width if float(width) else f'{half:.1g}'}"
    return text + (MARK if cell.aside else "")


def printed(value: float, digits: int) -> str:
    """A figure of the paper as it prints it: with its decimals, or with more where it has more."""
    text = f"{value:.{digits}f}"
    return text if float(text) == value else f"{value:.10f}".rstrip("0")


def measured_header(column: Column, metric: str | None) -> str:
    """The metric's name in records unless the paper's label says the same, for example `FID`."""
    name = column.label if metric in (None, column.label.lower()) else metric
    return f"{column.part} {name} {column.arrow}".strip()


def paper_header(column: Column, group: Group) -> str:
    """Says whose figures these are, of which data and which metric."""
    return f"paper ({group.paper_data}, {column.name}) {column.arrow}"


def best(cells: Sequence[Cell]) -> tuple[float | None, float | None]:
    """The best measured and the best printed figure of a column; None with fewer than two."""
    pick = min if cells[0].column.better == "down" else max
    values = [cell.value for cell in comparable(cells) if cell.value is not None]
    printed = [cell.printed for cell in cells if cell.printed is not None]
    return (
        pick(values) if len(values) > 1 else None,
        pick(printed) if len(printed) > 1 else None,
    )


def is_best(cell: Cell, cells: Sequence[Cell]) -> bool:
    """Whether a measured figure is the best of its column."""
    return cell in comparable(cells) and cell.value == best(cells)[0]


def comparable(cells: Sequence[Cell]) -> list[Cell]:
    """Of a column's cells those with one reference: the table's, or the other where none has it."""
    there = [cell for cell in cells if cell.value is not None]
    return [cell for cell in there if not cell.aside] or there


def agreement(cells: Sequence[Cell]) -> tuple[int, int]:
    """Of the pairs of rows with both figures: how many are in the paper's order, and how many."""
    both: dict[float, float] = {}  # printed to measured; rows that share a printed row count once
    for cell in comparable(cells):
        if cell.value is not None and cell.printed is not None:
            both.setdefault(cell.printed, cell.value)
    ours = [(value, printed) for printed, value in both.items()]
    pairs = list(itertools.combinations(ours, 2))
    same = sum((a[0] - b[0]) * (a[1] - b[1]) > 0 for a, b in pairs)
    return same, len(pairs)


def steps(record: Record) -> str:
    """Optimisation steps of the inversion, "–" where there are none."""
    plain = {"choices": record.choices}
    found = next((value for path in STEPS if (value := lookup(plain, path)) is not None), None)
    return "–" if found is None else f"{found:,}" if isinstance(found, int) else str(found)


def sources(filled: FilledTable, row: Row, group: Group) -> list[tuple[Record, list[Cell]]]:
    """The records behind a row, each with its cells."""
    found: dict[int, tuple[Record, list[Cell]]] = {}
    for cell in filled.row(row, group):
        if cell.value is not None and cell.record is not None:
            found.setdefault(id(cell.record), (cell.record, []))[1].append(cell)
    return list(found.values())


def data_line(records: Sequence[Record], group: Group) -> str:
    """Which images the measured figures of a group are of."""
    if not records:
        return f"{group.data}: nothing measured yet"
    parts = [
        f"{_several(record.data.get('resolution') for record in records)} px",
        f"split {_several(record.data.get('split') for record in records)}",
        f"fingerprint {_several(str(record.data.get('fingerprint'))[:12] for record in records)}",
        f"n = {_several(f'{record.n:,}' for record in records)} images",
    ]
    return f"{group.data}, {', '.join(parts)}"


def protocol_lines(filled: FilledTable, group: Group) -> list[str]:
    """Each metric shown in a group: how it was measured, and its floor where one was measured."""
    lines: dict[str, None] = {}  # a metric of several tasks is measured in one way, said once
    for column in filled.table.columns_of(group):
        cells = [cell for cell in filled.column(column, group) if cell.value is not None]
        if not cells:
            continue
        metric, records = cells[0].metric, [cell.record for cell in cells if cell.record]
        texts = {record.protocol.get(str(metric), "protocol not recorded") for record in records}
        line = f"{metric}: {' / '.join(sorted(texts))}"
        floor = f"{metric}_floor"
        floors = {
            f"{figure(record.metrics[floor], column.digits)} {_of_floor(record, floor)}"
            for record in records
            if floor in record.metrics
        }
        line += f"; floor {_several(floors)}" if floors else ""
        lines.setdefault(line)
    return list(lines)


def marks(filled: FilledTable, group: Group) -> list[str]:
    """What the marked figures of a group are, a line a reference."""
    asides = sorted({cell.aside for cell in _valued(filled, group) if cell.aside})
    return [
        f"{MARK}: distances {REFERENCES.get(aside, aside)}; not comparable with unmarked figures"
        for aside in asides
    ]


def _of_floor(record: Record, floor: str) -> str:
    """Two disjoint sets of real images, or, in the previous protocol, one with itself."""
    if "disjoint" in record.protocol.get(floor, "disjoint"):
        return "(two disjoint sets of real images)"
    return "(the real images with themselves, previous protocol)"


def cautions(filled: FilledTable, group: Group) -> list[str]:
    """What rows of a group do not share though a fair comparison needs it."""
    found = []
    records = [cell.record for cell in _valued(filled, group) if cell.record]
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


def _valued(filled: FilledTable, group: Group) -> list[Cell]:
    return [c for c in filled.cells if c.group is group and c.value is not None]


def _several(values: Iterable[object]) -> str:
    return " / ".join(sorted({str(value) for value in values}))
