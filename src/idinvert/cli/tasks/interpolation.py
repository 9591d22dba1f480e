"""``task=interpolation``: images between inverted images (Sec. 4.3, Table 2, Fig. 4)."""

from typing import Any

from idinvert.cli.setup import open_setup
from idinvert.cli.tasks.opening import finished, subject_of, task_folder
from idinvert.evaluation.interpolation import interpolation
from idinvert.results.record import Record


def interpolate(*, config: dict[str, Any], steps: int, shown: int) -> list[Record]:
    """Interpolates between pairs of inverted images and measures them as a set."""
    setup = open_setup(config)
    subject = subject_of(setup)
    options = {"steps": steps, "seed": config["seed"], "n": subject.count}
    with task_folder(setup, subject, "interpolation", **options) as out:
        record = interpolation(
            subject,
            out=out,
            steps=steps,
            seed=config["seed"],
            shown=shown,
            recompute=config["recompute"],
        )
        return finished(record, out)
