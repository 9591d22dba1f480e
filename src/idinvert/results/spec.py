"""Plain descriptions (conf/table/*.yaml) turned into classes, with every mistake named."""

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any

from idinvert.errors import ConfigError
from idinvert.results.select import Default, Within

ROOT = "choices"
FREE = (
    "choices.inversion.seed",  # replicates; a table shows which seeds there are
    "choices.task.seed",
    "choices.task.directions",  # names from the user's file; rows that differ are cautioned about
    "choices.task.attributes",
)
"""Choices that may be any in a row."""
ANY = object()
"""Expected at a path below which a row asks for nothing."""
Expected = Callable[[str, str], Mapping[str, Any]]
"""The choices, by dotted path, of the records of a training and an evaluation command."""
PLACE = re.compile(r"{(\w+)}")


def make(cls: type, plain: Any, *, at: str) -> Any:
    """An object of a dataclass.

    Args:
        cls: the dataclass; fields without a default must be given.
        plain: field to value.
        at: where the description stands, for the error.

    Raises:
        ConfigError: an unknown or missing key.
    """
    if not isinstance(plain, Mapping):
        raise ConfigError(f"{at}: expected keys and values, got {plain!r}")
    items = dataclasses.fields(cls)
    needed = {
        item.name
        for item in items
        if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
    }
    check_keys(plain, known={item.name for item in items}, needed=needed, at=at)
    return cls(**plain)


def check_keys(plain: Mapping[str, Any], *, known: set[str], needed: set[str], at: str) -> None:
    """Refuse keys that are not known, and say which are missing.

    Raises:
        ConfigError: the key, with the nearest known one.
    """
    for key in plain:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = (
                f"; did you mean {near[0]!r}?" if near else f"; expected {', '.join(sorted(known))}"
            )
            raise ConfigError(f"{at}: unknown key {key!r}{hint}")
    if missing := sorted(needed - set(plain)):
        raise ConfigError(f"{at}: missing {', '.join(missing)}")


def at_scale(spec: Mapping[str, Any], scale: str) -> Mapping[str, Any]:
    """What a description says of one scale: `where`, `notes`, `arguments`, `fill`.

    Raises:
        ConfigError: the description does not know the scale, or says something unknown of it.
    """
    scales = spec.get("scales") or {}
    if scale not in scales:
        raise ConfigError(
            f"table {spec['name']} knows the scales {', '.join(scales) or 'none'}; got {scale!r} "
            "(key scale)"
        )
    chosen = scales[scale] or {}
    known = {"where", "notes", "arguments", "fill"}
    check_keys(chosen, known=known, needed=set(), at=f"table.scales.{scale}")
    return chosen


def named_data(data: Any, *, scale: str, at: str) -> str:
    """The data set that a description names for a scale.

    Raises:
        ConfigError: it names none.
    """
    if not isinstance(data, Mapping) or scale not in data:
        raise ConfigError(f"{at} must name a data set for scale {scale!r}")
    return data[scale]


def names(value: Any) -> list[str]:
    """One name or several, as a list."""
    return [value] if isinstance(value, str) else list(value or [])


def with_shared(plain: Any, shared: Mapping[str, Any]) -> Any:
    """A description with what its kind shares; mappings such as `where` are joined."""
    if not isinstance(plain, Mapping):
        return plain
    joined = {**shared, **plain}
    for key, value in shared.items():
        if isinstance(value, Mapping) and isinstance(plain.get(key), Mapping):
            joined[key] = {**value, **plain[key]}
    return joined


def with_defaults(
    where: Mapping[str, Any], expected: Callable[[], Mapping[str, Any]] | None, *, at: str
) -> dict[str, Any]:
    """Clauses, with a `Default` for every choice that they do not speak of.

    Args:
        where: the clauses that are written down.
        expected: gives dotted path and value of all choices of the place's commands; None: nothing
            is asked for but what is written down.
        at: where the commands stand, for the error.

    Raises:
        ConfigError: a command that cannot be composed.
    """
    if expected is None:
        return dict(where)
    try:
        choices = expected()
    except ConfigError as error:
        raise ConfigError(f"{at}: its commands cannot be composed: {error}") from error
    spoken = {name for path in where for name in (path, f"{path}.name")}
    below = tuple(path for path, value in choices.items() if value is ANY)
    silent = [path for path in choices if path not in {*spoken, *FREE, *below}]
    defaults = {path: Default(choices[path]) for path in silent}
    return {**where, **defaults, ROOT: Within(frozenset({*spoken, *choices, *FREE}), below)}


def filled_in(template: str, words: Mapping[str, Any], *, at: str) -> str:
    """A command with its `{places}` filled in; what is filled in may hold places itself.

    Raises:
        ConfigError: a place that nothing fills.
    """
    text = template
    for _ in range(3):
        for name in PLACE.findall(text):
            if name not in words:
                raise ConfigError(
                    f"{at}: nothing fills {{{name}}} in {template!r}; expected "
                    f"{', '.join(sorted(words))} (key fill)"
                )
        text = PLACE.sub(lambda match: str(words[match[1]]), text)
    return " ".join(text.split())


def with_values(where: Mapping[str, Any], words: Mapping[str, Any], *, at: str) -> dict[str, Any]:
    """Clauses whose whole value is a `{place}`, with what fills it, as the type it has there.

    Raises:
        ConfigError: a place that nothing fills.
    """
    found = {}
    for path, wanted in where.items():
        place = PLACE.fullmatch(wanted) if isinstance(wanted, str) else None
        if place and place[1] not in words:
            raise ConfigError(
                f"{at}: nothing fills {wanted} in where, {path}; expected "
                f"{', '.join(sorted(words))} (key fill)"
            )
        found[path] = words[place[1]] if place else wanted
    return found
