"""Composes a configuration from overrides, and reports a wrong override before any work.

The groups are in ``conf/``, in the repository or in the installed wheel. The user's own folder of
groups (``--config-dir DIR``) is stored in an environment variable, so that this check, the rows of
a sweep, the jobs of a launcher and the ranks of DDP all use it.
"""

import difflib
import functools
import itertools
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException, ValidationError

from idinvert.config.argv import for_hydra
from idinvert.config.instantiate import check_signatures, targets
from idinvert.config.other_projects import dotted, hint, hint_of_choice, nearest_key
from idinvert.config.schema import TOP
from idinvert.config.values import refusal
from idinvert.errors import ConfigError, nearest

PACKAGE = Path(__file__).resolve().parents[1]
OWN = "IDINVERT_CONFIG_DIR"
LAUNCHERS = ("joblib", "submitit_local", "submitit_slurm")
"""Files of ``conf/hydra/launcher``; each extends its plugin's schema, ``NAME_schema``."""
EXTRAS = {"joblib": "sweep", "optuna": "sweep", "submitit": "slurm"}
"""Part of the name of a launcher or sweeper plugin, and the extra that installs it."""
PLUGIN_MISSING = re.compile(
    r"Could not (?:find|load) '(hydra/(?:launcher|sweeper))/"
    r"((joblib|optuna|submitit)\w*?)(?:_schema)?'"
)
FLAGS = ("--config-dir", "-cd")


def config_dir() -> Path:
    """The folder of the Hydra groups.

    Returns:
        ``idinvert/conf`` in an installed wheel, ``conf`` beside ``src`` in a checkout.
    """
    packaged = PACKAGE / "conf"
    return packaged if packaged.is_dir() else PACKAGE.parents[1] / "conf"


def take_own_config_dir(arguments: Sequence[str]) -> list[str]:
    """Removes ``--config-dir DIR`` from a command line and stores its folder in the environment.

    Raises:
        ConfigError: The folder does not exist, or none was given.
    """
    words: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        flag, equals, value = argument.partition("=")
        if flag not in FLAGS:
            words.append(argument)
            continue
        given = value if equals else next(rest, "")
        if not given or not Path(given).expanduser().is_dir():
            raise ConfigError(
                f"{flag}={given}: no such folder; expected one with a folder for each group, such "
                "as encoder/my_encoder.yaml."
            )
        os.environ[OWN] = str(Path(given).expanduser().resolve())
    return words


def own_config_dir() -> Path | None:
    """The user's own folder of groups, if there is one."""
    return Path(os.environ[OWN]) if os.environ.get(OWN) else None


def config_files(group: str) -> dict[str, Path]:
    """Maps the choices of a group to their files; a shipped one hides the user's of that name."""
    roots = [folder for folder in (own_config_dir(), config_dir()) if folder is not None]
    return {path.stem: path for root in roots for path in root.glob(f"{group}/*.yaml")}


@functools.cache
def usual_targets() -> dict[str, set[str]]:
    """Maps each dotted key of the shipped groups to the targets used there."""
    found: dict[str, set[str]] = {}
    for path in config_dir().glob("*/*.yaml"):
        text = path.read_text(encoding="utf-8")
        if "_target_" in text:
            for at, node in targets(yaml.safe_load(text), path.parent.name):
                found.setdefault(at, set()).add(node["_target_"])
    return found


def searchpath() -> list[str]:
    """The override that adds the user's own folder to Hydra's search path; empty without one."""
    folder = own_config_dir()
    return [] if folder is None else [f"hydra.searchpath=['file://{folder}']"]


def shipped_for(data: str, resolution: int | None = None) -> str:
    """The name of the shipped networks for a data set.

    Args:
        data: The ``_target_`` of the data set. That of a miniature domain ends in the domain's
            name; any other gets the networks of ``faces_mini``.
        resolution: R, in pixels. Networks of that size, ``NAME_R``, take precedence over ``NAME``.
    """
    name = data.rsplit(".", 1)[-1]
    name = name if name.endswith("_mini") else "faces_mini"
    sized = f"{name}_{resolution}"
    return sized if (PACKAGE / "assets" / sized).is_dir() else name


