"""Which records stand in a place: clauses on their fields."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from idinvert.results.record import OF_SETS, Record, to_dict

Where = Mapping[str, Any]
"""Dotted path to what must stand there: a value, or a list of which any will do; None: not set; or
a `Default` or `Within`."""


@dataclass(frozen=True)
class Default:
    """What stands at a path where nobody chose otherwise.

    A record that does not know the path is from before it was a choice, or of a method that has no
    such choice, and meets it; any other value does not.

    Attributes:
        value: a number, a word, a list, None.
    """

    value: Any


@dataclass(frozen=True)
class Within:
    """At a path stands a mapping whose leaves are all among `paths`: nothing more was chosen.

    Attributes:
        paths: dotted paths in a record.
        below: paths below which anything may stand.
    """

    paths: frozenset[str]
    below: tuple[str, ...] = ()

    def holds(self, path: str) -> bool:
        """Whether a leaf may stand at a path."""
        return path in self.paths or any(f"{path}.".startswith(f"{one}.") for one in self.below)


_MISSING = object()
OF_AN_EVALUATION = ("task", "n", "data.split", "choices.inversion", "choices.task")
"""Clauses that an evaluation meets or not, whatever the run."""


def lookup(plain: Mapping[str, Any], path: str, *, missing: Any = None) -> Any:
    """The value at a dotted path, `missing` if there is none.

    A key may itself contain dots: `choices.inversion.steps` finds `{"choices": {"inversion.steps":
    100}}` as well as
    `{"choices": {"inversion": {"steps": 100}}}`.
    """
    if path in plain:
        return plain[path]
    parts = path.split(".")
    for length in range(len(parts) - 1, 0, -1):
        inner = plain.get(".".join(parts[:length]))
        if isinstance(inner, Mapping):
            value = lookup(inner, ".".join(parts[length:]), missing=_MISSING)
            if value is not _MISSING:
                return value
    return missing


def leaves(node: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Dotted path to value of all that stands in nested mappings below `path`."""
    found: dict[str, Any] = {}
    for key, value in node.items():
        here = f"{path}.{key}"
        found |= leaves(value, here) if isinstance(value, Mapping) else {here: value}
    return found


def failures(record: Record, where: Where) -> list[str]:
    """The clauses that a record does not meet, in words; empty if it matches."""
    return list(_unmet(record, where))


def _unmet(record: Record, where: Where) -> Iterator[str]:
    plain = to_dict(record)
    for path, wanted in where.items():
        if isinstance(wanted, Within):
            there = leaves(lookup(plain, path, missing={}), path)
            more = {one: value for one, value in there.items() if not wanted.holds(one)}
            yield from (f"{one} is {_show(v)}, wanted not set" for one, v in more.items())
            continue
        found = lookup(plain, path, missing=_MISSING)
        if isinstance(wanted, Default):
            met = found is _MISSING or _same(found, wanted.value)
            wanted = wanted.value
        else:
            found = None if found is _MISSING else found
            met = _meets(found, wanted)
        if not met:
            yield f"{path} is {_show(found)}, wanted {_show(wanted)}"


def matching(records: Iterable[Record], where: Where) -> list[Record]:
    """Records that meet every clause, the one to show first.

    That is the one with the most nimg; of these the one with the most images measured, lest a quick
    trial replace a value; of these the newest.
    """
    found = [record for record in records if next(_unmet(record, where), None) is None]
    found.reverse()  # of equal age, the one that was written last
    return sorted(found, key=lambda r: (r.nimg, r.n, r.created), reverse=True)


def preferred(records: Iterable[Record], metric: str, reference: str) -> list[Record]:
    """Of `matching` records those that have a metric, the one to show first.

    Of a distance between sets, records with this reference come before all others.
    """
    found = [record for record in records if metric in record.metrics]
    return sorted(found, key=lambda record: bool(other_reference(record, metric, reference)))


def replicates(records: Sequence[Record]) -> list[Record]:
    """Of `preferred` records the first and its likes of other seeds, in the order of seeds.

    Alike are those that saw as many images in training and measured the same real images.
    """

    def facts(record: Record) -> tuple:
        return record.nimg, record.n, record.data.get("fingerprint"), record.reference

    alike = [record for record in records if facts(record) == facts(records[0])]
    by_seed: dict[int | None, Record] = {}
    for record in alike:
        by_seed.setdefault(record.seed, record)
    return sorted(by_seed.values(), key=lambda record: -1 if record.seed is None else record.seed)


def other_reference(record: Record, metric: str, reference: str) -> str:
    """The record's reference where its value is a distance to another than the one asked for."""
    same = not record.reference or record.reference == reference or not OF_SETS.match(metric)
    return "" if same else record.reference


def of_an_evaluation(path: str) -> bool:
    """Whether an evaluation decides what stands at a path."""
    return any(path == one or path.startswith(f"{one}.") for one in OF_AN_EVALUATION)


def of_the_run(where: Where) -> dict[str, Any]:
    """The clauses that a run meets or not, however it is evaluated.

    What else was chosen is no matter: a method without an encoder takes any run of its generator.
    """
    return {
        path: value
        for path, value in where.items()
        if not of_an_evaluation(path) and not isinstance(value, Within)
    }


def nearest(records: Iterable[Record], where: Where) -> tuple[Record, list[str]] | None:
    """The record that fails the fewest clauses, with these; None if there is no record."""
    ranked = [(len(failed := failures(record, where)), record, failed) for record in records]
    if not ranked:
        return None
    _, record, failed = min(ranked, key=lambda item: (item[0], -item[1].nimg))
    return record, failed


def _meets(found: Any, wanted: Any) -> bool:
    found = _name(found)
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        return any(_meets(found, one) for one in wanted)
    return _same(found, wanted)


def _same(found: Any, wanted: Any) -> bool:
    return isinstance(found, bool) == isinstance(wanted, bool) and found == wanted


def _name(value: Any) -> Any:
    """A choice with settings, such as `{"name": "in_domain", "steps": 100}`, goes by its name."""
    return value["name"] if isinstance(value, Mapping) and "name" in value else value


def _show(value: Any) -> str:
    value = _name(value)
    if value is None:
        return "not set"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " or ".join(_show(one) for one in value)
    return str(value)
