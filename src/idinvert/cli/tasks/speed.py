"""``task=speed``: seconds an image, of an encoder and of a whole inversion (Table 3, Sec. 4.2)."""

from typing import Any

from idinvert.cli.setup import open_setup
from idinvert.cli.tasks.opening import finished, subject_of, task_folder
from idinvert.config.run_folder import is_first_process
from idinvert.evaluation.speed import speed
from idinvert.results.record import Record


def measure_speed(*, config: dict[str, Any], images: int, warm_up: int) -> list[Record]:
    """Times single images on one device, in one process."""
    if not is_first_process():
        return []
    setup = open_setup(config)
    subject = subject_of(setup)
    with task_folder(setup, subject, "speed") as out:
        return finished(speed(subject, out=out, images=images, warm_up=warm_up), out)