def of_target(values: Mapping[str, Any], target: str | None, other: Any) -> Any:
    """Selects a value by the class or function that a node builds.

    Args:
        values: Name of the class or function (last part of a ``_target_``) to value.
        target: The node's ``_target_``.
        other: The value for any other target, such as the user's own class.
    """
    return values.get((target or "").rsplit(".", 1)[-1], other)


def register() -> None:
    """Registers the schemas and resolvers that ``train.yaml`` and ``evaluate.yaml`` refer to."""
    OmegaConf.register_new_resolver("shipped_for", shipped_for, replace=True)
    OmegaConf.register_new_resolver("of_target", of_target, replace=True)
    store = ConfigStore.instance()
    Plugins.instance()  # loads the plugins, which store the schemas of their launchers
    launchers = store.repo.get("hydra", {}).get("launcher", {})
    for name in LAUNCHERS:
        # A schema with the name of one of our files would be matched automatically, with a warning.
        if schema := launchers.pop(f"{name}.yaml", None):
            store.store(group="hydra/launcher", name=f"{name}_schema", node=schema.node)
    store.store(name="train_schema", node=TOP["train"])
    store.store(name="evaluate_schema", node=TOP["evaluate"])


def compose_plain(config_name: str, overrides: list[str]) -> dict[str, Any]:
    """Composes, resolves and checks the configuration of a program; returns plain values.

    Raises:
        ConfigError: An override that Hydra or the signatures refuse, with the nearest valid key.
    """
    plain, _ = compose_with_hydra(config_name, overrides)
    check_signatures(plain)
    return plain


def compose_with_hydra(config_name: str, overrides: list[str]) -> tuple[dict[str, Any], DictConfig]:
    """Returns the resolved configuration as plain values, and Hydra's own node (``hydra``).

    Raises:
        ConfigError: An override that Hydra refuses, or a plugin that is not installed.
    """
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_dir=str(config_dir()), version_base="1.3"):
        try:
            words = [*searchpath(), *map(for_hydra, overrides)]
            config = compose(config_name, overrides=words, return_hydra_config=True)
            own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
            plain: Any = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
        # Hydra raises ValueError for a group that is set to null.
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise ConfigError(_explain(config_name, overrides, error)) from error
    return plain, config.hydra


def without_hydra(overrides: Sequence[str]) -> list[str]:
    """Removes overrides of Hydra itself: launchers need not be installed to check a run."""
    return [word for word in overrides if not word.lstrip("+~").startswith("hydra")]


def given_keys(overrides: Sequence[str]) -> dict[str, list[str]]:
    """Maps each top-level key that overrides set to the dotted keys they set below it."""
    given: dict[str, list[str]] = {}
    for word in map(key_of, overrides):
        given.setdefault(word.split(".", 1)[0], []).append(word)
    return given


def key_of(override: str) -> str:
    """The dotted key or group that an override sets."""
    return override.lstrip("+~").split("=", 1)[0].split("@", 1)[0]


def parse(overrides: Sequence[str]) -> list[Override]:
    """Parses overrides with Hydra.

    Raises:
        ConfigError: An override that cannot be parsed.
    """
    try:
        return OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise ConfigError(str(error)) from error


def expand_sweep(overrides: list[str]) -> list[list[str]]:
    """Expands a multirun's overrides to all combinations, as Hydra's basic sweeper does.

    Raises:
        ConfigError: An override that cannot be parsed.
    """
    choices = []
    for override in parse(overrides):
        if override.is_sweep_override() and override.is_discrete_sweep():
            key = override.get_key_element()
            choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        elif override.is_sweep_override():
            continue  # a range for an optimising sweeper, which draws the values itself
        else:
            choices.append([str(override.input_line)])
    return [list(combination) for combination in itertools.product(*choices)]


