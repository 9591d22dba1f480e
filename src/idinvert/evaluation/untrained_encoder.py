"""Task: reconstructions of an untrained encoder, with and without w̄ (App. A2, Fig. 17)."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from idinvert.annotations import Count
from idinvert.data.convert import to_float, to_uint8
from idinvert.data.domain import Domain
from idinvert.evaluation import networks as wire
from idinvert.evaluation.chunk_store import Chunks, spans
from idinvert.evaluation.context import WITHOUT_ENCODER, EvaluationContext
from idinvert.evaluation.inversions import make_trainer
from idinvert.evaluation.outputs import measure_sets
from idinvert.evaluation.pictures import Sheet, write_sheet
from idinvert.evaluation.provenance import device_in_words
from idinvert.inversion.encoder import EncoderInverter
from idinvert.inversion.initialization import mapped
from idinvert.networks.batch_norm import set_statistics, sum_of_statistics
from idinvert.results.record import Record

OFFSETS = ("none", "w_avg")
SAMPLES = 1000
STATISTICS = 64
"""Number of images for the initial statistics of BatchNorm."""
OFFSET_LABELS = {"none": "Without w̄", "w_avg": "With w̄"}
DISTANCE = (
    "ours: mean distance of E's codes from w̄ over that of the mapping's samples from w̄, layer by "
    "layer: about 1 or less near the native codes"
)


def show_initial(
    context: EvaluationContext,
    *,
    generators: list[dict[str, Any]],
    encoder: str,
    shown: Count = 4,
) -> list[Record]:
    """Show and measure the start of training, for each generator with and without w̄ (Eq. 6).

    Writes `pictures.png` and `pictures.pdf` (as Fig. 17; the first column is G(w̄)).

    Args:
        context: images and metrics; its seed determines the initial weights.
        generators: entries whose overrides choose a generator.
        encoder: overrides of ``train.py`` that choose the encoder.
        shown: images in the picture.

    Returns:
        A record for each generator and offset: the metrics of the initial reconstructions, and
        `distance_to_w_avg`.

    Raises:
        ConfigError: fewer than two images, if the encoder has BatchNorm.
    """
    if not context.first_process:
        return []
    context.entries.check_methods(generators, key="task.generators")
    opened = [context.variant(entry, WITHOUT_ENCODER) for entry in generators]
    domain = context.open_images()
    started = [
        {offset: with_untrained(one, domain, encoder, offset) for offset in OFFSETS}
        for one in opened
    ]
    options = {
        "generators": [one.provenance and one.checkpoints for one in opened],  # all are open
        "encoder": encoder,
        "seed": context.seed,
        "n": context.n,
    }
    labels = [entry["label"] for entry in generators]
    with started[0]["none"].task_folder("initial", **options) as out:
        return context.finish(measure_untrained(labels, started, out=out, shown=shown), out)


def with_untrained(
    context: EvaluationContext, domain: Domain, overrides: str, offset: str
) -> EvaluationContext:
    """Return the context on images, with an untrained encoder whose weights the seed determines."""
    generator, made = context.generator, context.provenance
    wire.require_resolution(data=domain.resolution, generator=generator.resolution)
    encoder, choices = wire.untrained_encoder(
        overrides, generator=generator, offset=offset, seed=context.seed
    )
    return context.replaced(
        domain=domain,
        inverter=EncoderInverter(encoder=encoder),
        method="encoder",
        provenance={**made, "choices": {**made["choices"], **choices}, "nimg": 0},
    )


def measure_untrained(
    labels: Sequence[str],
    started: Sequence[Mapping[str, EvaluationContext]],
    *,
    out: Path,
    shown: Count,
) -> list[Record]:
    """Return the records, and write the picture.

    Args:
        labels: labels of the generators in the picture.
        started: for each generator, E's offset to a context with an untrained E.
        out: folder of this task.
        shown: images in the picture.
    """
    records: list[Record] = []
    rows: list[list[Tensor | None]] = []
    for contexts in started:
        for offset, context in contexts.items():
            device = make_trainer(context.trainer, out=out, alone=True).strategy.root_device
            for network in (context.generator, *context.inverter.networks):
                network.to(device).eval()
            if offset == next(iter(contexts)):
                count = min(shown, context.count)
                rows.append([None, *(context.dataset[i]["image"] for i in range(count))])
            record, images = _measure(context, offset=offset, device=device, shown=count)
            records.append(record)
            rows.append([_mean_image(context) if offset == "w_avg" else None, *images])
    if rows and shown:
        groups = [(label, 1 + len(one)) for label, one in zip(labels, started, strict=True)]
        names = [name for one in started for name in ("Input", *(OFFSET_LABELS[k] for k in one))]
        headers = [("G(w̄)", 1), ("Images", len(rows[0]) - 1)]
        write_sheet(Sheet(rows=rows, labels=names, headers=headers, groups=groups), out)
    return records


@torch.no_grad()
def first_statistics(encoder: nn.Module, images: Tensor) -> None:
    """Set an untrained encoder's BatchNorm statistics to those of a first training step.

    In evaluation mode a new BatchNorm is the identity, while the first step of training already
    normalises E's output to zero mean and unit variance.

    Args:
        encoder: E, left in eval mode.
        images: float [N, 3, R, R] in [-1, 1], two or more.
    """
    encoder.eval()
    set_statistics(encoder, sum_of_statistics(encoder, encoder, [images]))


def _measure(
    context: EvaluationContext, *, offset: str, device: torch.device, shown: int
) -> tuple[Record, list[Tensor]]:
    """Return the record of one encoder, and its first reconstructions."""
    begin, n, generator = time.monotonic(), context.count, context.generator
    first = Chunks(context.dataset, [(0, min(STATISTICS, n))])[0]["image"]
    for encoder in context.inverter.networks:
        first_statistics(encoder, to_float(first.to(device)))
    chunks = Chunks(context.dataset, spans(n, size=context.batch_size))
    paired = context.suite(context.paired_names, device)
    codes, images, outputs = list[Tensor](), list[Tensor](), list[Tensor]()
    for k in range(len(chunks)):
        x = to_float(chunks[k]["image"].to(device))
        found = context.inverter.invert(x, generator=generator)
        codes.append(found.codes.cpu())
        images += list(found.images.cpu()[: max(0, shown - len(images))])
        outputs.append(to_uint8(found.images).cpu())
        paired.update(found.images, x)
    measured = paired.values()
    if n > 1 and context.set_names:
        measured = measured | measure_sets(outputs, context, chunks=chunks.chunks, device=device)
    measured.add("distance_to_w_avg", _distance(torch.cat(codes), generator), DISTANCE)
    record = context.record(
        "initial",
        measured,
        n=n,
        device=device_in_words(device),
        options={"offset": offset},
        seconds=time.monotonic() - begin,
    )
    return record, images


@torch.no_grad()
def _mean_image(context: EvaluationContext) -> Tensor:
    """Return G(w̄), float [3, R, R]."""
    generator: Any = context.generator
    return generator.synthesis(generator.w_avg[None], noise="const")[0].cpu()


@torch.no_grad()
def _distance(codes: Tensor, generator: Any) -> float:
    """Return the distance of codes [n, L, w_dim] from w̄, relative to that of native codes."""
    rng = torch.Generator().manual_seed(0)
    mean = generator.w_avg.cpu()
    z = torch.randn(SAMPLES, generator.z_dim, generator=rng).to(generator.w_avg)
    native = (mapped(generator, z).cpu() - mean).norm(dim=2).mean(0)  # [L]
    return float(((codes - mean).norm(dim=2).mean(0) / native.clamp_min(1e-12)).mean())
