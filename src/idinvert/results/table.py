"""What a table shows: rows and columns as selections of records, and the paper's figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from idinvert.errors import ConfigError
from idinvert.results.select import Where
from idinvert.results.spec import (
    Expected,
    at_scale,
    check_keys,
    filled_in,
    make,
    named_data,
    names,
    with_defaults,
    with_shared,
    with_values,
)


@dataclass(frozen=True, kw_only=True)
class Column:
    """A metric.

    Attributes:
        label: as the paper prints it.
        metric: names in records, in order of preference; one of them is shown in all rows.
        better: `up` or `down`.
        part: the heading that the paper prints above several columns, such as `Interpolation`.
        digits: decimals of the printed figures.
        where: further clauses, for columns of another task.
        fill: what stands for `{places}` in commands and clauses.
    """

    label: str
    metric: Sequence[str]
    better: str
    part: str = ""
    digits: int = 3
    where: Where = field(default_factory=dict)
    fill: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Part and label; keys `Row.printed`."""
        return f"{self.part} {self.label}".strip()

    @property
    def arrow(self) -> str:
        return {"up": "↑", "down": "↓"}[self.better]


@dataclass(frozen=True, kw_only=True)
class Group:
    """A block of columns that are measured on one data set.

    Attributes:
        label: as the paper prints it; keys `Row.printed`.
        data: name of the data set at the scale shown.
        paper_data: what the paper measured on.
        where: further clauses.
        columns: names of the columns that it has; empty: all.
        fill: what stands for `{places}` in commands and clauses.
    """

    label: str
    data: str
    paper_data: str
    where: Where = field(default_factory=dict)
    columns: Sequence[str] = ()
    fill: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A method.

    Attributes:
        label: as the paper prints it.
        where: which records are of this method.
        train: command that makes the run; its `{places}` are filled in, see `Table.command`.
        evaluate: command that makes the record; `RUN` stands for the run.
        printed: group label to column name to the paper's figure.
        absent: scale to the reason why there can be no figure at it.
        fill: what stands for `{places}` in commands and clauses.
    """

    label: str
    where: Where
    train: str = ""
    evaluate: str = ""
    printed: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    fill: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table at one scale; see `table_from_dict`.

    Attributes:
        name: of the file, for example `table1_methods`.
        title: its caption in the paper.
        scale: the scale shown; no other scale's record comes in.
        rows: methods.
        groups: data sets.
        columns: metrics; a group may have only some of them.
        where: clauses on every cell, those of the scale included.
        arguments: of a training command at this scale, `{arguments}` in `Row.train`.
        fill: what stands for `{places}` in commands and clauses; groups, columns, rows win.
        notes: sentences above the table.
        expected: gives the choices of a row's commands; a record that deviates from them, where the
            clauses do not speak of it, does not stand in the row. None: only clauses count.
        reference: of distances between sets; figures to another one are marked.
    """

    name: str
    title: str
    scale: str
    rows: Sequence[Row]
    groups: Sequence[Group]
    columns: Sequence[Column]
    where: Where = field(default_factory=dict)
    arguments: str = ""
    fill: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    expected: Expected | None = None
    reference: str = "disjoint"

    def columns_of(self, group: Group) -> list[Column]:
        """The columns that a group has."""
        return [c for c in self.columns if not group.columns or c.name in group.columns]

    def clauses(self, row: Row, group: Group, column: Column) -> dict[str, Any]:
        """All clauses on a cell, with the defaults of its commands.

        A group's data set is always one of them.
        """
        asked = self.expected
        commands = (self.command(text, row, group, column) for text in (row.train, row.evaluate))
        chosen = None if asked is None or not row.train else lambda: asked(*commands)
        return with_defaults(self._where(row, group, column), chosen, at=self._at(row))

    def command(self, template: str, row: Row, group: Group, column: Column) -> str:
        """A command of a row for a cell.

        Its `{places}`: `{arguments}`, `{data}`, `{scale}`, `{task}` (the cell's), and what `fill`
        says.
        """
        words = {"arguments": self.arguments, "data": group.data, "scale": self.scale}
        words["task"] = self._where(row, group, column).get("task", "reconstruction")
        words |= self._fill(row, group, column)
        return filled_in(template, words, at=self._at(row))

    def train_commands(self) -> list[str]:
        """The commands that train all its runs, each once, in the order of groups and rows."""
        commands: dict[str, None] = {}
        for group in self.groups:
            column = self.columns_of(group)[0]
            for row in self.rows:
                if row.train and self.scale not in row.absent:
                    commands.setdefault(self.command(row.train, row, group, column))
        return list(commands)

    def _where(self, row: Row, group: Group, column: Column) -> dict[str, Any]:
        own = {"data.name": group.data}
        where = {**self.where, **group.where, **own, **column.where, **row.where}
        return with_values(where, self._fill(row, group, column), at=self._at(row))

    def _fill(self, row: Row, group: Group, column: Column) -> dict[str, Any]:
        return {**self.fill, **group.fill, **column.fill, **row.fill}

    def _at(self, row: Row) -> str:
        return f"table {self.name}, row {row.label!r}"


