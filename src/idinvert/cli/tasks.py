"""The tasks of ``evaluate.py``: from a setup to records."""

import time
from pathlib import Path

import torch

from idinvert.cli import networks as wire
from idinvert.cli.provenance import commit
from idinvert.cli.setup import Setup
from idinvert.config.build import build
from idinvert.config.run_folder import locked
from idinvert.config.signature import nearest
from idinvert.data.folder import read_images
from idinvert.editing.directions import save_directions
from idinvert.editing.scored import scored_codes
from idinvert.editing.svm import train_direction
from idinvert.errors import ConfigError
from idinvert.evaluation.chunks import Chunks, limit, spans
from idinvert.evaluation.invert import invert
from idinvert.evaluation.measures import measure_attributes
from idinvert.evaluation.origin import device_in_words
from idinvert.evaluation.reconstruction import reconstruction
from idinvert.tables.record import Record


def reconstruct(*, setup: Setup) -> list[Record]:
    """Inverts and measures the first n images of a split (Sec. 4.2)."""
    config = setup.config
    domain = build(config["data"], key="data")
    wire.require_resolution(data=domain.resolution, generator=setup.generator.resolution)
    mark = setup.mark(domain.fingerprint)
    out = setup.out / f"reconstruction-{domain.name}-{config['split']}-{mark}"
    with locked(out):
        records = reconstruction(
            inverters={setup.inverter_name: setup.inverter},
            generator=setup.generator,
            domain=domain,
            measures=setup.measures,
            origin=setup.origin,
            out=out,
            split=config["split"],
            n=config["n"],
            batch_size=config["batch_size"],
            trainer=trainer_keywords(config["trainer"]),
            num_workers=config["system"]["num_workers"],
            recompute=config["recompute"],
        )
    for record in records:
        show(record, out / setup.inverter_name)
    return records


def invert_own(*, setup: Setup, on_corrupt: str, allow_upscale: bool) -> list[Record]:
    """Inverts images of one's own: codes, pictures, losses and a page come out.

    Raises:
        ConfigError: No ``images=`` was given.
    """
    config = setup.config
    if config["images"] is None:
        raise ConfigError("task=invert needs images=FOLDER, images=FILE.zip or images=FILE.")
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
        )
    if record is None:
        return []
    show(record, out)
    print(f"look at {out / 'index.html'}")
    return [record]


def trainer_keywords(node: dict) -> dict:
    """The Trainer's keywords of a ``trainer`` node."""
    return {key: value for key, value in node.items() if not key.startswith("_")}


def show(record: Record, out: Path) -> None:
    """Prints what was measured and where it lies."""
    print(f"{record.task}: {record.n} images of {record.data['name']}, run {record.run}: {out}")
    for name, value in record.metrics.items():
        print(f"  {name:24s} {value:.5g}")


def train_directions(
    *, setup: Setup, names: list[str], samples: int, fraction: float
) -> list[Record]:
    """Trains an edit direction an attribute and stores them in one file (Sec. 4.3).

    Raises:
        ConfigError: No attribute network, or one that does not know a name.
    """
    network, config = setup.attributes, setup.config
    if network is None:
        raise ConfigError("task=directions needs an attribute network: attributes=shipped.")
    for name in names:
        if name not in network.names:
            raise ConfigError(f"task.names: {name} is not read. " + nearest(name, network.names))
    codes, scores = scored_codes(setup.generator, network, n=samples, seed=config["seed"])
    facts = {
        "generator": setup.origin.checkpoints["generator"],
        "command": setup.origin.command,
        "commit": commit(),
    }
    directions = [
        train_direction(
            codes,
            scores[:, network.names.index(name)],
            name=name,
            fraction=fraction,
            seed=config["seed"],
            provenance=facts,
        )
        for name in names
    ]
    path = setup.out / "directions.safetensors"
    save_directions(path, directions)
    print(f"{len(directions)} directions: {path}")
    for direction in directions:
        accuracy = direction.provenance["accuracy"]
        print(f"  {direction.name:24s} held-out accuracy {min(accuracy):.3f}")
    return []


def read_labels(*, setup: Setup) -> list[Record]:
    """Measures the attribute network on the images themselves.

    Raises:
        ConfigError: No attribute network.
    """
    config, network = setup.config, setup.attributes
    if network is None:
        raise ConfigError("task=attributes needs an attribute network: attributes=shipped.")
    domain = build(config["data"], key="data")
    wire.require_resolution(data=domain.resolution, generator=setup.generator.resolution)
    count = limit(getattr(domain, config["split"]), config["n"])
    chunks = Chunks(getattr(domain, config["split"]), spans(count, size=config["batch_size"]))
    began = time.monotonic()
    batches = (chunks[index] for index in range(len(chunks)))
    metrics, words = measure_attributes(
        ((batch["image"], batch["attributes"]) for batch in batches),
        network=network,
        labels=[attribute.name for attribute in domain.attributes],
        device=torch.device("cpu"),
    )
    record = Record(
        run=setup.origin.checkpoints["attributes"],
        task="attributes",
        choices={"scale": config["scale"]["name"]},
        metrics=metrics,
        protocol=words,
        n=count,
        nimg=0,
        data={
            "name": domain.name,
            "resolution": domain.resolution,
            "fingerprint": domain.fingerprint,
            "split": config["split"],
        },
        checkpoints={"attributes": setup.origin.checkpoints["attributes"]},
        versions=dict(setup.origin.versions),
        device=device_in_words(torch.device("cpu")),
        seconds=time.monotonic() - began,
        seed=config["seed"],
        command=setup.origin.command,
    )
    show(record, Path(config["system"]["outputs"]))
    return [record]
