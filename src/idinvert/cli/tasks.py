"""The tasks of ``evaluate.py``: from a setup to records."""

import time
from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils.data import Dataset

from idinvert.cli import networks as wire
from idinvert.cli.provenance import command, commit, versions
from idinvert.cli.setup import open_setup
from idinvert.config.build import build
from idinvert.config.run_folder import locked
from idinvert.config.signature import nearest
from idinvert.data.domain import Domain
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
    *, config: dict[str, Any], names: list[str], samples: int, fraction: float
) -> list[Record]:
    """Trains an edit direction an attribute and stores them in one file (Sec. 4.3).

    Raises:
        ConfigError: No attribute network, or one that does not know a name.
    """
    contents = wire.Contents()
    network = _attribute_network(config, contents)
    for name in names:
        if name not in network.names:
            raise ConfigError(f"task.names: {name} is not read. " + nearest(name, network.names))
    generator = wire.loaded_generator(config["generator"], contents)
    codes, scores = scored_codes(generator, network, n=samples, seed=config["seed"])
    facts = {
        "generator": contents.hashes["generator"],
        "attributes": contents.hashes["attributes"],
        "command": command(),
        "commit": commit(),
        "seed": config["seed"],
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
    folder = Path(config["system"]["outputs"]) / "evaluations" / contents.hashes["generator"]
    path = folder / "directions.safetensors"
    save_directions(path, directions)
    print(f"{len(directions)} directions: {path}")
    for direction in directions:
        accuracy = direction.provenance["accuracy"]
        print(f"  {direction.name:24s} held-out accuracy {min(accuracy):.3f}")
    return []


def read_labels(*, config: dict[str, Any]) -> list[Record]:
    """Measures the attribute network on the images themselves.

    Raises:
        ConfigError: No attribute network, or images that it cannot read or that have no labels.
    """
    contents = wire.Contents()
    network = _attribute_network(config, contents)
    domain = build(config["data"], key="data")
    labels = [attribute.name for attribute in domain.attributes]
    if not set(labels) & set(network.names):
        raise ConfigError(
            f"data={domain.name} is labelled with {labels} and the attribute network reads "
            f"{list(network.names)}. Choose labelled data, such as data=faces_mini."
        )
    images = _split(domain, config["split"])
    count = limit(images, config["n"])
    chunks = Chunks(images, spans(count, size=config["batch_size"]))
    began = time.monotonic()
    batches = (chunks[index] for index in range(len(chunks)))
    metrics, words = measure_attributes(
        ((batch["image"], batch["attributes"]) for batch in batches),
        network=network,
        labels=labels,
        device=torch.device("cpu"),
    )
    record = Record(
        run=contents.hashes["attributes"],
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
        checkpoints={"attributes": contents.hashes["attributes"]},
        versions=versions(),
        device=device_in_words(torch.device("cpu")),
        seconds=time.monotonic() - began,
        seed=config["seed"],
        command=command(),
    )
    show(record, Path(config["system"]["outputs"]))
    return [record]


def _attribute_network(config: dict[str, Any], contents: wire.Contents) -> Any:
    network = wire.attribute_network(config["attributes"], contents)
    if network is None:
        raise ConfigError("this task needs an attribute network: attributes=shipped.")
    return network


def _split(domain: Domain, name: str) -> Dataset:
    if name not in ("train", "val", "test"):
        raise ConfigError(f"split={name} is unknown; it takes train, val or test.")
    return getattr(domain, name)
