"""Select records by clauses on their fields."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from idinvert.results.record import OF_SETS, Record, to_dict

Where = Mapping[str, Any]
"""Dotted path to the required value: a value, a list of accepted values, None (not set), a
`Default` or a `Within`."""


@dataclass(frozen=True)
class Default:
    """A clause that requires the default value, or no value.

    A record without the path also satisfies it: the record is older than the setting, or its
    method has no such setting. Any other value fails.

    Attributes:
        value: a number, text, a list or None.
    """

    value: Any


@dataclass(frozen=True)
class Within:
    """A clause on a mapping: all its leaves are in `paths`, so that nothing else was set.

    Attributes:
        paths: dotted paths in a record.
        below: paths below which every leaf is allowed.
    """

    paths: frozenset[str]
    below: tuple[str, ...] = ()

    def holds(self, path: str) -> bool:
        """Return whether a leaf is allowed at a path."""
        return path in self.paths or any(f"{path}.".startswith(f"{one}.") for one in self.below)


_MISSING = object()
OF_AN_EVALUATION = ("task", "n", "data.split", "choices.inversion", "choices.task")
"""Paths that the evaluation determines, not the run."""


def lookup(plain: Mapping[str, Any], path: str, *, missing: Any = None) -> Any:
    """Return the value at a dotted path, `missing` if there is none.

    A key may itself contain dots: `choices.inversion.steps` finds both
    `{"choices": {"inversion.steps": 100}}` and `{"choices": {"inversion": {"steps": 100}}}`.
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
    """Map the dotted path of each leaf of nested mappings to its value; `path` is the prefix."""
    found: dict[str, Any] = {}
    for key, value in node.items():
        here = f"{path}.{key}"
        found |= leaves(value, here) if isinstance(value, Mapping) else {here: value}
    return found


def failures(record: Record, where: Where) -> list[str]:
    """Return the clauses that a record does not satisfy, as text; empty if it matches."""
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
    """Return the records that satisfy all clauses, best first.

    The best has the most nimg, then the most measured images (so that a quick trial does not
    replace a value), then the newest date.
    """
    found = [record for record in records if next(_unmet(record, where), None) is None]
    found.reverse()  # the sort is stable: of equal records, the one written last comes first
    return sorted(found, key=lambda r: (r.nimg, r.n, r.created), reverse=True)


def preferred(records: Iterable[Record], metric: str, reference: str) -> list[Record]:
    """Return those `matching` records that have a metric, best first.

    For a distance between sets, records with this reference come first.
    """
    found = [record for record in records if metric in record.metrics]
    return sorted(found, key=lambda record: bool(other_reference(record, metric, reference)))


def replicates(records: Sequence[Record]) -> list[Record]:
    """Return the first of the `preferred` records and its replicates, one per seed, sorted by seed.

    Replicates have the same nimg and n, measured the same real images, and used the same reference.
    """

    def facts(record: Record) -> tuple:
        return record.nimg, record.n, record.data.get("fingerprint"), record.reference

    alike = [record for record in records if facts(record) == facts(records[0])]
    by_seed: dict[int | None, Record] = {}
    for record in alike:
        by_seed.setdefault(record.seed, record)
    return sorted(by_seed.values(), key=lambda record: -1 if record.seed is None else record.seed)


def other_reference(record: Record, metric: str, reference: str) -> str:
    """Return the record's reference if `metric` is a set distance and it differs, else ""."""
    same = not record.reference or record.reference == reference or not OF_SETS.match(metric)
    return "" if same else record.reference


def of_an_evaluation(path: str) -> bool:
    """Return whether the evaluation, and not the run, determines the value at a path."""
    return any(path == one or path.startswith(f"{one}.") for one in OF_AN_EVALUATION)


def of_the_run(where: Where) -> dict[str, Any]:
    """Return the clauses that depend only on the run, not on its evaluation.

    `Within` clauses are dropped: a method without an encoder accepts any run of its generator.
    """
    return {
        path: value
        for path, value in where.items()
        if not of_an_evaluation(path) and not isinstance(value, Within)
    }


def nearest(records: Iterable[Record], where: Where) -> tuple[Record, list[str]] | None:
    """Return the record that fails the fewest clauses, and these; None if there are no records."""
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
    """Return the name of a choice with settings, such as `{"name": "in_domain", "steps": 100}`."""
    return value["name"] if isinstance(value, Mapping) and "name" in value else value


def _show(value: Any) -> str:
    value = _name(value)
    if value is None:
        return "not set"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " or ".join(_show(one) for one in value)
    return str(value)
