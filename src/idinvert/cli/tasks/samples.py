"""``task=samples``: the generator's own images against the real ones."""

from dataclasses import replace
from typing import Any

from idinvert.cli.setup import open_setup
from idinvert.cli.tasks.methods import WITHOUT_ENCODER, changed
from idinvert.cli.tasks.opening import finished, subject_of, task_folder
from idinvert.config.run_folder import is_first_process
from idinvert.evaluation.samples import samples
from idinvert.results.record import Record


def sample(*, config: dict[str, Any], truncation: float, shown: int) -> list[Record]:
    """Draws images from a generator and measures them as a set.

    Args:
        config: Of the command.
        truncation: ψ.
        shown: Samples in the picture.
    """
    if not is_first_process():
        return []
    setup = open_setup(changed(config, WITHOUT_ENCODER))
    subject = replace(subject_of(setup), name="prior")
    options = {"truncation": truncation, "seed": config["seed"]}
    with task_folder(setup, subject, "samples", **options) as out:
        record = samples(
            subject,
            out=out,
            truncation=truncation,
            seed=config["seed"],
            shown=shown,
            recompute=config["recompute"],
        )
        return finished(record, out)
