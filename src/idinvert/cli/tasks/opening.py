"""What the tasks share: their subject, their folders, their last words."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from idinvert.cli.results import leave
from idinvert.cli.setup import Setup
from idinvert.config.run_folder import locked
from idinvert.data.domain import Domain
from idinvert.errors import ConfigError
from idinvert.evaluation import networks as wire
from idinvert.evaluation.open_data import open_data
from idinvert.evaluation.subject import Subject
from idinvert.results.record import Record


def subject_of(setup: Setup, *, domain: Domain | None = None) -> Subject:
    """The method of a setup on the images of its ``data``.

    Args:
        setup: Opened.
        domain: The images, where they are at hand already.

    Raises:
        ConfigError: The images are not of the generator's size, or ``images=`` was given.
    """
    config = setup.config
    if config["images"] is not None:
        raise ConfigError(
            f"this task measures the images of data and does not read images={config['images']}. "
            f"Add task=invert, or set data=folder data.path={config['images']}."
        )
    domain = domain or open_data(config["data"])
    wire.require_resolution(data=domain.resolution, generator=setup.generator.resolution)
    subject = Subject(
        inverter=setup.inverter,
        name=setup.inverter_name,
        generator=setup.generator,
        domain=domain,
        measures=setup.measures,
        origin=setup.origin,
        inversions=setup.out,
        split=config["split"],
        n=config["n"],
        batch_size=config["batch_size"],
        trainer=trainer_keywords(config["trainer"]),
        num_workers=config["system"]["num_workers"],
    )
    folder = setup.out / f"reconstruction-{domain.name}-{subject.split}-{subject.mark()}"
    return replace(subject, inversions=folder / subject.name)


@contextmanager
def task_folder(setup: Setup, subject: Subject, task: str, **options: Any) -> Iterator[Path]:
    """The folder of a task on inverted codes, with that of the inversions locked meanwhile.

    Args:
        setup: Opened.
        subject: The method and its images.
        task: The task's name.
        options: What makes its results besides, JSON-able: other options, another folder.
    """
    mark = subject.mark(**options)
    name = f"{task}-{subject.domain.name}-{subject.split}-{subject.name}-{mark}"
    out = setup.out / name
    with locked(subject.inversions.parent), locked(out):
        yield out


def finished(made: Record | Sequence[Record] | None, out: Path) -> list[Record]:
    """Says what was measured and where the pictures lie; ``None`` is another rank's silence."""
    records = [] if made is None else [made] if isinstance(made, Record) else list(made)
    for record in records:
        show(record, out)
    for path in sorted([*out.glob("*.png"), *out.glob("*.pdf")]) if records else []:
        print(f"look at {path}")
    return records


def show(record: Record, out: Path) -> None:
    """Prints what was measured and where it lies, and says so to whoever shows it elsewhere."""
    leave(out, record)
    print(f"{record.task}: {record.n} images of {record.data['name']}, run {record.run}: {out}")
    for name, value in record.metrics.items():
        print(f"  {name:24s} {value:.5g}")


def trainer_keywords(node: dict) -> dict:
    """The Trainer's keywords of a ``trainer`` node."""
    return {key: value for key, value in node.items() if not key.startswith("_")}
