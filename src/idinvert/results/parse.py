"""Parse and check the plain description of a table or figure."""

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from idinvert.errors import ConfigError
from idinvert.results.spec import (
    Axis,
    Column,
    Curves,
    Expected,
    Group,
    Line,
    Panel,
    Row,
    Table,
)

SHARED = {"kind", "name", "title", "notes", "fill", "scales", "split", "task"}
NEEDED = {
    "table": {"name", "title", "rows", "groups", "columns"},
    "curve": {"name", "title", "data", "paper_data", "panels"},
}


def described(
    spec: Mapping[str, Any],
    *,
    scale: str,
    expected: Expected | None = None,
    reference: str = "disjoint",
) -> Table | Curves:
    """Check a plain description (conf/table/*.yaml) and fit it to a scale.

    Args:
        spec: `kind` (table or curve), `name`, `title`, `task`, `split`, `fill`, `notes`, and
            `scales`: scale to `{train, fill, notes}`. A table has `rows`, `row` (what all rows
            share), `groups` and `columns`; curves have `data`, `paper_data`, `panels` and `lines`
            (for panels that have none of their own). See the classes in `spec`. `data` maps scale
            to name.
        scale: the scale to show. Records of another scale are left out.
        expected: returns the choices of a row's commands, see `Description`.
        reference: reference of distances between sets, see `Description`.

    Raises:
        ConfigError: an unknown kind, scale or key, a missing key, a printed value for an unknown
            group or column, a line that is neither a series of one record nor a point per record,
            or a placeholder without a value. The message names it.
    """
    kind = spec.get("kind", "table")
    if kind not in NEEDED:
        raise ConfigError(f"table.kind is {kind!r}: expected table or curve")
    more = {"row"} if kind == "table" else {"lines"}
    known = SHARED | NEEDED[kind] | more
    check_keys(spec, known=known, needed=NEEDED[kind], at="table")
    scales = spec.get("scales") or {}
    if scale not in scales:
        raise ConfigError(
            f"table {spec['name']} knows the scales {', '.join(scales) or 'none'}; got {scale!r} "
            "(key scale)"
        )
    chosen = scales[scale] or {}
    at = f"table.scales.{scale}"
    check_keys(chosen, known={"notes", "train", "fill"}, needed=set(), at=at)
    shared = {
        "name": spec["name"],
        "title": spec["title"],
        "scale": scale,
        "split": spec.get("split", "test"),
        "train": chosen.get("train") or [],
        "fill": {**(spec.get("fill") or {}), **(chosen.get("fill") or {})},
        "notes": [*(spec.get("notes") or []), *(chosen.get("notes") or [])],
        "expected": expected,
        "reference": reference,
    }
    made: Table | Curves = (_table if kind == "table" else _curves)(spec, shared)
    for place in made.places():
        place.commands()  # raises if a placeholder has no value
        if isinstance(place.method, Line):
            for name in (place.method.x, place.method.y, *place.method.metric):
                place.filled(name)
    return made


def check_keys(plain: Any, *, known: set[str], needed: set[str], at: str) -> None:
    """Refuse unknown and missing keys.

    Raises:
        ConfigError: not a mapping, a missing key, or an unknown key; names the nearest known key.
    """
    if not isinstance(plain, Mapping):
        raise ConfigError(f"{at}: expected keys and values, got {plain!r}")
    for key in plain:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = (
                f"; did you mean {near[0]!r}?" if near else f"; expected {', '.join(sorted(known))}"
            )
            raise ConfigError(f"{at}: unknown key {key!r}{hint}")
    if missing := sorted(needed - set(plain)):
        raise ConfigError(f"{at}: missing {', '.join(missing)}")


