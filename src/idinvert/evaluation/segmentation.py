"""Task: how well the segmenter reads the masks of real images; the segmenter of other tasks."""

import difflib
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from idinvert.annotations import Count
from idinvert.data.convert import to_float
from idinvert.data.domain import Domain, prepare
from idinvert.errors import ConfigError
from idinvert.evaluation import networks as wire
from idinvert.evaluation.chunk_store import Chunks, spans, split_of
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.pictures import Sheet, write_sheet
from idinvert.evaluation.provenance import command, device_in_words, versions
from idinvert.evaluation.usual import count_of
from idinvert.metrics.bootstrap import RESAMPLES, WORDS, counts_of, interval, resampled
from idinvert.metrics.protocol import MetricValues
from idinvert.metrics.segmentation import confusion, iou
from idinvert.networks.segmenter import Segmenter
from idinvert.results.record import Record

IOU = "intersection over union of the pixels {what}, over all images together"
TURN = 0.61803398875  # of the colour circle, from one class to the next


def read_masks(context: EvaluationContext, *, shown: Count = 8) -> list[Record]:
    """Measure the segmenter on images with exact masks, on the CPU; nothing is inverted.

    Writes `pictures.png` and `.pdf`: images, exact masks, read masks.

    Args:
        context: its images must have masks.
        shown: images in the picture.

    Raises:
        ConfigError: no segmenter, images without masks, or masks of other classes.
    """
    if not context.first_process:
        return []
    began, device = time.monotonic(), torch.device("cpu")
    network, domain = segmenter_of(context), masked_images(context)
    wire.require_reads(network, domain.resolution, key="segmenter.path")
    require_classes(network, domain)
    images = split_of(domain, context.split)
    count = count_of(images, context)
    prepare(images, range(count))
    chunks = Chunks(images, spans(count, size=64))
    tables, rows = list[Tensor](), list[list[Tensor]]()
    for index in range(len(chunks)):
        batch = chunks[index]
        read = network.segment(to_float(batch["image"]))
        pairs = list(zip(batch["mask"], read, strict=True))
        classes = len(network.classes)
        tables += [confusion(a[None], b[None], classes=classes) for a, b in pairs]
        for image, (exact, ours) in zip(batch["image"], pairs, strict=True):
            if len(rows) < shown:
                rows.append([image, *(in_colours(mask, classes) for mask in (exact, ours))])
    content = context.checkpoints["segmenter"]
    out = context.outputs / "evaluations" / content / f"segmentation-{domain.name}-{context.split}"
    if rows:
        headers = [("Image", 1), ("Exact mask", 1), ("Read mask", 1)]
        write_sheet(Sheet(rows=rows, headers=headers), out)
    measured = agreement(torch.stack(tables), network.classes, seed=context.seed)
    record = Record(
        run=content,
        task="segmentation",
        choices={"scale": context.config["scale"]["name"]},
        metrics=measured.metrics,
        protocol=measured.protocol,
        intervals=measured.intervals,
        n=count,
        nimg=0,
        data=context.replaced(domain=domain).data,
        checkpoints={"segmenter": content},
        versions=versions(),
        device=device_in_words(device),
        batch_size=context.batch_size,
        seconds=time.monotonic() - began,
        seed=context.seed,
        command=command(),
    )
    return context.finish([record], out)


def agreement(tables: Tensor, classes: Sequence[str], *, seed: int) -> MetricValues:
    """IoU of each class that occurs, their mean, and the share of pixels read right.

    Args:
        tables: confusions of the images, float64 [N, C, C], exact by read class.
        classes: names of the C classes.
        seed: of the resamples of intervals.
    """
    counts = counts_of(resampled(len(tables), seed=seed, name="images"))  # [B, N]
    again = (counts @ tables.flatten(1)).view(-1, *tables.shape[1:])  # [B, C, C]
    total = tables.sum(0)
    values, replicates = iou(total), iou(again)
    found, words = MetricValues(), WORDS.format(resamples=RESAMPLES)

    def add(name: str, value: float, spread: Tensor, text: str) -> None:
        pair = interval(value, spread)
        found.add(name, value, f"{text}; {words}" if pair else text, pair)

    add("iou", values.nanmean().item(), replicates.nanmean(1), "mean of iou_* over the classes")
    right = total.trace() / total.sum()
    share = again.diagonal(dim1=1, dim2=2).sum(1) / again.sum((1, 2))
    add("pixel_accuracy", right.item(), share, "share of pixels whose class is read right")
    for k, name in enumerate(classes):
        if values[k].isfinite():
            text = IOU.format(what=f"of {name} that are exact and that are read")
            add(f"iou_{name}", values[k].item(), replicates[:, k], text)
    return found


def segmenter_of(context: EvaluationContext) -> Segmenter:
    """The segmenter of the configuration; adds its hash.

    Raises:
        ConfigError: there is none.
    """
    node = context.config.get("segmenter")
    if not node or node.get("path") == "":
        name = wire.open_data(context.config["data"]).name
        raise ConfigError(
            f"this task needs a segmenter, and none is given for data={name}: "
            "segmenter=checkpoint segmenter.path=FILE, or segmenter=shipped with a miniature "
            "domain, such as data=faces_mini."
        )
    if "path" not in node:
        raise ConfigError(
            "this task needs a trained segmenter, and segmenter=fresh is for experiment="
            "segmenter: segmenter=shipped, or segmenter=checkpoint segmenter.path=FILE."
        )
    return wire.reader(node, context.checkpoints, key="segmenter")


def masked_images(context: EvaluationContext) -> Domain:
    """The images of ``data`` with their exact masks.

    Raises:
        ConfigError: they have none.
    """
    domain = wire.open_data(context.config["data"], masks=True)
    if not domain.mask_classes:
        raise ConfigError(
            f"data={domain.name} has no masks: this needs a miniature domain, such as "
            "data=faces_mini."
        )
    return domain


def require_classes(network: Segmenter, domain: Domain) -> None:
    """The classes of the segmenter must be those of the masks.

    Raises:
        ConfigError: they are not; names both.
    """
    if network.classes != domain.mask_classes:
        raise ConfigError(
            f"the segmenter reads {', '.join(network.classes)}, and the masks of "
            f"data={domain.name} hold {', '.join(domain.mask_classes)}: give a segmenter of this "
            "domain (segmenter.path)"
        )


def in_colours(mask: Tensor, classes: int) -> Tensor:
    """A mask [R, R] as a picture, a colour a class: uint8 [3, R, R]."""
    return palette(classes)[mask.long()].permute(2, 0, 1)


def palette(classes: int) -> Tensor:
    """As different a colour as possible for each class: uint8 [C, 3]."""
    k = torch.arange(classes, dtype=torch.float64)
    hue, value = k * TURN % 1.0, 0.95 - 0.25 * (k % 3)
    phases = (hue[:, None] + torch.tensor([0.0, 1 / 3, 2 / 3])) % 1.0
    ramp = ((phases * 6 - 3).abs() - 1).clamp(0, 1)
    return (255 * value[:, None] * (0.25 + 0.75 * ramp)).round().to(torch.uint8)


def named(options: Sequence[str], name: Any, *, key: str, what: str) -> int:
    """The place of a name in a list.

    Raises:
        ConfigError: it is not there; the nearest and the whole list are named.
    """
    if name in options:
        return list(options).index(name)
    close = difflib.get_close_matches(str(name), options, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    if name is None:
        raise ConfigError(f"this task needs {key}=NAME, a {what}: one of {', '.join(options)}.")
    raise ConfigError(f"{key}={name}: no such {what}.{hint} There are: {', '.join(options)}.")
