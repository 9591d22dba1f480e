"""The configuration of ``run=RUN``: the run's own, with what this command may change."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from idinvert.config.run_folder import find_run, read_config
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