def _table(spec: Mapping[str, Any], shared: dict[str, Any]) -> Table:
    columns = []
    for i, plain in enumerate(spec["columns"]):
        at = f"table.columns[{i}]"
        column = _make(Column, plain, at=at, metric=_names)
        if column.better not in ("up", "down", "native") or not column.metric:
            raise ConfigError(
                f"{at}: better is up, down or native, and metric names at least one; got "
                f"{column.better!r} and {list(column.metric)}"
            )
        if not isinstance(column.ours, bool):
            raise ConfigError(f"{at}: ours is true or false; got {column.ours!r}")
        columns.append(column)
    known = {column.name for column in columns}
    groups, has = [], {}
    for i, plain in enumerate(spec["groups"]):
        at = f"table.groups[{i}]"
        group = _make(Group, plain, at=at, data=lambda d, at=at: _data(d, shared["scale"], at))
        if unknown := set(group.columns) - known:
            raise ConfigError(f"{at}.columns: no column {sorted(unknown)[0]!r}")
        groups.append(group)
        has[group.label] = set(group.columns) or known
    rows = []
    for i, plain in enumerate(spec["rows"]):
        whole = {**(spec.get("row") or {}), **plain} if isinstance(plain, Mapping) else plain
        row = _make(Row, whole, at=f"table.rows[{i}]")
        for label, values in row.printed.items():
            if unknown := {label} - set(has) or set(values) - has[label]:
                raise ConfigError(
                    f"table.rows[{i}].printed: no group or column {sorted(unknown)[0]!r}"
                )
        rows.append(row)
    task = spec.get("task", "reconstruction")
    return Table(rows=rows, groups=groups, columns=columns, task=task, **shared)


def _curves(spec: Mapping[str, Any], shared: dict[str, Any]) -> Curves:
    common = _lines(spec, at="table", task=spec.get("task"))
    panels = []
    for i, plain in enumerate(spec["panels"]):
        at = f"table.panels[{i}]"
        lines = _lines(plain, at=at, task=spec.get("task")) or common
        axes = {
            name: (lambda value, at=f"{at}.{name}": _make(Axis, value, at=at))
            for name in ("x", "y", "right")
            if plain.get(name) is not None
        }
        panels.append(_make(Panel, {**plain, "lines": lines}, at=at, **axes))
    data = _data(spec["data"], shared["scale"], "table")
    return Curves(data=data, paper_data=spec["paper_data"], panels=panels, **shared)


def _lines(spec: Mapping[str, Any], *, at: str, task: str | None) -> list[Line]:
    lines = []
    for i, plain in enumerate(spec.get("lines") or []):
        here = f"{at}.lines[{i}]"
        whole = {"task": task, **plain} if task and isinstance(plain, Mapping) else plain
        line = _make(Line, whole, at=here, metric=_names)
        of_one, of_many = bool(line.x or line.y), bool(line.over or line.values)
        complete = (line.x and line.y) if of_one else (line.over and line.values and line.metric)
        if of_one == of_many or not complete:
            raise ConfigError(
                f"{here}: a line is either x and y, series of one record, or over, values and "
                "metric, a point a record"
            )
        lines.append(line)
    return lines


def _make(cls: type, plain: Any, *, at: str, **read: Any) -> Any:
    """Build a dataclass from plain values; `read` maps field names to functions that convert them.

    Raises:
        ConfigError: an unknown or missing key, or overrides that are not a list.
    """
    items = dataclasses.fields(cls)
    empty = dataclasses.MISSING
    needed = {i.name for i in items if i.default is empty and i.default_factory is empty}
    check_keys(plain, known={i.name for i in items}, needed=needed, at=at)
    for name in ("train", "evaluate"):
        if isinstance(plain.get(name), str):
            raise ConfigError(
                f"{at}.{name}: expected a list of overrides such as [experiment=domain_guided], "
                f"got {plain[name]!r}"
            )
    return cls(**{k: read[k](v) if k in read else v for k, v in plain.items()})


def _names(value: str | Sequence[str] | None) -> list[str]:
    """Return one name or several as a list."""
    return [value] if isinstance(value, str) else list(value or [])


def _data(data: Any, scale: str, at: str) -> str:
    """Return the data set that a description names for a scale."""
    if not isinstance(data, Mapping) or scale not in data:
        raise ConfigError(f"{at}.data must name a data set for scale {scale!r}")
    return data[scale]
