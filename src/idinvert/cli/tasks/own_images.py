"""``task=invert``: images of one's own."""

from pathlib import Path
from typing import Any, Literal

from idinvert.cli.setup import open_setup
from idinvert.cli.tasks.opening import show, trainer_keywords
from idinvert.cli.tracked import pictures_wanted
from idinvert.config.run_folder import locked
from idinvert.data.folder import read_images
from idinvert.errors import ConfigError
from idinvert.evaluation.invert import invert
from idinvert.tables.record import Record


def invert_own(
    *, config: dict[str, Any], on_corrupt: Literal["error", "skip"], allow_upscale: bool
) -> list[Record]:
    """Inverts images of one's own: codes, pictures, losses and a page come out.

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
    out = setup.out / f"invert-{source.stem}-{setup.inverter_name}-{setup.mark()}"
    with locked(out):
        record = invert(
            inverter=setup.inverter,
            name=setup.inverter_name,
            generator=setup.generator,
            images=dataset,
            origin=setup.origin,
            out=out,
            source=source.stem,
            batch_size=config["batch_size"],
            trainer=trainer_keywords(config["trainer"]),
            num_workers=config["system"]["num_workers"],
            recompute=config["recompute"],
            keep_shown=pictures_wanted(config),
        )
    if record is None:
        return []
    show(record, out)
    print(f"look at {out / 'index.html'}")
    return [record]
