"""Task: what an untrained encoder makes of images, with and without w̄ (App. A2, Fig. 17)."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from idinvert.data.convert import to_float, to_uint8
from idinvert.evaluation.chunk_store import Chunks, spans
from idinvert.evaluation.predict import one_device
from idinvert.evaluation.provenance import device_in_words
from idinvert.evaluation.reference import measure_sets
from idinvert.evaluation.sheet import Sheet, write_sheet
from idinvert.evaluation.subject import Subject
from idinvert.inversion.initialization import mapped
from idinvert.networks.batch_norm import set_statistics, sum_of_statistics
from idinvert.results.record import Record

SAMPLES = 1000
STATISTICS = 64
"""Images that BatchNorm's first statistics are of."""
WORDS = {"none": "Without w̄", "w_avg": "With w̄"}
DISTANCE = (
    "ours: mean distance of E's codes from w̄ over that of the mapping's samples from w̄, layer by "
    "layer: about 1 or less near the native codes"
)


@dataclass(frozen=True)
class Untrained:
    """A generator with fresh encoders.

    Attributes:
        label: in the picture.
        subjects: the images under an `EncoderInverter` with a fresh E, by E's offset: "none" or
            "w_avg".
    """

    label: str
    subjects: Mapping[str, Subject]


def initial(entries: Sequence[Untrained], *, out: Path, shown: int = 4) -> list[Record]:
    """Show and measure where training starts, for each generator with and without w̄ (Eq. 6).

    Writes `pictures.png` and `pictures.pdf` (as Fig. 17; the first column is G(w̄)).

    Args:
        entries: generators with fresh encoders.
        out: folder of this task.
        shown: images in the picture.

    Returns:
        A record for each generator and offset: the metrics of the initial reconstructions, and
        `distance_to_w_avg`.

    Raises:
        ConfigError: fewer than two images, where the encoder has BatchNorm.
        DataError: fewer than n images.
    """
    records: list[Record] = []
    rows: list[list[Tensor | None]] = []
    labels: list[str] = []
    for entry in entries:
        for offset, subject in entry.subjects.items():
            device = one_device(subject.trainer, out=out)
            for network in (subject.generator, *subject.inverter.networks):
                network.to(device).eval()
            for encoder in subject.inverter.networks:
                first_statistics(encoder, _first_batch(subject).to(device))
            if offset == next(iter(entry.subjects)):
                count = min(shown, subject.count)
                rows.append([None, *(subject.dataset[i]["image"] for i in range(count))])
                labels.append("Input")
            record, images = _measure(subject, offset=offset, device=device, shown=count)
            records.append(record)
            rows.append([_mean_image(subject) if offset == "w_avg" else None, *images])
            labels.append(WORDS[offset])
    if rows and shown:
        groups = [(entry.label, 1 + len(entry.subjects)) for entry in entries]
        columns = len(rows[0]) - 1
        headers = [("G(w̄)", 1), ("Images", columns)]
        write_sheet(Sheet(rows=rows, labels=labels, headers=headers, groups=groups), out)
    return records


@torch.no_grad()
def first_statistics(encoder: nn.Module, images: Tensor) -> None:
    """Give an untrained encoder's BatchNorms the statistics that a first training step would see.

    In evaluation mode a fresh BatchNorm does nothing, while the first step of training already
    brings E's output to zero mean and unit variance.

    Args:
        encoder: E, left in eval mode.
        images: float [N, 3, R, R] in [-1, 1], two or more.
    """
    encoder.eval()
    set_statistics(encoder, sum_of_statistics(encoder, encoder, [images]))


def _first_batch(subject: Subject) -> Tensor:
    span = (0, min(STATISTICS, subject.count))
    return to_float(Chunks(subject.dataset, [span])[0]["image"])


def _measure(
    subject: Subject, *, offset: str, device: torch.device, shown: int
) -> tuple[Record, list[Tensor]]:
    """The record of one encoder, and its first reconstructions."""
    begin = time.monotonic()
    generator = subject.generator
    chunks = Chunks(subject.dataset, spans(subject.count, size=subject.batch_size))
    paired = subject.measures.paired_suite(device)
    codes: list[Tensor] = []
    images: list[Tensor] = []
    outputs: list[Tensor] = []
    for k in range(len(chunks)):
        x = to_float(chunks[k]["image"]).to(device)
        found = subject.inverter.invert(x, generator=generator)
        codes.append(found.codes.cpu())
        images += list(found.images.cpu()[: max(0, shown - len(images))])
        outputs.append(to_uint8(found.images).cpu())
        paired.update(found.images, x)
    figures = paired.figures()
    if subject.count > 1 and subject.measures.set_names:
        figures = figures | measure_sets(
            outputs, chunks=chunks.chunks, device=device, **subject.reals
        )
    figures.add("distance_to_w_avg", _distance(torch.cat(codes), generator), DISTANCE)
    record = subject.record(
        "initial",
        n=subject.count,
        device=device_in_words(device),
        options={"offset": offset},
        figures=figures,
        seconds=time.monotonic() - begin,
    )
    return record, images


@torch.no_grad()
def _mean_image(subject: Subject) -> Tensor:
    """G(w̄), float [3, R, R]."""
    generator: Any = subject.generator
    return generator.synthesis(generator.w_avg[None], noise="const")[0].cpu()


@torch.no_grad()
def _distance(codes: Tensor, generator: Any) -> float:
    """How far codes [n, L, w_dim] are from w̄, in units of the native codes' distance."""
    rng = torch.Generator().manual_seed(0)
    mean = generator.w_avg.cpu()
    z = torch.randn(SAMPLES, generator.z_dim, generator=rng).to(generator.w_avg)
    native = (mapped(generator, z).cpu() - mean).norm(dim=2).mean(0)  # [L]
    return float(((codes - mean).norm(dim=2).mean(0) / native.clamp_min(1e-12)).mean())
