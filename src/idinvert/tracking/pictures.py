"""Pictures of a run: panels of fixed images with a step slider, and its loss curves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from idinvert.durable import written_whole
from idinvert.errors import DataError
from idinvert.tracking.run_files import read_rows

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
    save_picture(path, Image.fromarray(picture))
    return path


def save_picture(path: Path, picture: Image.Image) -> None:
    """Writes a PNG."""
    with written_whole(path) as whole:
        picture.save(whole, "PNG")


def log_panel(loggers: list[Any], key: str, pictures: dict[str, np.ndarray], *, nimg: int) -> None:
    """Sends pictures to every logger that shows images; W&B shows a repeated key with a slider.

    Args:
        loggers: Lightning loggers; those without ``log_image`` are skipped.
        key: Name of the panel, the same at every step.
        pictures: Caption (a fixed image id) to ``[H, W, 3]`` uint8, in a fixed order.
        nimg: Images seen, the panel's step.
    """
    for logger in loggers:
        if hasattr(logger, "log_image"):
            logger.log_image(
                key=key, images=list(pictures.values()), step=nimg, caption=list(pictures)
            )


def draw_losses(
    run: Path,
    path: Path,
    *,
    terms: Sequence[str] = (
        "loss/pixel",
        "loss/perceptual",
        "loss/adversarial",
        "loss/discriminator",
        "val/mse",
    ),
) -> Path:
    """Draws the loss terms of a run on a logarithmic axis, as in Fig. 14.

    Args:
        run: The run's folder.
        path: The picture to write.
        terms: Names of columns; those that the run does not have are left out.

    Returns:
        `path`.

    Raises:
        DataError: The run has logged nothing yet.
    """
    # Imported here, so that trainings do not wait for it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = read_rows(run / "metrics.jsonl")
    if not rows:
        raise DataError(f"{run} has no rows in metrics.jsonl yet: nothing to draw.")
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for term in terms:
        points = [(row["nimg"], row[term]) for row in rows if term in row]
        if points:
            x, y = zip(*points, strict=True)
            axes.plot(x, y, label=term, marker="o" if len(points) < 20 else None, markersize=3)
    axes.set(xlabel="images seen", ylabel="loss", yscale="log", title=run.name)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)  # beside the curves
    with written_whole(path) as whole:
        figure.savefig(whole, format=path.suffix[1:], dpi=120)
    return path
