"""Where the configuration lives: in the repository, or inside the installed wheel; and the user's.

The user's own folder of groups (``--config-dir DIR``) is kept in the environment: the check before
any work, the rows of a sweep, the jobs of a launcher and the ranks of DDP all compose with it.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from idinvert.errors import ConfigError

PACKAGE = Path(__file__).resolve().parents[1]
OWN = "IDINVERT_CONFIG_DIR"
FLAGS = ("--config-dir", "-cd")


def config_dir() -> Path:
    """The folder of the Hydra groups.

    Returns:
        ``idinvert/conf`` in an installed wheel, ``conf`` beside ``src`` in a checkout.
    """
    packaged = PACKAGE / "conf"
    return packaged if packaged.is_dir() else PACKAGE.parents[1] / "conf"


def take_own_config_dir(arguments: Sequence[str]) -> list[str]:
    """The command line without ``--config-dir DIR``, whose folder is remembered.

    Args:
        arguments: Of the program, without its name.

    Raises:
        ConfigError: There is no such folder, or none was named.
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


def searchpath() -> list[str]:
    """The override that makes Hydra look there as well; none without such a folder."""
    folder = own_config_dir()
    return [] if folder is None else [f"hydra.searchpath=['file://{folder}']"]
