"""Task: the accuracy of the attribute network on real images; also the metric `attributes`."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from idinvert.data.convert import to_float
from idinvert.data.domain import prepare
from idinvert.errors import ConfigError
from idinvert.evaluation import networks as wire
from idinvert.evaluation.chunk_store import Chunks, spans, split_of
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.default_metrics import count_of
from idinvert.evaluation.provenance import command, device_in_words, versions
from idinvert.metrics.attributes import attribute_agreement, attribute_replicates
from idinvert.metrics.protocol import RESAMPLES, WORDS, MetricValues, interval, protocol
from idinvert.networks.attributes import AttributeNetwork
from idinvert.results.record import Record


def read_labels(context: EvaluationContext) -> list[Record]:
    """Measure the attribute network on the real images, on the CPU; nothing is inverted.

    Raises:
        ConfigError: no attribute network, no labels, or labels that it does not read.
    """
    network = context.needed_attributes
    domain = context.open_images()
    labels = [attribute.name for attribute in domain.attributes]
    try:
        wire.require_labels_read(network, labels)
        wire.require_reads(network, domain.resolution, key="attributes.path")
    except ConfigError as error:
        raise ConfigError(f"data={domain.name}: {error}.") from error
    images = split_of(domain, context.split)
    count = count_of(images, context)
    prepare(images, range(count))
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
    here = context.replaced(domain=domain)
    record = record_of_network(here, "attributes", "attributes", measured, n=count, began=began)
    return context.finish([record], context.outputs, pictures=False)


def record_of_network(
    context: EvaluationContext,
    task: str,
    role: str,
    measured: MetricValues,
    *,
    n: int,
    began: float,
) -> Record:
    """Return the record of a single network that was measured on the CPU.

    Args:
        context: The images it was measured on.
        task: The task's name.
        role: The network's key in `context.checkpoints`.
        measured: Metrics, protocols, intervals.
        n: Number of images.
        began: When the work began, by `time.monotonic`.
    """
    content = context.checkpoints[role]
    return Record(
        run=content,
        task=task,
        choices={"scale": context.config["scale"]["name"]},
        metrics=measured.metrics,
        protocol=measured.protocol,
        intervals=measured.intervals,
        n=n,
        nimg=0,
        data=context.data,
        checkpoints={role: content},
        versions=versions(),
        device=device_in_words(torch.device("cpu")),
        batch_size=context.batch_size,
        seconds=time.monotonic() - began,
        seed=context.seed,
        command=command(),
    )


@torch.no_grad()
def measure_attributes(
    pairs: Iterable[tuple[Tensor, Tensor]],
    *,
    network: AttributeNetwork,
    labels: Sequence[str],
    device: torch.device,
    seed: int = 0,
) -> MetricValues:
    """Read the attributes of images and compare them with the labels of their inputs.

    Args:
        pairs: batches of outputs uint8 [n, 3, R, R] and labels float [n, A].
        network: the attribute network.
        labels: names of the A labels, all of which the network reads.
        device: where to compute.
        seed: seed of the resampling for intervals.

    Raises:
        ConfigError: the network does not read a label.
    """
    wire.require_labels_read(network, labels)
    network.to(device).eval()
    ours = [list(network.names).index(name) for name in labels]
    read: list[Tensor] = []
    true: list[Tensor] = []
    for images, truth in pairs:
        read.append(network.predict(to_float(images.to(device))).cpu()[:, ours])
        true.append(truth)
    kinds = [network.kinds[k] for k in ours]
    sets = torch.cat(read), torch.cat(true)
    options: dict[str, Any] = {"kinds": kinds, "names": labels}
    spreads = attribute_replicates(*sets, **options, seed=seed)
    found, words = MetricValues(), WORDS.format(resamples=RESAMPLES)
    for name, value in attribute_agreement(*sets, **options).items():
        pair = interval(value, spreads[name])
        found.add(name, value, protocol(name, detail=words if pair else ""), pair)
    return found
