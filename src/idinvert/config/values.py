"""Checks every value of a configuration against its annotation.

The annotations are those of the constructors and functions that ``_target_`` names, and of the
dataclasses in `config.schema`. Values are never converted, so the check cannot change a run's
identity.
"""

import ast
import collections.abc
import contextlib
import functools
import inspect
import json
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import idinvert.annotations as annotations
from idinvert.config import schema
from idinvert.config.argv import is_url
from idinvert.config.other_projects import dotted, nearest_key
from idinvert.errors import ConfigError, nearest

TRAINER = "pytorch_lightning.Trainer"
NOT_OF_TRAINER = {
    "training ends at nimg=… images, or after max_seconds=…": (
        *("max_epochs", "min_epochs", "max_steps", "min_steps", "max_time"),
    ),
    "training has two optimisers and steps them itself, and Lightning would ignore it": (
        *("gradient_clip_val", "gradient_clip_algorithm"),
    ),
    "accumulate=… splits a batch into micro-batches": ("accumulate_grad_batches",),
    "logging.validate_every_nimg=… says when to validate": (
        *("val_check_interval", "check_val_every_n_epoch", "num_sanity_val_steps"),
    ),
    "logging.every_nimg=… says when to log": ("log_every_n_steps",),
    "logger=… says where to log": ("logger",),
    "system.outputs=… is where runs go": ("default_root_dir",),
    "checkpoint.every_nimg=… and checkpoint.keep=… say when to save": ("enable_checkpointing",),
    "the program sets it": (
        *("callbacks", "enable_progress_bar", "enable_model_summary", "use_distributed_sampler"),
        *("inference_mode", "reload_dataloaders_every_n_epochs", "model_registry"),
    ),
}
"""Parameters of the Trainer that may not be set, by what to use instead."""
WITH_LIGHTNING = ("objective", "task", "trainer", "callbacks")
"""Keys whose classes import Lightning; they are checked last."""
UNTOLD = object()
"""The annotation of a parameter that is unknown without an import."""
WORDS = {"None": "null", "valid integer": "whole number", "a valid string": "text"}
WORDS |= {"a valid array": "a list", "an object": "a group of keys"}
WORDS |= {"a valid boolean": "true or false", "valid ": "", "greater than or equal to": "at least"}
WORDS |= {"less than or equal to": "at most", "greater than": "above", "less than": "below"}
"""Words of pydantic's messages, and ours."""


def check_values(config: Mapping[str, Any]) -> None:
    """Refuses the first value that does not match its annotation.

    Args:
        config: The resolved configuration as plain values.

    Raises:
        ConfigError: Names the key, the value and what is expected.
    """
    for key, value, takes in expectations(config):
        if is_path_annotation(takes) and is_url(value):
            raise ConfigError(
                f"got {key}={value}, expected a file or folder of this machine: download it first "
                "(python -m idinvert.checkpoints list shows the published ones, and "
                f"python -m idinvert.checkpoints fetch NAME brings one here), then give {key}=FILE"
            )
        if (wrong := problem(value, takes)) is not None:
            raise ConfigError(_said(key, value, wrong))


def refusal(program: str, key: str, value: Any) -> str | None:
    """Says what is wrong with a value that OmegaConf refused; ``None`` if nothing is.

    Args:
        program: ``"train"`` or ``"evaluate"``.
        key: The dotted key.
        value: The value as typed.
    """
    *path, last = key.split(".")
    described = schema.GROUPS.get(".".join(path)) if path else schema.TOP[program]
    takes = _of_dataclass(described).get(last, Any) if described else Any
    wrong = problem(value, takes)
    return None if wrong is None else _said(key, value, wrong)


def _said(key: str, value: Any, wrong: str) -> str:
    return f"got {key}={shown(value)}, expected {wrong}; change {key}"


