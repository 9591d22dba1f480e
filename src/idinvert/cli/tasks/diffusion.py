"""``task=diffusion``: targets diffused into contexts (Sec. 4.3, App. A1; Figs. 6 and 16)."""

from typing import Any

from idinvert.cli.setup import build_method, open_setup
from idinvert.cli.tasks.opening import finished, subject_of, task_folder
from idinvert.editing.diffusion import DiffusionInverter
from idinvert.errors import ConfigError
from idinvert.evaluation.diffusion import diffusion
from idinvert.results.record import Record


def diffuse(
    *, config: dict[str, Any], sizes: list[int] | None, images: list[int], shown: int
) -> list[Record]:
    """Diffuses every image into the context of another, for each size of the crop.

    Raises:
        ConfigError: The inversion is another one.
    """
    setup = open_setup(config)
    if not isinstance(setup.inverter, DiffusionInverter):
        raise ConfigError(
            f"task=diffusion takes inversion=diffusion, not inversion={setup.inverter_name}."
        )
    networks: dict[str, Any] = {"encoder": setup.encoder, "perceptual": setup.perceptual}
    inverters = [setup.inverter]
    if sizes is not None:
        nodes = [{**config["inversion"], "size": size} for size in sizes]
        inverters = [build_method(node, config, **networks) for node in nodes]
    subject = subject_of(setup)
    options = {"sizes": sizes, "seed": config["seed"], "n": subject.count}
    with task_folder(setup, subject, "diffusion", **options) as out:
        records = diffusion(
            subject,
            inverters=inverters,
            out=out,
            seed=config["seed"],
            images=images,
            shown=shown,
            recompute=config["recompute"],
        )
        return finished(records, out)
