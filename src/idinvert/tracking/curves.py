"""Loss curves over images seen, from a run's ``metrics.jsonl``."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from idinvert.errors import DataError
from idinvert.tracking.csv_logger import read_rows


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
    """Draws the terms of a run, log axis, as in Fig. 14.

    Args:
        run: The run's folder.
        path: The picture to write.
        terms: Names of columns; those a run does not have are left out.

    Raises:
        DataError: The run has logged nothing yet.
    """
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
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path
