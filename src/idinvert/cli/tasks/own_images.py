"""``task=invert``: images of one's own."""

from pathlib import Path
from typing import Any, Literal

from idinvert.cli.setup import open_setup
from idinvert.cli.tasks.opening import show, trainer_keywords
from idinvert.cli.tracked import pictures_wanted
from idinvert.config.identity import mark_of
from idinvert.config.run_folder import locked
from idinvert.data.folder import read_images
from idinvert.errors import ConfigError
from idinvert.evaluation.invert import data_of, identity_of, invert
from idinvert.results.record import Record


def invert_own(
    *,
    config: dict[str, Any],
    out: str | None,
    on_corrupt: Literal["error", "skip"],
    allow_upscale: bool,
) -> list[Record]:
    """Inverts images of one's own: codes, pictures, losses and a page come out.

    Args:
        config: Of the command.
        out: Folder of the results; ``None`` for one below the run's, named by what is in the
            images and by the method.
        on_corrupt: Whether damaged files are an ``error`` or left out (``skip``).
        allow_upscale: Whether images smaller than the generator's are enlarged.

    Raises:
        ConfigError: No ``images=`` was given.
    """
    if config["images"] is None:
        raise ConfigError("task=invert needs images=FOLDER, images=FILE.zip or images=FILE.")
    setup = open_setup(config)
    source = Path(config["images"])
    dataset = read_images(
        source,
        resolution=setup.generator.resolution,
        on_corrupt=on_corrupt,
        allow_upscale=allow_upscale,
    )
    data = data_of(dataset, name=source.stem, resolution=setup.generator.resolution)
    trainer = trainer_keywords(config["trainer"])
    identity = identity_of(
        setup.inverter, images=dataset, data=data, origin=setup.origin, trainer=trainer
    )
    name = f"invert-{source.stem}-{setup.inverter_name}-{mark_of(identity)}"
    folder = setup.out / name if out is None else Path(out).expanduser()
    with locked(folder):
        record = invert(
            inverter=setup.inverter,
            name=setup.inverter_name,
            generator=setup.generator,
            images=dataset,
            origin=setup.origin,
            out=folder,
            data=data,
            batch_size=config["batch_size"],
            trainer=trainer,
            num_workers=config["system"]["num_workers"],
            recompute=config["recompute"],
            keep_shown=pictures_wanted(config),
        )
    if record is None:
        return []
    show(record, folder)
    print(f"look at {folder / 'index.html'}")
    return [record]
