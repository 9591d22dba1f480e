"""The weights that are shipped inside the package."""

from pathlib import Path

import idinvert
from idinvert.errors import CheckpointError


def assets_folder() -> Path:
    """The folder of shipped files."""
    return Path(idinvert.__file__).parent / "assets"


def asset(name: str) -> Path:
    """The path of a shipped file.

    Args:
        name: Path below the assets folder, such as ``"faces_mini/generator.safetensors"``.

    Raises:
        CheckpointError: No such file; the message lists what there is.
    """
    folder = assets_folder()
    path = folder / name
    if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
        return path
    there = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    raise CheckpointError(
        f"assets: got {name!r}, expected one of the shipped files: {', '.join(there) or 'none'}; "
        "change the path that names it"
    )
