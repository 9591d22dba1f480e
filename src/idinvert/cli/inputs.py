"""The inputs of an evaluation, by content: hashes in place of its paths and overrides."""

import importlib.util
import sysconfig
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from idinvert.checkpoints.bundle import SHIPPED, find_weights
from idinvert.checkpoints.release import fingerprint
from idinvert.cli.methods import changed
from idinvert.config.compose import compose_plain
from idinvert.config.identity import digest_of, evaluation_config, has_no_effect
from idinvert.config.instantiate import targets
from idinvert.config.run_folder import find_run
from idinvert.data.content import content_hash, file_hash
from idinvert.data.domain import ids_of
from idinvert.errors import IdinvertError
from idinvert.evaluation.directions import directions_file
from idinvert.evaluation.networks import open_data

ROLES = ("generator", "encoder", "attributes")
"""Top-level keys whose ``path`` leads to a network of that role."""
PATHS = ("path", "images", "mask")
"""Last parts of keys that hold a path, whatever it looks like; so do those in ``_path``."""
PLACES = ("task.out",)
"""Keys of places that are written to."""
WITHOUT_DATA = ("invert", "directions", "training_curves")
"""Tasks that read no images of ``data``."""
PACKAGED = ("purelib", "platlib", "stdlib")
"""Where installed code lies, whose versions the record tells."""
ENTRIES = ("methods", "sections", "generators")
"""Keys of tasks that list methods: overrides that change the rest of the configuration."""


def contents_of(config: dict[str, Any]) -> dict[str, str]:
    """Dotted key to the hash of what it leads to, for `config.identity.evaluation_config`.

    What is missing or broken is left as it stands: the task says what is wrong with it.

    Args:
        config: The resolved configuration as plain values, with the values of its run.
    """
    found: dict[str, str] = {}

    def note(key: str, content: Callable[..., str | None], *arguments: Any) -> None:
        try:
            value = content(*arguments)
        except (IdinvertError, OSError):
            return
        if value is not None:
            found[key] = value

    for key, value in _leaves(config):
        if is_path(key, value) and not has_no_effect(key) and not key.startswith("data."):
            note(key, _content, key, value)
    for key, module in _own_modules(config):
        note(key, file_hash, module)
    task = config["task"] or {}
    name = task["_target_"].rsplit(".", 2)[-2] if task else ""  # the task's file
    if name in WITHOUT_DATA:
        found["data"] = "not read"
    else:
        note("data", _data_hash, config)
    if "directions" in task:
        note("task.directions", _directions_hash, config, found)
    if name == "training_curves":
        note("run", _rows_hash, config)
    for key in set(ENTRIES) & task.keys():
        note(f"task.{key}", _entries_hash, config, task[key])
    if task.get("own") is not None:  # out_of_domain
        note("task.own", _own_data_hash, config)
    if name == "untrained_encoder":
        note("task.encoder", _encoder_hash, task["encoder"])
    return found


def is_path(key: str, value: Any) -> bool:
    """Whether what stands at a dotted key leads to files: by the key's name, or as they are there.

    Args:
        key: Such as ``inversion.mask``.
        value: What stands there.
    """
    last = key.rsplit(".", 1)[-1]
    if not isinstance(value, str) or key in PLACES or last.startswith("_"):
        return False
    if last in PATHS or last.endswith("_path"):
        return True
    return bool({"/", "."} & set(value)) and Path(value).expanduser().exists()


def _leaves(node: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(value, f"{at}.{key}" if at else str(key))
    else:
        yield at, node


def _content(key: str, value: str) -> str:
    """The hash of a network's weights, where the key is that of a network; else of the files."""
    top = key.split(".", 1)[0]
    role = top if top in ROLES else "attributes"
    if top in ROLES or value.startswith(SHIPPED) or Path(value).expanduser().is_dir():
        try:
            return fingerprint(find_weights(value, role=role, key=key))
        except IdinvertError:
            if top in ROLES and not Path(value).expanduser().is_file():
                raise
    return content_hash(value)


def _data_hash(config: dict[str, Any]) -> str:
    """The images of ``data``, and the ids that are drawn by."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the task gives them
        domain = open_data(config["data"])
    ids = ids_of(getattr(domain, config["split"], domain.test))
    return "/".join([domain.name, domain.fingerprint, digest_of(ids)[:16]])


def _own_data_hash(config: dict[str, Any]) -> str:
    """The images of the domain that a run was trained on, as ``task.own`` names it."""
    return _data_hash(changed(config, {"words": config["task"]["own"]}))


def _directions_hash(config: dict[str, Any], found: dict[str, str]) -> str | None:
    """The directions that ``task.directions`` leads to, which may be those found last."""
    generator = found.get("generator.path")
    if generator is None:
        return None
    path = config["task"]["directions"]
    return content_hash(directions_file(config, path, generator=generator))


def _rows_hash(config: dict[str, Any]) -> str | None:
    """The losses that a run has logged so far."""
    if config["run"] is None:
        return None
    folder = find_run(config["run"], outputs=config["system"]["outputs"])
    return file_hash(folder / "metrics.jsonl")


def _entries_hash(config: dict[str, Any], entries: list[dict[str, Any]]) -> str:
    """Methods by the configurations that their overrides make."""
    made = []
    for entry in entries:
        one = changed(config, entry) | {"task": None}
        made.append([entry.get("label"), evaluation_config(one, contents=contents_of(one))])
    return digest_of(made)


def _encoder_hash(overrides: str) -> str:
    """The untrained encoder that overrides of ``train.py`` choose."""
    return digest_of(compose_plain("train", overrides.split())["encoder"])


def _own_modules(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The files of the user's own classes, which may change while their names stay."""
    names = [(f"{at}._target_", str(node["_target_"])) for at, node in targets(config)]
    classes = (config["encoder"] or {}).get("classes") or []
    names += [(f"encoder.classes.{name}", str(name)) for name in classes]
    installed = [str(Path(place).resolve()) for place in map(sysconfig.get_path, PACKAGED)]
    for key, name in names:
        if name.startswith("idinvert.") or has_no_effect(key):
            continue
        try:
            spec = importlib.util.find_spec(name.rpartition(".")[0])
        except (ImportError, ValueError):
            continue
        origin = spec.origin if spec else None
        if origin and not any(str(Path(origin).resolve()).startswith(at) for at in installed):
            yield key, origin
