"""Descriptions of tables and figures (conf/table/*.yaml) at one scale."""

import functools
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from idinvert.config.argv import for_shell
from idinvert.errors import ConfigError, as_typed
from idinvert.results.select import Default, Within

FREE = (
    "choices.inversion.seed",  # replicates; a table lists the seeds
    "choices.task.seed",
    "choices.task.directions",  # names from the user's file; a caution is shown if rows differ
    "choices.task.attributes",
)
"""Choices that may have any value in a row."""
ANY = object()
"""Expected value at a path below which any value is allowed."""
Expected = Callable[[Sequence[str], Sequence[str]], Mapping[str, Any]]
"""From the overrides of a training and of an evaluation to their record's choices by path."""
CHOSEN_BY = {"experiment": ("objective",), "generator.path": ("generator", "generator.multi_w")}
"""Overrides that set choices of another name; every other override has the name of its choice."""
NO_CHOICES = ("data", "run", "system", "trainer", "logger", "metric", "n", "nimg")
"""Overrides that are not in a record's `choices`; images are identified by their fingerprint."""
PLACE = re.compile(r"{(\w+)}")


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An axis: its label, and whether it is logarithmic."""

    label: str
    log: bool = False


@dataclass(frozen=True, kw_only=True)
class Column:
    """A metric.

    Attributes:
        label: as the paper prints it.
        metric: names in records, in order of preference; all rows show the same one.
        better: `up`, `down`, or `native`: best nearest to 1, the value of samples of M(z).
        part: the heading that the paper prints above several columns, such as `Interpolation`.
        digits: decimals of the printed values.
        task: the task that measures it; empty: the table's.
        ours: whether the column is not in the paper; it then has no printed values.
    """

    label: str
    metric: Sequence[str]
    better: str
    part: str = ""
    digits: int = 3
    task: str = ""
    ours: bool = False

    @property
    def name(self) -> str:
        """Part and label; the key in `Row.printed`."""
        return f"{self.part} {self.label}{' (ours)' if self.ours else ''}".strip()

    @property
    def arrow(self) -> str:
        return {"up": "↑", "down": "↓", "native": "→ 1"}[self.better]


@dataclass(frozen=True, kw_only=True)
class Group:
    """A block of columns that are measured on one data set.

    Attributes:
        label: as the paper prints it; the key in `Row.printed`.
        data: name of the data set at the scale shown.
        paper_data: the data set of the paper.
        columns: names of its columns; empty: all.
        fill: values of `{placeholders}` in overrides.
    """

    label: str
    data: str
    paper_data: str
    columns: Sequence[str] = ()
    fill: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Method:
    """Base of a table's rows and a figure's lines: the overrides that make its records.

    Attributes:
        label: as the paper prints it.
        train: overrides of the run's training; None: no command is known.
        evaluate: overrides of the evaluation, besides `run=RUN task=TASK`; None: none is known.
        where: further clauses on its records, dotted path to value, such as `{run: ID}`.
        fill: values of `{placeholders}` in overrides.
        absent: scale to the reason why nothing can be measured at it.
    """

    label: str
    train: Sequence[str] | None = None
    evaluate: Sequence[str] | None = None
    where: Mapping[str, Any] = field(default_factory=dict)
    fill: Mapping[str, Any] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Row(Method):
    """A row of a table; `printed` maps group label to column name to the paper's value."""

    printed: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Line(Method):
    """A curve: a series of one record (`x`, `y`), or one point per record (`over`, `metric`).

    Attributes:
        task: the task that measures it.
        x, y: names in `Record.series`; may contain `{placeholders}`.
        over: key of the evaluation whose value is a point's x, such as `inversion.lambda_dom`.
        values: x of the points.
        metric: names in records of a point's y, in order of preference; all points of a line show
            the same one. For a series: metrics whose values are shown beside it.
        times: factor of y.
        right: whether it uses the right axis.
        printed: the paper's points, `[x, y]` each.
        source: where the paper prints them.
    """

    task: str
    x: str = ""
    y: str = ""
    over: str = ""
    values: Sequence[float] = ()
    metric: Sequence[str] = ()
    times: float = 1.0
    right: bool = False
    printed: Sequence[Sequence[float]] = ()
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One coordinate system of a figure.

    Attributes:
        label: title above it.
        x, y: its axes.
        right: second y axis, for lines with `right`.
        lines: lines of this panel; empty: the lines that all panels share.
        fill: values of `{placeholders}` in overrides and names of series.
    """

    label: str
    x: Axis
    y: Axis
    right: Axis | None = None
    lines: Sequence[Line] = ()
    fill: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Description(ABC):
    """Base of tables and figures, at one scale.

    Attributes:
        name: name of the file, for example `table1_methods`.
        title: its caption in the paper.
        scale: the scale shown; records of other scales are left out.
        split: split of the measured images.
        train: overrides appended to every training at this scale.
        fill: values of `{placeholders}`; those of groups, panels, rows and lines take precedence.
        notes: sentences above the table.
        expected: returns the choices of a place's overrides; a record with any other choice is
            left out. None: only the choices that the overrides name are compared.
        reference: reference of distances between sets; values with another one are marked.
        classes: the user's own classes named on the command line; printed commands repeat them.
    """

    name: str
    title: str
    scale: str
    split: str = "test"
    train: Sequence[str] = ()
    fill: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    expected: Expected | None = None
    reference: str = "disjoint"
    classes: Sequence[str] = ()

    @abstractmethod
    def places(self) -> list["Place"]:
        """Return all places that records can fill, in the order in which they are shown."""

    def trainings(self) -> list[list[str]]:
        """Return the overrides of each training that it needs, each once."""
        found = [p.train for p in self.places() if p.method.train is not None and not p.absent]
        return [list(words) for words in dict.fromkeys(map(tuple, found))]


@dataclass(frozen=True, kw_only=True)
class Table(Description):
    """A table of methods, data sets and metrics; a group may have only some of the columns."""

    rows: Sequence[Row]
    groups: Sequence[Group]
    columns: Sequence[Column]
    task: str = "reconstruction"

    def columns_of(self, group: Group) -> list[Column]:
        """Return the columns of a group."""
        return [c for c in self.columns if not group.columns or c.name in group.columns]

    def place(self, row: Row, group: Group, column: Column) -> "Place":
        """Return the place of one cell."""
        task = column.task or self.task
        fill = {**self.fill, **group.fill, **row.fill}
        label = f"{row.label}, {group.label}"
        return Place(table=self, method=row, data=group.data, task=task, fill=fill, label=label)

    def places(self) -> list["Place"]:
        return [
            self.place(row, group, column)
            for group in self.groups
            for row in self.rows
            for column in self.columns_of(group)
        ]


@dataclass(frozen=True, kw_only=True)
class Curves(Description):
    """A figure of curves with panels side by side, all on one data set."""

    data: str
    paper_data: str
    panels: Sequence[Panel]

    def place(self, line: Line, panel: Panel, value: float | None = None) -> "Place":
        """Return the place of a line, or of its point at `value`."""
        fill = {**self.fill, **panel.fill, **line.fill}
        label = line.label if value is None else f"{line.label} at {value:g}"
        of_line: dict[str, Any] = {"method": line, "data": self.data, "task": line.task}
        return Place(table=self, fill=fill, label=label, value=value, **of_line)

    def places(self) -> list["Place"]:
        return [
            self.place(line, panel, value)
            for panel in self.panels
            for line in panel.lines
            for value in (line.values if line.over else [None])
        ]


@dataclass(frozen=True, kw_only=True)
class Place:
    """A cell of a table, or a line or point of a figure, and the evaluation that fills it.

    Attributes:
        table: its table or figure.
        method: its row or line.
        data, task: data set and task of the evaluation.
        fill: values of `{placeholders}`.
        label: a readable name of the place.
        value: x of a point.
    """

    table: Description
    method: Method
    data: str
    task: str
    fill: Mapping[str, Any]
    label: str
    value: float | None = None

    @property
    def absent(self) -> str:
        """Why nothing can be measured here at this scale; empty if it can be."""
        return self.method.absent.get(self.table.scale, "")

    @property
    def train(self) -> list[str]:
        """The overrides that train the run."""
        return [self.filled(word) for word in (*(self.method.train or ()), *self.table.train)]

    @property
    def evaluate(self) -> list[str]:
        """The overrides that evaluate it, besides `run=RUN`."""
        point = []
        if self.value is not None and isinstance(self.method, Line):
            point = [f"{self.method.over}={self.value:g}"]
        words = (*(self.method.evaluate or ()), *point)
        return [f"task={self.task}", *(self.filled(word) for word in words)]

    def commands(self, run: str | None = None) -> tuple[str, ...]:
        """Return the commands that fill the place: training unless `run` is given, evaluation."""
        typed, classes = [], self.table.classes
        named = [f"classes=[{','.join(classes)}]"] if classes else []
        if run is None and self.method.train is not None:
            typed.append(as_typed(f"python train.py {for_shell([*self.train, *named])}"))
        if self.method.evaluate is not None:
            words = [f"run={run or 'RUN'}", *self.evaluate, *named]
            typed.append(as_typed(f"python evaluate.py {for_shell(words)}"))
        return tuple(typed)

    def filled(self, template: str) -> str:
        """Fill the `{placeholders}` of an override or of the name of a series.

        Raises:
            ConfigError: a placeholder has no value.
        """
        words = {"data": self.data, "scale": self.table.scale, "task": self.task, **self.fill}
        for name in PLACE.findall(template):
            if name not in words:
                raise ConfigError(
                    f"{self._at}: nothing fills {{{name}}} in {template!r}; expected "
                    f"{', '.join(sorted(words))} (key fill)"
                )
        return PLACE.sub(lambda match: _word(words[match[1]]), template)

    @functools.cached_property
    def where(self) -> dict[str, Any]:
        """The clauses on its records; see `idinvert.results.select.Where`.

        A record must have the choices that the overrides name. Every other choice must have its
        default with these overrides, unless the record is older than that choice.
        """
        where = {"task": self.task, "data.split": self.table.split, "data.name": self.data}
        expected = self._expected()
        for path, value in _named([*self.train, *self.evaluate]).items():
            if expected is not None:
                value = expected.get(f"{path}.name", expected.get(path, ANY))
            if value is not ANY:
                where[path] = value
        where |= self.method.where
        if expected is None:
            return where
        spoken = {name for path in where for name in (path, f"{path}.name")}
        below = tuple(path for path, value in expected.items() if value is ANY)
        silent = [path for path in expected if path not in {*spoken, *FREE, *below}]
        closed = Within(frozenset({*spoken, *expected, *FREE}), below)
        return {**where, **{path: Default(expected[path]) for path in silent}, "choices": closed}

    def _expected(self) -> Mapping[str, Any] | None:
        if self.table.expected is None or self.method.train is None:
            return None
        try:
            return self.table.expected(self.train, self.evaluate)
        except ConfigError as error:
            raise ConfigError(f"{self._at}: its commands cannot be composed: {error}") from error

    @property
    def _at(self) -> str:
        kind = "line" if isinstance(self.method, Line) else "row"
        return f"table {self.table.name}, {kind} {self.method.label!r}"


def _word(value: Any) -> str:
    return "null" if value is None else str(value)


def _named(overrides: Sequence[str]) -> dict[str, Any]:
    """Return the choices that overrides name: path in records to the typed value, or `ANY`."""
    named: dict[str, Any] = {}
    for override in overrides:
        key, _, value = override.partition("=")
        if key in ("task", "generator") or key.split(".")[0] in NO_CHOICES:
            continue
        made_elsewhere = key == "generator.path" or key.startswith("scale.")
        for name in CHOSEN_BY.get(key, (key,)):
            named[f"choices.{name}"] = ANY if made_elsewhere else yaml.safe_load(value)
    return named
