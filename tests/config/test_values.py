"""Each key of each choice refuses what is no value of it, before any work, and is named."""

import functools
import inspect
import re
import typing
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import annotated_types
import pytest
from hydra.utils import get_object

from idinvert.annotations import Among, FilledIn, Written
from idinvert.config import compose, values
from idinvert.config.instantiate import check_signatures
from idinvert.config.schema import Precision
from idinvert.errors import ConfigError

ANY = {"data.split"}
"""Keys whose values are checked where they are read: their sets depend on other keys."""
PROGRAMS = ("train", "evaluate")
CONNECTOR = "pytorch_lightning.trainer.connectors.accelerator_connector"
OBJECTIVE = "idinvert.training.domain_guided.DomainGuidedTraining"
GIVEN = {"folder", "ffhq256", "lsun_tower256", "lsun_bedroom256", "lsun_church256"}
SETS_OTHERS = ("experiment", "hparams_search", "table")


@functools.cache
def configurations(*programs: str) -> list[tuple[list[str], dict[str, Any]]]:
    """Every choice of every group, several groups at once: its words and what they compose."""
    found = []
    for program in programs or PROGRAMS:
        text = (compose.config_dir() / f"{program}.yaml").read_text(encoding="utf-8")
        columns: dict[str, list[Path]] = {}
        for path in sorted(compose.config_dir().glob("*/*.yaml")):
            group = path.parent.name
            below = group in ("perceptual", "attributes", "metric")
            if group not in SETS_OTHERS and (below or re.search(rf"^  - {group}: ", text, re.M)):
                columns.setdefault(group, []).append(path)
        for row in zip_longest(*columns.values()):
            paths = [path for path in row if path is not None]
            words = [f"{path.parent.name}={path.stem}" for path in paths]
            words += ["data.path=FOLDER" for path in paths if path.stem in GIVEN]
            given = [path.parent.name for path in paths if path.stem == "checkpoint"]
            words += [f"{group}.path=FILE" for group in given]
            found.append((words, compose.compose_with_hydra(program, words)[0]))
    return found


def bad_values(takes: Any) -> Iterator[Any]:
    """Values that an annotation does not allow: other types, out of range, outside the set."""
    for value in (True, "abc", "", 10.5, 10.0, -5, 0, float("nan"), None, [], ["a"], {"a": 1}):
        if not allowed(value, takes):
            yield value


def allowed(value: Any, takes: Any) -> bool:
    """What an annotation says, read by other means than the product's."""
    origin, arguments = typing.get_origin(takes), typing.get_args(takes)
    if origin is typing.Annotated:
        inner, *marks = arguments
        if any(isinstance(mark, FilledIn) for mark in marks) and value is None:
            return True
        for mark in marks:
            if isinstance(mark, Among):
                return value in mark.values and not isinstance(value, bool)
            if isinstance(mark, Written) and not (
                isinstance(value, str) and re.fullmatch(mark.pattern, value)
            ):
                return False
        return allowed(value, inner) and all(within(value, mark) for mark in marks)
    if origin is typing.Literal:
        return any(type(value) is type(one) and value == one for one in arguments)
    if origin in (typing.Union, type(int | None)):
        return any(allowed(value, one) for one in arguments)
    if origin is tuple:
        return isinstance(value, list) and len(value) == len(arguments)
    if origin in (list, typing.get_origin(typing.Sequence[int])):
        return isinstance(value, list) and all(allowed(one, arguments[0]) for one in value)
    if origin in (dict, typing.get_origin(typing.Mapping[str, Any])):
        return isinstance(value, Mapping) and all(allowed(v, arguments[1]) for v in value.values())
    if takes is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and value == value
    if takes is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if takes is Path:
        return isinstance(value, str)
    if takes in (None, type(None)):
        return value is None
    if takes is Any:
        return True
    return isinstance(value, takes)


def within(value: Any, mark: Any) -> bool:
    if isinstance(mark, annotated_types.Len):
        return len(value) >= mark.min_length
    for name, compare in {"ge": "__ge__", "gt": "__gt__", "le": "__le__", "lt": "__lt__"}.items():
        bound = getattr(mark, name, None)
        if bound is not None and not getattr(float(value), compare)(float(bound)):
            return False
    return True


def test_every_key_of_every_choice_takes_its_value_and_refuses_bad_ones():
    seen: set[tuple[str, Any]] = set()
    unconstrained: set[str] = set()
    for _, config in configurations():
        values.check_values(config)
        for key, value, takes in list(values.expectations(config)):
            if (key, takes) in seen or takes is Any:
                continue
            seen.add((key, takes))
            assert values.problem(value, takes) is None, (key, value, takes)
            refused = list(bad_values(takes))
            if not refused:
                unconstrained.add(key)
            for bad in refused:
                assert values.problem(bad, takes), (key, bad, takes)
    assert len({key for key, _ in seen}) > 200
    assert unconstrained <= ANY


