"""Task: how well the attribute network reads the images themselves."""

import time

import torch

from idinvert.errors import ConfigError
from idinvert.evaluation.chunk_store import Chunks, limit, spans, split_of
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.measures import measure_attributes, require_labels_read
from idinvert.evaluation.provenance import command, device_in_words, versions
from idinvert.results.record import Record


def read_labels(context: EvaluationContext) -> list[Record]:
    """Measure the attribute network on the images themselves, on the CPU; nothing is inverted.

    Raises:
        ConfigError: no attribute network, or labels that it does not read, or none at all.
        DataError: the split has fewer than n images.
    """
    network = context.needed_attributes
    domain = context.open_images()
    labels = [attribute.name for attribute in domain.attributes]
    try:
        require_labels_read(network, labels)
    except ConfigError as error:
        raise ConfigError(f"data={domain.name}: {error}.") from error
    images = split_of(domain, context.split)
    count = limit(images, context.n)
    chunks = Chunks(images, spans(count, size=context.batch_size))
    began, device = time.monotonic(), torch.device("cpu")
    batches = (chunks[index] for index in range(len(chunks)))
    measured = measure_attributes(
        ((batch["image"], batch["attributes"]) for batch in batches),
        network=network,
        labels=labels,
        device=device,
        seed=context.seed,
    )
    content = context.checkpoints["attributes"]
    record = Record(
        run=content,
        task="attributes",
        choices={"scale": context.config["scale"]["name"]},
        metrics=measured.metrics,
        protocol=measured.protocol,
        intervals=measured.intervals,
        n=count,
        nimg=0,
        data=context.replaced(domain=domain).data,
        checkpoints={"attributes": content},
        versions=versions(),
        device=device_in_words(device),
        batch_size=context.batch_size,
        seconds=time.monotonic() - began,
        seed=context.seed,
        command=command(),
    )
    return context.finish([record], context.outputs, pictures=False)
