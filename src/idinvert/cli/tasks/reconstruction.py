"""``task=reconstruction``: inverts and measures the images of a split (Sec. 4.2)."""

from typing import Any

from idinvert.cli.setup import open_setup
from idinvert.cli.tasks.opening import show, subject_of
from idinvert.cli.tracked import pictures_wanted
from idinvert.config.run_folder import locked
from idinvert.errors import ConfigError
from idinvert.evaluation.reconstruction import reconstruction
from idinvert.results.record import Record


def reconstruct(*, config: dict[str, Any]) -> list[Record]:
    """Inverts and measures the first n images of a split (Sec. 4.2).

    Raises:
        ConfigError: ``images=`` was given, which is another task's.
    """
    if config["images"] is not None:
        raise ConfigError(
            f"task=reconstruction measures the images of data and does not read images="
            f"{config['images']}. Add task=invert, or set data=folder data.path={config['images']}."
        )
    setup = open_setup(config)
    subject = subject_of(setup)
    out = subject.inversions.parent
    with locked(out):
        records = reconstruction(
            inverters={subject.name: subject.inverter},
            generator=subject.generator,
            domain=subject.domain,
            measures=subject.measures,
            origin=subject.origin,
            out=out,
            split=subject.split,
            n=subject.n,
            batch_size=subject.batch_size,
            trainer=subject.trainer,
            num_workers=subject.num_workers,
            recompute=config["recompute"],
            keep_shown=pictures_wanted(config),
        )
    for record in records:
        show(record, out / subject.name)
    return records
