"""Picture panels: one key, fixed images, a step slider; PNG files for those without W&B."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PANEL_FOLDER = "panels"


def save_panel(folder: Path, key: str, picture: np.ndarray, *, nimg: int) -> Path:
    """Writes ``<folder>/panels/<key>/nimg-….png``.

    Args:
        folder: The run's folder.
        key: Name of the panel, the same at every step.
        picture: ``[H, W, 3]``, uint8.
        nimg: Images seen, the panel's step.
    """
    path = Path(folder) / PANEL_FOLDER / key / f"nimg-{nimg:09d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
    return path


def log_panel(loggers: list[Any], key: str, pictures: dict[str, np.ndarray], *, nimg: int) -> None:
    """Hands pictures to every logger that shows them; W&B makes a slider of a repeated key.

    Args:
        loggers: Lightning's loggers; those without ``log_image`` are passed over.
        key: Name of the panel, the same at every step.
        pictures: Caption (a fixed image id) to ``[H, W, 3]`` uint8, in a fixed order.
        nimg: Images seen, the panel's step.
    """
    for logger in loggers:
        if hasattr(logger, "log_image"):
            logger.log_image(
                key=key, images=list(pictures.values()), step=nimg, caption=list(pictures)
            )
