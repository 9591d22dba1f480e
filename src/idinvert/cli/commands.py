"""The two commands as a shell calls them: tab completion answers without loading the networks."""

import contextlib
import os
import sys

import hydra

from idinvert.config.compose import config_dir, own_config_dir, register, take_own_config_dir
from idinvert.errors import ConfigError

COMPLETION = ("-sc", "--shell-completion")


def train() -> None:
    """Entry point of ``train.py`` and ``idinvert-train``."""
    if _completes():
        complete("train")
        return
    # Here, as torch takes seconds to load and a shell asks at each press of the tab key.
    from idinvert.cli.train import main

    main()


def evaluate() -> None:
    """Entry point of ``evaluate.py`` and ``idinvert-evaluate``."""
    if _completes():
        complete("evaluate")
        return
    from idinvert.cli.evaluate import main  # as above

    main()


def complete(config_name: str) -> None:
    """Prints what a shell asks Hydra for: its script to install, or the words that may follow.

    Args:
        config_name: ``"train"`` or ``"evaluate"``.
    """
    register()
    with contextlib.suppress(ConfigError):  # a folder that is half typed
        take_own_config_dir(os.environ.get("COMP_LINE", "").split())
    if own := own_config_dir():
        sys.argv += ["--config-dir", str(own)]
    hydra.main(config_path=str(config_dir()), config_name=config_name, version_base="1.3")(
        lambda config: None
    )()


def _completes() -> bool:
    return any(word in COMPLETION for word in sys.argv[1:])
