"""What a table shows: rows and columns as selections of records, and the paper's figures."""

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from idinvert.errors import ConfigError
from idinvert.tables.select import Where


@dataclass(frozen=True, kw_only=True)
class Column:
    """A metric.

    Attributes:
        label: as the paper prints it; keys `Row.printed`.
        metric: names in records, in order of preference; one of them is shown in all rows.
        better: `up` or `down`.
        digits: decimals of the printed figures.
        where: further clauses, for columns of another task.
    """

    label: str
    metric: Sequence[str]
    better: str
    digits: int = 3
    where: Where = field(default_factory=dict)

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
    """

    label: str
    data: str
    paper_data: str
    where: Where = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A method.

    Attributes:
        label: as the paper prints it.
        where: which records are of this method.
        train: command that makes the run; `{arguments}`, `{data}` and `{scale}` are filled in.
        evaluate: command that makes the record; `RUN` stands for the run.
        printed: group label to column label to the paper's figure.
    """

    label: str
    where: Where
    train: str = ""
    evaluate: str = ""
    printed: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table at one scale; see `table_from_dict`.

    Attributes:
        name: of the file, for example `table1_methods`.
        title: its caption in the paper.
        scale: the scale shown; no other scale's record comes in.
        rows: methods.
        groups: data sets.
        columns: metrics, the same in every group.
        where: clauses on every cell, those of the scale included.
        arguments: of a training command at this scale, `{arguments}` in `Row.train`.
        notes: sentences above the table.
    """

    name: str
    title: str
    scale: str
    rows: Sequence[Row]
    groups: Sequence[Group]
    columns: Sequence[Column]
    where: Where = field(default_factory=dict)
    arguments: str = ""
    notes: Sequence[str] = ()

    def clauses(self, row: Row, group: Group, column: Column) -> dict[str, Any]:
        """All clauses on a cell; a group's data set is always one of them."""
        own = {"data.name": group.data}
        return {**self.where, **group.where, **own, **column.where, **row.where}

    def command(self, template: str, group: Group) -> str:
        """A command of a row for the data set of a group."""
        text = template.replace("{arguments}", self.arguments)
        return text.replace("{data}", group.data).replace("{scale}", self.scale)


_KEYS = {"name", "title", "notes", "where", "scales", "rows", "groups", "columns"}


def table_from_dict(spec: Mapping[str, Any], *, scale: str) -> Table:
    """Check a table's plain description (conf/table/*.yaml) and fit it to a scale.

    Args:
        spec: `name`, `title`, `rows`, `groups`, `columns` as the classes here have them, `where`,
            `notes`, and `scales`: scale to `{where, notes, arguments}`. A group's `data` maps scale
            to name.
        scale: to show. Records of another scale are left out.

    Raises:
        ConfigError: an unknown scale or key, a missing key, or figures printed for a group or
            column that is not there; the place is named.
    """
    _check_keys(
        spec, known=_KEYS, needed={"name", "title", "rows", "groups", "columns"}, at="table"
    )
    scales = spec.get("scales") or {}
    if scale not in scales:
        raise ConfigError(
            f"table {spec['name']} knows the scales {', '.join(scales) or 'none'}; got {scale!r} "
            "(key scale)"
        )
    chosen = scales[scale] or {}
    _check_keys(
        chosen, known={"where", "notes", "arguments"}, needed=set(), at=f"table.scales.{scale}"
    )
    columns = [
        _make(Column, {**plain, "metric": _names(plain.get("metric"))}, at=f"table.columns[{i}]")
        for i, plain in enumerate(spec["columns"])
    ]
    for i, column in enumerate(columns):
        if column.better not in ("up", "down") or not column.metric:
            raise ConfigError(
                f"table.columns[{i}]: better is up or down and metric names at least one; got "
                f"{column.better!r} and {list(column.metric)}"
            )
    groups = [
        _make(Group, {**plain, "data": _data(plain, scale, i)}, at=f"table.groups[{i}]")
        for i, plain in enumerate(spec["groups"])
    ]
    rows = [_make(Row, plain, at=f"table.rows[{i}]") for i, plain in enumerate(spec["rows"])]
    _check_printed(rows, groups, columns)
    return Table(
        name=spec["name"],
        title=spec["title"],
        scale=scale,
        rows=rows,
        groups=groups,
        columns=columns,
        where={**(spec.get("where") or {}), **(chosen.get("where") or {})},
        arguments=chosen.get("arguments") or "",
        notes=[*(spec.get("notes") or []), *(chosen.get("notes") or [])],
    )


def _make(cls: type, plain: Mapping[str, Any], *, at: str) -> Any:
    items = dataclasses.fields(cls)
    needed = {
        item.name
        for item in items
        if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
    }
    _check_keys(plain, known={item.name for item in items}, needed=needed, at=at)
    return cls(**plain)


def _check_keys(plain: Mapping[str, Any], *, known: set[str], needed: set[str], at: str) -> None:
    for key in plain:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = (
                f"; did you mean {near[0]!r}?" if near else f"; expected {', '.join(sorted(known))}"
            )
            raise ConfigError(f"{at}: unknown key {key!r}{hint}")
    if missing := sorted(needed - set(plain)):
        raise ConfigError(f"{at}: missing {', '.join(missing)}")


def _names(metric: Any) -> list[str]:
    return [metric] if isinstance(metric, str) else list(metric or [])


def _data(plain: Mapping[str, Any], scale: str, index: int) -> str:
    data = plain.get("data")
    if not isinstance(data, Mapping) or scale not in data:
        raise ConfigError(f"table.groups[{index}].data must name a data set for scale {scale!r}")
    return data[scale]


def _check_printed(rows: Sequence[Row], groups: Sequence[Group], columns: Sequence[Column]) -> None:
    group_labels, column_labels = {g.label for g in groups}, {c.label for c in columns}
    for i, row in enumerate(rows):
        for group, figures in row.printed.items():
            unknown = {group} - group_labels or set(figures) - column_labels
            if unknown:
                raise ConfigError(
                    f"table.rows[{i}].printed: no group or column {sorted(unknown)[0]!r}"
                )
