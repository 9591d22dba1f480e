"""``task=mixing``: the content of one inverted image with the style of another."""

from typing import Any

from idinvert.cli.setup import open_setup
from idinvert.cli.tasks.opening import finished, subject_of, task_folder
from idinvert.evaluation.mixing import mixing
from idinvert.results.record import Record


def mix(*, config: dict[str, Any], first: int | None, shown: int) -> list[Record]:
    """Mixes pairs of inverted images and measures them as a set."""
    setup = open_setup(config)
    subject = subject_of(setup)
    options = {"first": first, "seed": config["seed"], "n": subject.count}
    with task_folder(setup, subject, "mixing", **options) as out:
        record = mixing(
            subject,
            out=out,
            first=first,
            seed=config["seed"],
            shown=shown,
            recompute=config["recompute"],
        )
        return finished(record, out)