def test_every_leaf_is_described():
    """So a key that is added with no annotation is found here."""
    for _, config in configurations():
        described = {key for key, _, _ in values.expectations(config)}
        for key in leaves(config):
            if "." not in key:
                continue  # a group that is off
            above = {key[: match.start()] for match in re.finditer(r"\.", key)} | {key}
            assert above & described or key.startswith(("table.", "sweep", "logger.")), key


def leaves(node: Mapping[str, Any], at: str = "") -> Iterator[str]:
    for name, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{at}{name}.")
        elif not name.startswith("_"):
            yield f"{at}{name}"


def test_what_the_source_says_of_a_parameter_is_what_its_import_says():
    """So that a wrong value of most keys is refused before torch and Lightning are imported."""
    told = 0
    for name in {name for names in compose.usual_targets().values() for name in names}:
        read, real = values._in_source(name), values._annotations(get_object(name))
        takes = inspect.signature(get_object(name)).parameters
        hands_on = any(one.kind is one.VAR_KEYWORD for one in takes.values())
        assert hands_on or read.keys() <= takes.keys(), name
        both = {key for key in read.keys() & real.keys() if read[key] is not values.UNTOLD}
        for key in both:
            said = [re.sub(r" at 0x\w+", "", repr(takes[key])) for takes in (read, real)]
            assert said[0] == said[1], (name, key)
        told += len(both)
    assert told > 200
    lightnings = get_object(f"{CONNECTOR}._PRECISION_INPUT")
    literals = [set(typing.get_args(one)) for one in (*typing.get_args(lightnings), Precision)]
    assert set.union(*literals[:-1]) == literals[-1], "as Lightning's own annotation"
    assert {"lr", "betas", "adversarial", "r1_gamma"} <= values._in_source(OBJECTIVE).keys()


@pytest.mark.parametrize("word", ["objective.lr=abc", "objective.betas=[0.9]", "nimg=-5"])
def test_it_is_refused_before_anything_is_imported(word, monkeypatch):
    monkeypatch.setattr("idinvert.config.values._of_signature", lambda node, at: pytest.fail(at))
    with pytest.raises(ConfigError, match=word.partition("=")[0]):
        compose.compose_plain("train", [word])


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_bad_value_is_refused_where_the_command_line_sets_it(program):
    config = compose.compose_plain(program, [])
    for key, _, takes in list(values.expectations(config)):
        *path, last = key.split(".")
        node: Any = config
        for name in path:
            node = node[name]
        kept, bad = node[last], next(bad_values(takes), None)
        if takes is not Any and bad is not None:
            node[last] = bad
            with pytest.raises(ConfigError, match=rf"got {re.escape(key)}=.* change {key}"):
                check_signatures(config)
            node[last] = kept


@pytest.mark.parametrize(
    ("program", "word", "said"),
    [
        ("train", "objective.lr=abc", "got objective.lr=abc, expected a number; change"),
        ("train", "objective.betas=[0.9]", "expected a list of 2 values; change objective.betas"),
        ("train", "objective.betas=[0.9,0.9,0.9]", "expected a list of 2 values"),
        ("train", "nimg=-5", "got nimg=-5, expected at least 1; change nimg"),
        ("train", "nimg=1e6", "got nimg=1000000.0, expected a whole number: write 1000000"),
        ("train", "nimg=many", "got nimg=many, expected a whole number"),
        ("train", "system.num_workers=-1", "got system.num_workers=-1, expected at least 0"),
        ("train", "trainer.devices=0", "got trainer.devices=0, expected "),
        ("train", "trainer.devices=all", "or a list or numbers such as 0,1; change"),
        ("train", "trainer.accelerator=tpu", "expected 'auto', 'cpu', 'gpu', 'cuda' or 'mps'"),
        ("train", "+trainer.gradient_clip_val=0.5", "two optimisers"),
        ("train", "+trainer.max_epochs=3", "nimg="),
        ("train", "+scale.foo=1", "scale.foo: nothing reads it"),
        ("train", "+foo=1", "foo"),
        ("train", "+latent.detlas=true", "Did you mean 'deltas'"),
        ("evaluate", "inversion.steps=1e1", "got inversion.steps=10.0, expected a whole number: "),
        ("evaluate", "inversion.keep_best=1", "expected true or false"),
        ("evaluate", "n=0", "got n=0"),
        ("evaluate", "split=tset", "expected 'test', 'val' or 'train'"),
        ("evaluate", "inversion.schedule=slow", "'cosine', 'ramps' or 'halvings'"),
    ],
)
def test_what_a_user_types_wrong(program, word, said):
    with pytest.raises(ConfigError) as caught:
        compose.compose_plain(program, [word])
    assert said in str(caught.value)
