"""Every key of an evaluation either changes its identity or stands on a list with its reason.

What walks here are the configurations themselves: a key that is added later is perturbed too.
"""

import copy
import functools
import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from hydra.utils import get_object

from idinvert.cli import evaluate as program
from idinvert.cli import run_defaults
from idinvert.cli.evaluate import PLACES, contents_of, is_path
from idinvert.config.compose import compose_plain, config_dir
from idinvert.config.identity import (
    KEPT,
    WITHOUT_EFFECT,
    evaluation_identity,
    has_no_effect,
)
from idinvert.config.instantiate import targets
from idinvert.errors import IdinvertError
from idinvert.evaluation.networks import data_opened_once, open_data

FEW = ["data.train=16", "data.test=8", "data.val=4"]
GROUPS = ("task", "inversion", "metric", "perceptual", "attributes", "segmenter", "generator",
          "data", "observe")  # fmt: skip


def identity(config: dict[str, Any]) -> str:
    return evaluation_identity(config, contents=contents_of(config))


def options() -> Iterator[tuple[str, str]]:
    """Every choice of the groups that an evaluation reads."""
    for group in GROUPS:
        for path in sorted((config_dir() / group).glob("*.yaml")):
            yield group, path.stem


@functools.cache
def composed(group: str, name: str) -> dict[str, Any]:
    words = [f"{group}={name}"] + ([] if group == "data" and "mini" not in name else FEW)
    if group == "data" and "mini" not in name:
        words.append("data.path=FOLDER")
    if (group, name) == ("generator", "checkpoint"):
        words.append("generator.path=FILE")
    if group == "observe":
        words.append("task=restoration")
    if group == "segmenter":
        words += ["task=segmentation", "segmenter.path=FILE"][: 1 + (name == "checkpoint")]
    return compose_plain("evaluate", words) | {"n": 4, "batch_size": 2}


def leaves(node: Any, at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from leaves(value, (*at, key))
    else:
        yield at


def perturbed(config: dict[str, Any], key: tuple[str, ...]) -> dict[str, Any]:
    other = copy.deepcopy(config)
    node = other
    for name in key[:-1]:
        node = node[name]
    node[key[-1]] = another(node[key[-1]])
    if key == ("task", "methods"):
        node[key[-1]] = [*config["task"]["methods"], {"label": "another", "words": "n=7"}]
    return other


def another(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, list):
        return [*value, *(value[-1:] or [1])]
    if isinstance(value, dict):
        return {"another": 1}
    return "another" if value is None else f"{value}x"


def same_images(one: dict[str, Any], other: dict[str, Any]) -> bool:
    try:
        first, second = open_data(one["data"]), open_data(other["data"])
    except (IdinvertError, OSError):
        return False
    return (first.name, first.fingerprint) == (second.name, second.fingerprint)


@pytest.fixture
def composed_once(monkeypatch):
    """The words of a task's methods are composed once: they are asked for at every key."""
    known = functools.cache(lambda program, words: compose_plain(program, list(words)))
    once = lambda program, words: copy.deepcopy(known(program, tuple(words)))  # noqa: E731
    monkeypatch.setattr(run_defaults, "compose_plain", once)
    monkeypatch.setattr(program, "compose_plain", once)


@pytest.mark.parametrize(("group", "name"), options())
def test_a_key_that_changes_the_output_changes_the_identity(group, name, composed_once):
    with data_opened_once():
        config = composed(group, name)
        keys = list(leaves(config if (group, name) == ("task", "reconstruction") else
                           {group: config[group]}))  # fmt: skip
        if group == "task":  # which is read by tasks of its own
            keys = [key for key in keys if key[0] != "segmenter"]
        first = identity(config)
        assert identity(copy.deepcopy(config)) == first and keys
        for key in keys:
            other = perturbed(config, key)
            dotted = ".".join(key)
            if has_no_effect(dotted):
                assert identity(other) == first, f"{dotted} is said to change no figure"
            elif identity(other) == first:
                assert group == "data" and same_images(config, other), dotted


def test_what_has_no_effect_is_a_short_list_of_keys_that_there_are():
    config = composed("task", "reconstruction") | {"usual": []}  # which `with_run` adds
    for key in (*WITHOUT_EFFECT, *KEPT):
        node: Any = config
        for name in key.split("."):
            assert name in node, key
            node = node[name]
    assert all(WITHOUT_EFFECT.values()) and len(WITHOUT_EFFECT) < 20
    assert not any(has_no_effect(key) for key in (*KEPT, "seed", "n", "split", "images"))


def test_whatever_takes_a_path_is_told_by_content():
    """By the annotations of all that configurations name: a file's key is known as one."""
    seen = set()
    for group, name in options():
        for at, node in targets(composed(group, name)):
            if at.split(".")[0] not in GROUPS:
                continue
            for key, parameter in inspect.signature(
                get_object(node["_target_"])
            ).parameters.items():
                if "Path" in str(parameter.annotation) and key != "cache_dir":
                    seen.add(f"{at}.{key}")
    assert {"inversion.mask", "data.path", "perceptual.network.path"} <= seen
    for key in seen:
        assert is_path(key, "anything"), key
    assert not any(is_path(key, "anything") for key in PLACES)
