"""What a figure of curves shows: its lines as selections of records, and the paper's points."""

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
    with_values,
)


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An axis: its label, whether it is logarithmic."""

    label: str
    log: bool = False


@dataclass(frozen=True, kw_only=True)
class Line:
    """A curve: either a series of one record (`x`, `y`), or a point a record (`over`, `metric`).

    Attributes:
        label: as the paper's legend has it.
        where: which records it is made of.
        x, y: names in `Record.series`; may hold `{places}`.
        over: path in records that is a point's x, such as `choices.inversion.lambda_dom`.
        values: x of the points; `{value}` in commands.
        metric: names in records that are a point's y, in order of preference; all points of a line
            show the same. Of a series: figures that are said beside it.
        times: what y is multiplied by.
        right: whether it belongs to the right axis.
        train: command that makes the run.
        evaluate: command that makes the record; `RUN` stands for the run.
        printed: the paper's points, `[x, y]` each.
        source: where the paper prints them.
        absent: scale to the reason why there can be no curve at it.
        fill: what stands for `{places}`, in clauses too.
    """

    label: str
    where: Where
    x: str = ""
    y: str = ""
    over: str = ""
    values: Sequence[float] = ()
    metric: Sequence[str] = ()
    times: float = 1.0
    right: bool = False
    train: str = ""
    evaluate: str = ""
    printed: Sequence[Sequence[float]] = ()
    source: str = ""
    absent: Mapping[str, str] = field(default_factory=dict)
    fill: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A coordinate system.

    Attributes:
        label: above it.
        x, y: its axes.
        right: a second axis for y, of lines that say `right`.
        lines: of this panel; empty: the lines that all panels share.
        where: further clauses on its lines.
        fill: what stands for `{places}`, in clauses too.
    """

    label: str
    x: Axis
    y: Axis
    right: Axis | None = None
    lines: Sequence[Line] = ()
    where: Where = field(default_factory=dict)
    fill: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Curves:
    """A figure of curves at one scale; see `curves_from_dict`.

    Attributes:
        name: of the file, for example `fig10_lambda_dom`.
        title: its caption in the paper.
        scale: the scale shown; no other scale's record comes in.
        data: name of the data set at this scale.
        paper_data: what the paper measured on.
        panels: side by side.
        where: clauses on every line, those of the scale included.
        arguments: of a training command at this scale, `{arguments}` in `Line.train`.
        fill: what stands for `{places}`, unless a panel or line says it.
        notes: sentences below the title.
        expected, reference: see `idinvert.results.table.Table`.
    """

    name: str
    title: str
    scale: str
    data: str
    paper_data: str
    panels: Sequence[Panel]
    where: Where = field(default_factory=dict)
    arguments: str = ""
    fill: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    expected: Expected | None = None
    reference: str = "disjoint"

    def clauses(self, line: Line, panel: Panel, *, value: float | None = None) -> dict[str, Any]:
        """All clauses on a line, or on its point at `value`, with the defaults of its commands."""
        asked = self.expected
        commands = (self.words(c, line, panel, value=value) for c in (line.train, line.evaluate))
        chosen = None if asked is None or not line.train else lambda: asked(*commands)
        return with_defaults(self._where(line, panel, value), chosen, at=self._at(line))

    def _where(self, line: Line, panel: Panel, value: float | None) -> dict[str, Any]:
        point = {line.over: value} if line.over else {}
        own = {"data.name": self.data}
        where = {**self.where, **own, **panel.where, **line.where, **point}
        return with_values(where, self._fill(line, panel), at=self._at(line))

    def words(self, template: str, line: Line, panel: Panel, *, value: float | None = None) -> str:
        """A command or the name of a series with its `{places}` filled in."""
        words = {"arguments": self.arguments, "data": self.data, "scale": self.scale}
        words["task"] = self._where(line, panel, value).get("task", "reconstruction")
        if value is not None:
            words["value"] = f"{value:g}"
        words |= self._fill(line, panel)
        return filled_in(template, words, at=self._at(line))

    def train_commands(self) -> list[str]:
        """The commands that train all its runs, each once, in the order of panels and lines."""
        commands: dict[str, None] = {}
        for panel in self.panels:
            for line in panel.lines:
                if line.train and self.scale not in line.absent:
                    value = line.values[0] if line.over else None
                    commands.setdefault(self.words(line.train, line, panel, value=value))
        return list(commands)

    def _fill(self, line: Line, panel: Panel) -> dict[str, Any]:
        return {**self.fill, **panel.fill, **line.fill}

    def _at(self, line: Line) -> str:
        return f"table {self.name}, line {line.label!r}"


_KEYS = {
    "kind",
    "name",
    "title",
    "notes",
    "where",
    "fill",
    "scales",
    "data",
    "paper_data",
    "panels",
    "lines",
}


def curves_from_dict(
    spec: Mapping[str, Any],
    *,
    scale: str,
    expected: Expected | None = None,
    reference: str = "disjoint",
) -> Curves:
    """Check a figure's plain description (`kind: curve` in conf/table/) and fit it to a scale.

    Args:
        spec: `name`, `title`, `data` (scale to name), `paper_data`, `panels`, `lines` (of panels
            that have none of their own) as the classes here have them, `where`, `fill`, `notes`,
            and `scales`: scale to `{where, notes, arguments, fill}`.
        scale: to show.
        expected, reference: see `Curves`.

    Raises:
        ConfigError: an unknown scale or key, a missing key, a line that is neither of one record
            nor of several, or a place that nothing fills; it is named.
    """
    needed = {"name", "title", "data", "paper_data", "panels"}
    check_keys(spec, known=_KEYS, needed=needed, at="table")
    chosen = at_scale(spec, scale)
    shared = _lines(spec.get("lines") or [], at="table.lines")
    panels = []
    for i, plain in enumerate(spec["panels"]):
        at = f"table.panels[{i}]"
        axes = {
            name: make(Axis, plain[name], at=f"{at}.{name}")
            for name in ("x", "y", "right")
            if plain.get(name) is not None
        }
        lines = _lines(plain.get("lines") or [], at=f"{at}.lines") or shared
        panels.append(make(Panel, {**plain, **axes, "lines": lines}, at=at))
    curves = Curves(
        name=spec["name"],
        title=spec["title"],
        scale=scale,
        data=named_data(spec["data"], scale=scale, at="table.data"),
        paper_data=spec["paper_data"],
        panels=panels,
        where={**(spec.get("where") or {}), **(chosen.get("where") or {})},
        arguments=chosen.get("arguments") or "",
        fill={**(spec.get("fill") or {}), **(chosen.get("fill") or {})},
        notes=[*(spec.get("notes") or []), *(chosen.get("notes") or [])],
        expected=expected,
        reference=reference,
    )
    for panel in panels:
        for line in panel.lines:
            for template in (line.x, line.y, *line.metric, line.train, line.evaluate):
                curves.words(template, line, panel, value=line.values[0] if line.over else None)
    return curves


def _lines(plain: Sequence[Mapping[str, Any]], *, at: str) -> list[Line]:
    lines = []
    for i, one in enumerate(plain):
        line = make(Line, {**one, "metric": names(one.get("metric"))}, at=f"{at}[{i}]")
        of_one, of_many = bool(line.x or line.y), bool(line.over or line.values)
        whole = (line.x and line.y) if of_one else (line.over and line.values and line.metric)
        if of_one == of_many or not whole:
            raise ConfigError(
                f"{at}[{i}]: a line is either x and y, series of one record, or over, values and "
                "metric, a point a record"
            )
        lines.append(line)
    return lines