_KEYS = {
    "kind",
    "name",
    "title",
    "notes",
    "where",
    "fill",
    "scales",
    "row",
    "rows",
    "groups",
    "columns",
}


def table_from_dict(
    spec: Mapping[str, Any],
    *,
    scale: str,
    expected: Expected | None = None,
    reference: str = "disjoint",
) -> Table:
    """Check a table's plain description (conf/table/*.yaml) and fit it to a scale.

    Args:
        spec: `name`, `title`, `rows`, `groups`, `columns` as the classes here have them, `row`
            (what all rows share), `where`, `fill`, `notes`, and `scales`: scale to `{where, notes,
            arguments, fill}`. A group's `data` maps scale to name.
        scale: to show. Records of another scale are left out.
        expected, reference: see `Table`.

    Raises:
        ConfigError: an unknown scale or key, a missing key, figures printed for a group or column
            that is not there, or a command with a place that nothing fills; the place is named.
    """
    check_keys(spec, known=_KEYS, needed={"name", "title", "rows", "groups", "columns"}, at="table")
    chosen = at_scale(spec, scale)
    columns = [
        make(Column, {**plain, "metric": names(plain.get("metric"))}, at=f"table.columns[{i}]")
        for i, plain in enumerate(spec["columns"])
    ]
    for i, column in enumerate(columns):
        if column.better not in ("up", "down") or not column.metric:
            raise ConfigError(
                f"table.columns[{i}]: better is up or down and metric names at least one; got "
                f"{column.better!r} and {list(column.metric)}"
            )
    groups = []
    for i, plain in enumerate(spec["groups"]):
        data = named_data(plain.get("data"), scale=scale, at=f"table.groups[{i}].data")
        groups.append(make(Group, {**plain, "data": data}, at=f"table.groups[{i}]"))
    rows = [
        make(Row, with_shared(plain, spec.get("row") or {}), at=f"table.rows[{i}]")
        for i, plain in enumerate(spec["rows"])
    ]
    table = Table(
        name=spec["name"],
        title=spec["title"],
        scale=scale,
        rows=rows,
        groups=groups,
        columns=columns,
        where={**(spec.get("where") or {}), **(chosen.get("where") or {})},
        arguments=chosen.get("arguments") or "",
        fill={**(spec.get("fill") or {}), **(chosen.get("fill") or {})},
        notes=[*(spec.get("notes") or []), *(chosen.get("notes") or [])],
        expected=expected,
        reference=reference,
    )
    _check(table)
    return table


def _check(table: Table) -> None:
    """Labels that name nothing, and commands with a place that nothing fills."""
    known = {column.name for column in table.columns}
    for i, group in enumerate(table.groups):
        if unknown := set(group.columns) - known:
            raise ConfigError(f"table.groups[{i}].columns: no column {sorted(unknown)[0]!r}")
    has = {group.label: {c.name for c in table.columns_of(group)} for group in table.groups}
    for i, row in enumerate(table.rows):
        for label, figures in row.printed.items():
            if unknown := {label} - set(has) or set(figures) - has[label]:
                raise ConfigError(
                    f"table.rows[{i}].printed: no group or column {sorted(unknown)[0]!r}"
                )
        for group in table.groups:
            for column in table.columns_of(group):
                for template in (row.train, row.evaluate):
                    table.command(template, row, group, column)
