"""Task: the images with the worst reconstructions of a method (Sec. A4, Fig. 18)."""

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from idinvert.annotations import Name, PositiveInt
from idinvert.errors import ConfigError
from idinvert.evaluation.chunk_store import Chunks
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.inversions import encoded, invert_images
from idinvert.evaluation.outputs import write_csv
from idinvert.evaluation.pictures import Sheet, write_sheet
from idinvert.inversion.encoder import EncoderInverter
from idinvert.metrics.protocol import MetricValues, protocol
from idinvert.results.record import Record

HIGHER_IS_BETTER = ("psnr", "ssim")


def show_failures(
    context: EvaluationContext, *, metric: Name = "mse", worst: PositiveInt = 8
) -> list[Record]:
    """Find the images with the worst reconstructions, and show them.

    Writes `failures.csv` (all images, the worst first), `labels_of_the_worst.csv` if the data has
    labels, `pictures.png` and `pictures.pdf` (as Fig. 18: inputs, reconstructions of the method's
    encoder if it has one, inversions). The record has the metric's mean, its mean over the worst
    (`<metric>_worst`) and its median (`<metric>_median`).

    Args:
        metric: the metric to sort by: mse, psnr, ssim or an lpips_<net> of metric.names.
        worst: how many images to show.

    Raises:
        ConfigError: the metric is not measured, or fewer than one image to show.
    """
    begin = time.monotonic()
    if metric not in context.paired_names:
        raise ConfigError(
            f"task.metric is {metric!r}: measured of each image are "
            f"{', '.join(context.paired_names)} (metric.names)"
        )
    if worst < 1:
        raise ConfigError(f"task.worst is {worst}: expected 1 or more")
    with context.task_folder("failures", metric=metric, worst=worst, n=context.count) as out:
        found = invert_images(context)
        if found is None:
            return []
        values, names = found.gather(f"value.{metric}").double(), found.names()
        order = torch.argsort(values, descending=metric not in HIGHER_IS_BETTER, stable=True)
        chosen = order[:worst]
        columns: dict[str, Sequence | Tensor] = {
            "index": order,
            "name": [names[i] for i in order.tolist()],
            metric: [f"{value:.6g}" for value in values[order].tolist()],
        }
        write_csv(out / "failures.csv", columns)
        items = [Chunks(context.dataset, [(i, i + 1)])[0] for i in chosen.tolist()]
        inputs, ids = (torch.cat([item[key] for item in items]) for key in ("image", "id"))
        if context.labels:
            labels = torch.cat([item["attributes"] for item in items])
            shown: dict[str, Sequence | Tensor] = {"index": chosen}
            for k, name in enumerate(context.labels):
                shown[name] = [f"{value:.4g}" for value in labels[:, k].tolist()]
            write_csv(out / "labels_of_the_worst.csv", shown)
        rows = {"Input": inputs, "Inv": found.images(chosen)}
        if not isinstance(context.inverter, EncoderInverter):
            first = encoded(context, inputs, ids=ids, device=found.device)
            if first is not None:
                rows = {"Input": inputs, "Enc": first, "Inv": rows["Inv"]}
        write_sheet(Sheet(rows=[list(row) for row in rows.values()], labels=list(rows)), out)
        measured, text = MetricValues(), protocol(metric)
        measured.add_mean(metric, values, seed=context.seed)
        worst_of = f"mean over the {len(chosen)} worst images: {text}"
        measured.add(f"{metric}_worst", values[chosen].mean().item(), worst_of)
        measured.add(f"{metric}_median", values.median().item(), f"median over images: {text}")
        options = {"metric": metric, "worst": worst}
        record = context.record("failures", measured, options=options, **found.work(begin))
        return context.finish([record], out)
