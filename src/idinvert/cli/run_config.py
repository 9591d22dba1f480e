"""The configuration of ``run=RUN``: the run's own, with what this command may change."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from idinvert.checkpoints.release import read_header
from idinvert.config.run_folder import find_run, first_command, read_config, read_contents
from idinvert.errors import ConfigError

MAY_CHANGE = (
    "run",
    "nimg",
    "max_seconds",
    "accumulate",
    "trainer",
    "logger",
    "system",
    "logging",
    "checkpoint",
)
"""Keys that ``run=RUN`` takes from the command line; the others stand in the run's config."""

SCIENCE = ("trainer.precision",)
"""What may not change below those keys."""


def config_of_run(config: dict[str, Any], *, given: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The stored configuration of ``run=RUN``, with what may change taken from this command.

    Args:
        config: The resolved configuration of this command, as plain values.
        given: Top-level keys that stand on the command line, each with the dotted keys that do.

    Raises:
        ConfigError: No such run, or a key that would make it another one.
    """
    stored = read_config(find_run(config["run"], outputs=config["system"]["outputs"]))
    words = {word for below in given.values() for word in below}
    refused = sorted(set(given) - set(MAY_CHANGE) | words & set(SCIENCE))
    if refused:
        raise ConfigError(
            f"run={config['run']} goes on as it was started; {', '.join(refused)} cannot change. "
            f"Leave that out, or start another run without run=. May change: "
            f"{', '.join(MAY_CHANGE[1:])}."
        )
    precision = stored["trainer"]["precision"]
    take(stored, config, words)
    stored["trainer"]["precision"] = precision
    return stored | {"run": config["run"]}


def take(stored: dict[str, Any], config: dict[str, Any], words: Iterable[str]) -> None:
    """Puts what stands at dotted keys of ``config`` into ``stored``."""
    # Whole groups first (trainer=ddp), then single keys (trainer.devices=4).
    for word in sorted(words, key=lambda word: word.count(".")):
        *path, last = word.split(".")
        there, here = stored, config
        for key in path:
            there, here = there.setdefault(key, {}), here[key]
        there[last] = here[last]


def require_same_contents(
    config: dict[str, Any], contents: Mapping[str, str], *, folder: Path
) -> None:
    """Refuses to go on with a run on other images or other networks than it started with.

    Args:
        config: The run's configuration.
        contents: The hashes of what it stands on now, by top-level key.
        folder: The run's folder.

    Raises:
        ConfigError: Names what has changed, and the command that starts another run.
    """
    before = read_contents(folder) or _contents_of_weights(folder)
    changed = [key for key in {**before, **contents} if before.get(key) != contents.get(key)]
    if not before or not changed:
        return
    told = "; ".join(
        f"{key} ({_place(key, config)}) was {before.get(key, 'not there')} and is "
        f"{contents.get(key, 'not there')}"
        for key in changed
    )
    raise ConfigError(
        f"run={folder} stands on something else now: {told}. A run goes on with what it started "
        "with: put that back. To train with what is there now, start another run: "
        f"python {first_command(folder) or 'train.py'}"
    )


def _place(key: str, config: dict[str, Any]) -> str:
    """What led to a network or to images, as the configuration has it."""
    node = config.get(key) or {}
    if key == "discriminator" and node.get("init") == "generator":
        return f"beside generator.path={config['generator']['path']}"
    if key == "perceptual":
        key, node = "perceptual.network", node.get("network") or {}
    return f"{key}={node['_target_']}" if node.get("path") is None else f"{key}.path={node['path']}"


def _contents_of_weights(folder: Path) -> dict[str, str]:
    """The same from the weights of a run that is older than the file; nothing without weights."""
    for path in sorted((folder / "weights").glob("*.safetensors")):
        return read_header(path, key="run").provenance.get("stands_on", {})
    return {}
