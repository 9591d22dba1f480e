"""Task: the images that a method inverts worst (Sec. A4, Fig. 18)."""

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from idinvert.data.convert import to_float
from idinvert.errors import ConfigError
from idinvert.evaluation.chunk_store import Chunks
from idinvert.evaluation.inverted import invert_subject
from idinvert.evaluation.pairs import write_pairs
from idinvert.evaluation.sheet import Sheet, write_sheet
from idinvert.evaluation.subject import Subject
from idinvert.inversion.encoder import EncoderInverter
from idinvert.metrics.figures import Figures
from idinvert.metrics.protocol import protocol
from idinvert.results.record import Record

HIGHER_IS_BETTER = ("psnr", "ssim")


def failures(subject: Subject, *, out: Path, metric: str = "mse", worst: int = 8) -> Record | None:
    """Find the images with the worst reconstructions, and show them.

    Writes `failures.csv` (all images, the worst first, with their labels where the data has any),
    `pictures.png` and `pictures.pdf` (as Fig. 18: inputs, encoder, inversion).

    Args:
        subject: the method and its images.
        out: folder of this task.
        metric: by which to judge: mse, psnr, ssim or an lpips_<net> of metric.names.
        worst: how many to show.

    Returns:
        On the first rank the record, None on the others: the metric's mean, its mean over the worst
        (`<metric>_worst`) and its median (`<metric>_median`).

    Raises:
        ConfigError: the metric is not measured, or fewer than one image to show.
        DataError: fewer than n images.
    """
    begin = time.monotonic()
    if metric not in subject.measures.paired_names:
        raise ConfigError(
            f"task.metric is {metric!r}: measured of each image are "
            f"{', '.join(subject.measures.paired_names)} (metric.names)"
        )
    if worst < 1:
        raise ConfigError(f"task.worst is {worst}: expected 1 or more")
    inverted = invert_subject(subject)
    if inverted is None:
        return None
    values = inverted.found.gather(f"value.{metric}").double()
    order = torch.argsort(values, descending=metric not in HIGHER_IS_BETTER, stable=True)
    chosen = order[:worst]
    names = inverted.found.names()
    items = [Chunks(subject.dataset, [(i, i + 1)])[0] for i in chosen.tolist()]
    inputs = torch.cat([item["image"] for item in items])
    columns: dict[str, Sequence | Tensor] = {
        "index": order,
        "name": [names[i] for i in order.tolist()],
        metric: [f"{value:.6g}" for value in values[order].tolist()],
    }
    write_pairs(out / "failures.csv", columns)
    if subject.labels:
        labels = torch.cat([item["attributes"] for item in items])
        shown: dict[str, Sequence | Tensor] = {"index": chosen}
        for k, name in enumerate(subject.labels):
            shown[name] = [f"{value:.4g}" for value in labels[:, k].tolist()]
        write_pairs(out / "labels_of_the_worst.csv", shown)
    rows, words = [list(inputs)], ["Input"]
    if (first := _encoded(subject, inputs, inverted.found.device)) is not None:
        rows.append(list(first))
        words.append("Enc")
    rows.append(list(inverted.images(chosen)))
    words.append("Inv")
    write_sheet(Sheet(rows=rows, labels=words), out)
    figures, text = Figures(), protocol(metric)
    figures.add_mean(metric, values, seed=subject.measures.seed)
    worst_of = f"mean over the {len(chosen)} worst images: {text}"
    figures.add(f"{metric}_worst", values[chosen].mean().item(), worst_of)
    figures.add(f"{metric}_median", values.median().item(), f"median over images: {text}")
    return subject.record(
        "failures",
        n=len(inverted),
        device=inverted.found.made_on,
        options={"metric": metric, "worst": worst},
        figures=figures,
        seconds=inverted.found.seconds() + time.monotonic() - begin,
    )


def _encoded(subject: Subject, inputs: Tensor, device: torch.device) -> Tensor | None:
    """What E alone makes of the images, where the method has an E and goes beyond it."""
    encoder = getattr(subject.inverter, "encoder", None)
    if encoder is None or isinstance(subject.inverter, EncoderInverter):
        return None
    alone = EncoderInverter(encoder=encoder.to(device))
    generator = subject.generator.to(device)
    dtype = next(generator.parameters()).dtype
    return alone.invert(to_float(inputs).to(device, dtype), generator=generator).images.cpu()