def expectations(config: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yields dotted key, value and annotation of every value that has an annotation.

    Raises:
        ConfigError: An unknown key, or a target that cannot be imported.
    """
    top = schema.TOP["evaluate" if "task" in config else "train"]
    yield from _described(config, "", _of_dataclass(top))
    nodes = dict(_nodes(config, ""))
    # Ordered by cost: checks without an import, with torch, with Lightning.
    for key, node in nodes.items():
        if node.get("_target_") == TRAINER:
            yield from _of_trainer(node, key)
        elif key in schema.GROUPS and "_target_" not in node:
            yield from _described(node, key, _of_dataclass(schema.GROUPS[key]))
    built = [key for key, node in nodes.items() if "_target_" in node]
    for key in built:
        for name, takes in _told(nodes[key]).items():
            if takes is not UNTOLD and not _is_node(nodes[key].get(name, {"_target_": ""})):
                yield f"{key}.{name}", nodes[key][name], takes
    for key in sorted(built, key=lambda key: key.startswith(WITH_LIGHTNING)):
        told = _told(nodes[key])
        parameters = {name: value for name, value in nodes[key].items() if name[:1] != "_"}
        if not all(
            name in told and (told[name] is not UNTOLD or _is_node(value))
            for name, value in parameters.items()
        ):
            yield from _of_signature(nodes[key], key)


def _nodes(node: Any, at: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields every mapping below a node, with its dotted key."""
    items: Any = node.items() if isinstance(node, Mapping) else ()
    for name, value in items:
        key = f"{at}.{name}" if at else str(name)
        if isinstance(value, Mapping):
            yield key, value
            yield from _nodes(value, key)


def _described(
    node: Mapping[str, Any], at: str, takes: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    for name, value in node.items():
        key = f"{at}.{name}" if at else str(name)
        if name not in takes:
            near = (
                nearest(str(name), list(takes)) if at else nearest_key(key, dotted(node, but=key))
            )
            raise ConfigError(f"{key}: nothing reads it. {near}")
        if not _is_node(value) and key not in schema.GROUPS:
            yield key, value, takes[name]


def _of_trainer(node: Mapping[str, Any], at: str) -> Iterator[tuple[str, Any, Any]]:
    takes = _of_dataclass(schema.Trainer)
    for why, names in NOT_OF_TRAINER.items():
        for name in set(names) & node.keys():
            raise ConfigError(f"{at}.{name} has no effect here: {why}. Leave it out.")
    yield from ((f"{at}.{name}", node[name], takes[name]) for name in takes.keys() & node.keys())


def _told(node: Mapping[str, Any]) -> dict[str, Any]:
    """Maps a target's parameters to annotations, as far as they are known without an import."""
    name = str(node["_target_"])
    return _of_dataclass(schema.Trainer) if name == TRAINER else _in_source(name)


def _of_signature(node: Mapping[str, Any], at: str) -> Iterator[tuple[str, Any, Any]]:
    from hydra.utils import get_object

    name = str(node["_target_"])
    try:
        target = get_object(name)
    except Exception as error:
        raise ConfigError(f"{at}._target_={name}: {error}") from error
    parameters = inspect.signature(target).parameters
    if not any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        for key in map(str, node):
            if not key.startswith("_") and key not in parameters:
                near = nearest(key, list(parameters))
                raise ConfigError(f"{at}.{key} is not a parameter of {name}. {near}")
    takes = _annotations(target)
    if name == TRAINER:
        takes = {name: takes[name] for name in takes.keys() - _of_dataclass(schema.Trainer).keys()}
    for key, value in node.items():
        if key in takes and not _is_node(value):
            yield f"{at}.{key}", value, takes[key]


@functools.cache
def _in_source(name: str) -> dict[str, Any]:
    """Maps the parameters of a class or function of this package to annotations, by its source.

    Nothing is imported. An annotation with names outside `idinvert.annotations` and typing is
    `UNTOLD`, and parameters of unknown base classes are missing; `_of_signature` finds these.
    """
    *path, last = name.split(".")
    file = Path(__file__).parents[2].joinpath(*path).with_suffix(".py")
    if path[:1] != ["idinvert"] or not file.is_file():
        return {}
    body = ast.parse(file.read_text(encoding="utf-8")).body
    classes = {one.name: one for one in body if isinstance(one, ast.ClassDef)}
    functions = {one.name: one for one in body if isinstance(one, ast.FunctionDef)}
    takes: list[tuple[str, Any, Any]] = []
    base, without = "", set[str]()
    while (described := classes.pop(last, None)) is not None:
        base = next((one.id for one in described.bases if isinstance(one, ast.Name)), "")
        for one in described.keywords:  # `without`: EncoderTraining drops these parameters
            if not isinstance(one.value, ast.Set):
                return {}
            without |= ast.literal_eval(one.value)
        inside = {one.name: one for one in described.body if isinstance(one, ast.FunctionDef)}
        if functions := {last: inside["__init__"]} if "__init__" in inside else {}:
            base = base if functions[last].args.kwarg else ""  # **kwargs go to the base class
            break
        fields = [one for one in described.body if isinstance(one, ast.AnnAssign)]
        takes += [(ast.unparse(one.target), one.annotation, one.value) for one in fields]
        last = base
    if last in functions:
        of = functions[last].args
        pairs = zip(of.kwonlyargs, of.kw_defaults, strict=True)
        takes += [(one.arg, one.annotation, default) for one, default in pairs]
    known = {**vars(collections.abc), **vars(annotations), "Literal": typing.Literal}
    found: dict[str, Any] = {}
    for key, written, default in takes:
        stub = type(name, (), {"__annotations__": {key: ast.unparse(written)}})
        hint: Any = UNTOLD
        with contextlib.suppress(NameError, TypeError):
            hint = typing.get_type_hints(stub, known, include_extras=True)[key]
            if isinstance(default, ast.Constant) and default.value is None:
                hint = hint | None
        kept = "init=False" not in ((default and ast.unparse(default)) or "")
        kept = kept and not ast.unparse(written).startswith("ClassVar")
        found.setdefault(key, hint if kept else None)
    imported = [
        f"{one.module}.{base}"
        for one in body
        if isinstance(one, ast.ImportFrom) and base in [alias.name for alias in one.names]
    ]
    inherited = _in_source(imported[0]) if imported else {}
    found = inherited | found | dict.fromkeys(without)
    return {key: takes for key, takes in found.items() if takes is not None}


def _is_node(value: Any) -> bool:
    """Whether Hydra builds a value: a node with a ``_target_``, or a list with such nodes."""
    if isinstance(value, list):
        return any(map(_is_node, value))
    return isinstance(value, Mapping) and "_target_" in value


@functools.cache
def _of_dataclass(described: type) -> dict[str, Any]:
    hints = typing.get_type_hints(described, include_extras=True)
    return {one.name: hints[one.name] for one in fields(described)}


@functools.cache
def _annotations(target: Callable[..., Any]) -> dict[str, Any]:
    """Maps parameters to annotations; leaves out those without one or with an unknown name."""
    hints: dict[str, Any] = {}
    with contextlib.suppress(NameError, TypeError):
        described: Any = target.func if isinstance(target, functools.partial) else target
        if isinstance(described, type) and not is_dataclass(described):
            described = described.__init__  # type: ignore[misc]
        hints = typing.get_type_hints(described, include_extras=True)
    empty = inspect.Parameter.empty
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(target).parameters.items():
        takes = hints.get(name, parameter.annotation)
        if takes is empty or isinstance(takes, str) or parameter.kind in (2, 4):
            continue
        found[name] = takes | None if parameter.default is None else takes
    return found


def problem(value: Any, takes: Any) -> str | None:
    """Says what is expected instead of a value; ``None`` if the value is valid.

    Args:
        value: Plain values.
        takes: An annotation.
    """
    from pydantic import ValidationError

    adapter = _adapter(takes)
    if adapter is None:
        return None
    try:
        # As JSON, a list is accepted for a tuple and text for a path; other types are strict.
        adapter.validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        sized = {one["type"] for one in errors} & {"missing", "too_long"}
        for pair in (takes, *typing.get_args(takes)):
            if sized and typing.get_origin(pair) is tuple:
                return f"a list of {len(typing.get_args(pair))} values"
        return _in_words(errors, value)
    return None


@functools.cache
def _adapter(takes: Any) -> Any:
    """Pydantic's check of an annotation; ``None`` if pydantic does not support it."""
    from pydantic import ConfigDict, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter

    settings = ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)
    try:
        return TypeAdapter(takes, config=settings)
    except (PydanticSchemaGenerationError, PydanticUserError):
        return None


def _in_words(errors: list[Any], value: Any) -> str:
    """Turns pydantic's messages into one phrase that follows "expected"."""
    if isinstance(value, float) and value.is_integer() and errors[0]["type"] == "int_type":
        return f"a whole number: write {int(value)}"
    built = "a group of keys with a _target_"
    said = [
        built
        if one["type"] in ("is_instance_of", "no_such_attribute")
        else f"a list of at least {one['ctx']['min_length']}"
        if one["type"] == "too_short"
        else one["msg"].removeprefix("Input should be ").removeprefix("Input should ")
        for one in errors
    ]
    phrase = " or ".join(dict.fromkeys(said))
    for word, ours in WORDS.items():
        phrase = phrase.replace(word, ours)
    return phrase


def shown(value: Any) -> str:
    """Formats a value as it is typed."""
    if isinstance(value, str) and value.replace("_", "a").isalnum() and not value[0].isdigit():
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def is_path_annotation(takes: Any) -> bool:
    """Whether an annotation is a path or contains one."""
    return takes in (Path, "path") or any(map(is_path_annotation, typing.get_args(takes)))
