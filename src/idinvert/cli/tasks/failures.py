"""``task=failures``: the images that a method inverts worst (Sec. A4, Fig. 18)."""

from typing import Any

from idinvert.cli.setup import open_setup
from idinvert.cli.tasks.opening import finished, subject_of, task_folder
from idinvert.evaluation.failures import failures
from idinvert.results.record import Record


def show_failures(*, config: dict[str, Any], metric: str, worst: int) -> list[Record]:
    """Finds and shows the worst reconstructions of a split."""
    setup = open_setup(config)
    subject = subject_of(setup)
    options = {"metric": metric, "worst": worst, "n": subject.count}
    with task_folder(setup, subject, "failures", **options) as out:
        return finished(failures(subject, out=out, metric=metric, worst=worst), out)