def _explain(config_name: str, overrides: list[str], error: Exception) -> str:
    if isinstance(refused := error.__cause__ or error, ValidationError) and refused.full_key:
        for override in parse([word for word in overrides if key_of(word) == refused.full_key]):
            if said := refusal(config_name, refused.full_key, override.value()):
                return said
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} has no value yet: give {error.full_key}=…"
    message = str(error).splitlines()[0]
    if missing := PLUGIN_MISSING.search(message):
        group, choice, plugin = missing.groups()
        return f"{group}={choice} needs an extra: pip install 'idinvert[{EXTRAS[plugin]}]'"
    cause = error.__cause__
    if cause is not None and str(cause) not in message:
        message += f" ({str(cause).splitlines()[0]})"
    try:
        parsed = parse(overrides)
    except ConfigError:
        return message  # it names the word that cannot be parsed
    for override in parsed:
        hint = _hint(config_name, overrides, override)
        if hint:
            return f"{override.input_line}: {hint}"
    return message


def _hint(config_name: str, overrides: list[str], override: Override) -> str | None:
    """Says what is wrong with one override; ``None`` if it is not the cause."""
    if override.is_sweep_override():
        return "several values are a sweep: add -m. A list is written [1,2]."
    name = override.key_or_group
    if said := hint_of_choice(f"{name}={override.value()}"):
        return said
    if not override.is_delete() and (said := _of_other_program(config_name, name)):
        return said
    if "/" in name or ("." not in name and (config_dir() / name).is_dir()):
        known = sorted(config_files(name))
        value = override.value()
        if value is None and not override.is_delete():
            return f"to do without {name}, write ~{name}"
        if known and isinstance(value, str) and value not in known:
            with_it = {path.parent.name for path in config_dir().glob(f"*/{value}.yaml")}
            other = " or ".join(f"{group}={value}" for group in sorted(with_it - {"table"}))
            near = f"There is {other}." if other else nearest(value, known)
            return f"there is no such {name}. {near}"
        return None
    of_hydra = name.split(".")[:2] if name.startswith("hydra.") else []
    without = [o for o in overrides if not o.lstrip("+~").startswith(name)]
    try:
        words = [*searchpath(), *without]
        config = compose(config_name, overrides=words, return_hydra_config=bool(of_hydra))
    except (HydraException, OmegaConfBaseException, ValueError):
        return None
    keys = dotted(OmegaConf.to_container(config, resolve=False))
    groups = [path.name for path in config_dir().iterdir() if path.is_dir()]
    keys += [key for key in groups if _program_of(key) in (None, config_name)]
    if of_hydra:
        keys = [key for key in keys if key.startswith(".".join(of_hydra))] or [*of_hydra[:1], *keys]
    if name not in keys and not override.is_add():
        if name in ("data.path", "data.split"):
            return f"the images of this data set are drawn by the program: add data=folder {name}=…"
        close = difflib.get_close_matches(name, keys, n=1, cutoff=0.95)
        if not close and (said := hint(config_name, name) or _of_other_choice(name)):
            return f"there is no such key. {said}"
        return "there is no such key. " + nearest_key(name, keys)
    return None


def _program_of(key: str) -> str | None:
    """The only program that has a top-level key; ``None`` if both or neither have it."""
    taking = [program for program, schema in TOP.items() if hasattr(schema, key)]
    return taking[0] if len(taking) == 1 else None


def _of_other_program(config_name: str, name: str) -> str | None:
    """Says what to do with a key that only the other program has."""
    encoder = config_name == "evaluate" and name == "encoder"
    program = "train" if encoder else _program_of(name.partition(".")[0])
    if program in (None, config_name):
        return None
    if program == "evaluate":
        return f"{name}= is a choice of evaluate.py."
    more = ", or encoder.path=FILE" if encoder else ""
    return f"{name}= is a choice of train.py. Here the run decides: give run=RUN{more}."


def _of_other_choice(name: str) -> str | None:
    """Names the choices of a group that have a key of this or a similar name."""
    group, _, key = name.partition(".")
    found: dict[str, list[str]] = {}
    for path in sorted(config_dir().glob(f"{group}/*.yaml")) if key else ():
        keys = yaml.safe_load(path.read_text(encoding="utf-8"))
        for near in difflib.get_close_matches(key, map(str, keys), n=1, cutoff=0.8):
            found.setdefault(near, []).append(path.stem)
    if not found:
        return None
    near, choices = max(found.items(), key=lambda one: one[0] == key)
    return f"There is {group}.{near} with {group}={' or '.join(choices[:3])}."
