"""``task=attributes``: how well the attribute network reads the images themselves."""

import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from idinvert.cli.tasks.opening import show
from idinvert.data.domain import Domain
from idinvert.errors import ConfigError
from idinvert.evaluation import networks as wire
from idinvert.evaluation.chunk_store import Chunks, limit, spans
from idinvert.evaluation.measures import measure_attributes, require_labels_read
from idinvert.evaluation.open_data import open_data
from idinvert.evaluation.provenance import command, device_in_words, versions
from idinvert.results.record import Record


def read_labels(*, config: dict[str, Any]) -> list[Record]:
    """Measures the attribute network on the images themselves.

    Raises:
        ConfigError: No attribute network, or labels that it does not read, or none at all.
    """
    contents = wire.Contents()
    network = needed_attribute_network(config, contents)
    domain = open_data(config["data"])
    labels = [attribute.name for attribute in domain.attributes]
    try:
        require_labels_read(network, labels)
    except ConfigError as error:
        raise ConfigError(f"data={domain.name}: {error}.") from error
    images = _split(domain, config["split"])
    count = limit(images, config["n"])
    chunks = Chunks(images, spans(count, size=config["batch_size"]))
    began = time.monotonic()
    batches = (chunks[index] for index in range(len(chunks)))
    figures = measure_attributes(
        ((batch["image"], batch["attributes"]) for batch in batches),
        network=network,
        labels=labels,
        device=torch.device("cpu"),
        seed=config["seed"],
    )
    record = Record(
        run=contents.hashes["attributes"],
        task="attributes",
        choices={"scale": config["scale"]["name"]},
        metrics=figures.metrics,
        protocol=figures.protocol,
        intervals=figures.intervals,
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
        batch_size=config["batch_size"],
        seconds=time.monotonic() - began,
        seed=config["seed"],
        command=command(),
    )
    show(record, Path(config["system"]["outputs"]))
    return [record]


def needed_attribute_network(config: dict[str, Any], contents: wire.Contents) -> Any:
    """The trained attribute network.

    Raises:
        ConfigError: There is none.
    """
    network = wire.attribute_network(config["attributes"], contents)
    if network is None:
        raise ConfigError("this task needs an attribute network: attributes=shipped.")
    return network


def _split(domain: Domain, name: str) -> Dataset:
    if name not in ("train", "val", "test"):
        raise ConfigError(f"split={name} is unknown; it takes train, val or test.")
    return getattr(domain, name)
