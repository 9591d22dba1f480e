"""Where the configuration lives: in the repository, or inside the installed wheel."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def config_dir() -> Path:
    """The folder of the Hydra groups.

    Returns:
        ``idinvert/conf`` in an installed wheel, ``conf`` beside ``src`` in a checkout.
    """
    packaged = PACKAGE / "conf"
    return packaged if packaged.is_dir() else PACKAGE.parents[1] / "conf"
