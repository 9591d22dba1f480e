"""Tasks: accuracy of the segmenter; classes that a set of images omits (Bau et al. 2019)."""

import difflib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from idinvert.annotations import Count, PathString
from idinvert.data.convert import to_float
from idinvert.data.domain import Domain, prepare
from idinvert.data.folder import read_images
from idinvert.data.progress import Progress
from idinvert.errors import ConfigError, DataError
from idinvert.evaluation import networks as wire
from idinvert.evaluation.attributes import record_of_network
from idinvert.evaluation.chunk_store import Chunks, spans, split_of
from idinvert.evaluation.context import WITHOUT_ENCODER, EvaluationContext
from idinvert.evaluation.default_metrics import count_of
from idinvert.evaluation.inversions import invert_images
from idinvert.evaluation.outputs import write_csv
from idinvert.evaluation.pictures import Sheet, write_sheet
from idinvert.evaluation.provenance import device_in_words
from idinvert.evaluation.samples import sampled
from idinvert.metrics.protocol import RESAMPLES, WORDS, MetricValues, counts_of, interval, resampled
from idinvert.metrics.segmentation import class_areas, confusion, iou, segmentation_distance
from idinvert.networks.segmenter import Segmenter
from idinvert.results.record import Record

IOU = "intersection over union of the pixels {what}, over all images together"
GALLERY = 8
"""Images per row of the picture."""
TURN = 0.61803398875  # step between the hues of successive classes


def read_masks(context: EvaluationContext, *, shown: Count = 8) -> list[Record]:
    """Measure the segmenter on images with exact masks, on the CPU; nothing is inverted.

    Writes `pictures.png` and `.pdf`: images, exact masks, predicted masks.

    Args:
        context: its images must have masks.
        shown: images in the picture.

    Raises:
        ConfigError: no segmenter, images without masks, or masks of other classes.
    """
    if not context.first_process:
        return []
    began = time.monotonic()
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
    here = context.replaced(domain=domain)
    record = record_of_network(here, "segmentation", "segmenter", measured, n=count, began=began)
    return context.finish([record], out)


def agreement(tables: Tensor, classes: Sequence[str], *, seed: int) -> MetricValues:
    """Return the IoU of each class that occurs, their mean, and the pixel accuracy.

    Args:
        tables: confusion matrices of the images, float64 [N, C, C], exact by predicted class.
        classes: names of the C classes.
        seed: seed of the resampling for intervals.
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


def find_omissions(
    context: EvaluationContext,
    *,
    source: Literal["samples", "inverted"] = "samples",
    other_path: PathString | None = None,
    shown: Count = 3,
) -> list[Record]:
    """Compare the area of each class in real images and in other images.

    Both sets are segmented. Beside the Fréchet segmentation distance, it measures that between
    exact and predicted masks of the same real images (its floor, if the data has masks) and that
    of other real images. Writes `omissions.csv` (classes sorted by relative area, the most omitted
    first) and `pictures.png` and `.pdf`: for the most omitted classes, the real images with the
    largest area of them and, for inversions, their reconstructions.

    Args:
        context: its first n images are the real ones.
        source: samples of G, or inverted real images.
        other_path: a folder of images to use instead.
        shown: classes in the picture.

    Raises:
        ConfigError: no segmenter.
        DataError: fewer than two images in a set.
    """
    found = None
    if other_path is None and source == "inverted":
        found = invert_images(context)
    else:
        context = context.variant(WITHOUT_ENCODER).replaced(method="prior")
    if not context.first_process or (source == "inverted" and other_path is None and found is None):
        return []
    begin, network = time.monotonic(), segmenter_of(context)
    classes = len(network.classes)
    domain = wire.open_data(context.config["data"], masks=True)
    wire.require_reads(network, domain.resolution, key="segmenter.path")
    held = split_of(domain, context.split)
    count = count_of(held, context)
    there = min(2 * count, len(held))  # type: ignore[arg-type]
    prepare(held, range(there))
    reals = _Set(network, lambda i: torch.stack([held[int(k)]["image"] for k in i]), there)
    if other_path is not None:
        files = read_images(other_path, resolution=domain.resolution, key="task.other_path")
        made = _Set(network, lambda i: torch.stack([files[int(k)]["image"] for k in i]), len(files))
    elif found is not None:
        made = _Set(network, found.images, count)
    else:
        generator = context.generator.cpu().eval()
        made = _Set(network, lambda i: sampled(generator, i, seed=context.seed), count)
    if min(count, len(made.areas)) < 2:
        raise DataError("task=omissions compares sets of images: give n=2 or more")
    real, rest, seed = reals.areas[:count], reals.areas[count:], context.seed
    measured = _omissions(real, made.areas, network.classes, seed=seed)
    if len(rest) > 1:
        text = "the same of other real images against the first ones"
        measured.add("fsd_real", sum(segmentation_distance(rest, real)), text)
    if domain.mask_classes == network.classes:
        exact = torch.stack([held[k]["mask"] for k in range(count)])
        floor = segmentation_distance(class_areas(exact, classes=classes), real)
        text = "the same of the first real images, exact masks against read ones"
        measured.add("fsd_floor", sum(floor), text)
    options = {"source": source if other_path is None else "folder", "seed": seed, "n": count}
    marks = {"segmenter": context.checkpoints["segmenter"], "other": made.mark}
    with context.task_folder("omissions", **options, **marks) as out:
        relative = torch.tensor([measured.metrics[f"relative_{c}"] for c in network.classes])
        order = relative.nan_to_num(nan=9e9).argsort(stable=True)
        names = [network.classes[k] for k in order]
        columns: dict[str, Any] = {
            "class": names,
            "relative": relative[order],
            "real": real.mean(0)[order],
        }
        write_csv(out / "omissions.csv", {**columns, "other": made.areas.mean(0)[order]})
        if shown:
            rows, groups = list[list[Tensor]](), list[tuple[str, int]]()
            for k in order[:shown].tolist():
                top = real[:, k].topk(min(GALLERY, count)).indices
                rows.append(list(reals.images(top)))
                rows += [list(made.images(top))] if found is not None else []
                groups.append((network.classes[k], 1 + (found is not None)))
            write_sheet(Sheet(rows=rows, groups=groups), out)
        device, seconds = device_in_words(torch.device("cpu")), time.monotonic() - begin
        work = {"device": device, "seconds": seconds} if found is None else found.work(begin)
        record = context.record("omissions", measured, options=options, **{**work, "n": count})
        if found is None:
            choices = {key: value for key, value in record.choices.items() if key != "inversion"}
            record = replace(record, choices=choices)
        return context.finish([record], out)


class _Set:
    """Images by index, and the area of each class in each image.

    Args:
        network: the segmenter.
        images: indices int64 [m] to uint8 [m, 3, R, R].
        count: number of images.

    Attributes:
        areas: per cent, float64 [count, C].
        mark: identifies the predicted areas.
    """

    def __init__(self, network: Segmenter, images: Callable[[Tensor], Tensor], count: int) -> None:
        self.images, found = images, list[Tensor]()
        with Progress("segmenting", count) as line:
            for first, last in spans(count, size=64):
                pixels = to_float(images(torch.arange(first, last)))
                found.append(class_areas(network.segment(pixels), classes=len(network.classes)))
                line.update(last)
        self.areas = torch.cat(found) if found else torch.zeros(0, len(network.classes))
        self.mark = [round(value, 6) for value in self.areas.mean(0).tolist()]


def _omissions(real: Tensor, made: Tensor, classes: Sequence[str], *, seed: int) -> MetricValues:
    """Return FSD with its parts, and each class's area relative to the real one, minus 1."""
    found, words = MetricValues(), WORDS.format(resamples=RESAMPLES)
    draws = [
        counts_of(resampled(len(x), seed=seed, name=name)) / len(x)
        for name, x in (("reals", real), ("outputs", made))
    ]
    means, covariances = segmentation_distance(made, real)
    text = "Frechet distance of the classes' areas, per cent of the image, segmented"
    found.add("fsd", means + covariances, f"{text}; both sets read by the segmenter")
    found.add("fsd_mean", means, f"the part of fsd of the means; {text}")
    found.add("fsd_covariance", covariances, f"the part of fsd of the covariances; {text}")
    of_real, of_made = draws[0] @ real, draws[1] @ made  # [B, C]
    for k, name in enumerate(classes):
        value = (made[:, k].mean() / real[:, k].mean() - 1).item() if real[:, k].any() else math.nan
        pair = interval(value, of_made[:, k] / of_real[:, k] - 1)
        text = f"mean area of {name} over that in real images, less 1; -1: it is never there"
        found.add(f"relative_{name}", value, f"{text}; {words}" if pair else text, pair)
    missing = [
        name for name in classes if found.intervals.get(f"relative_{name}", (0.0, 0.0))[1] < 0
    ]
    found.add("omitted", float(len(missing)), "classes whose relative_* is below 0, interval too")
    return found


def segmenter_of(context: EvaluationContext) -> Segmenter:
    """Return the segmenter of the configuration; adds its hash to `checkpoints`.

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
    """Return the images of ``data`` with their exact masks.

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
    """Require the segmenter to have the classes of the masks.

    Raises:
        ConfigError: they differ; names both.
    """
    if network.classes != domain.mask_classes:
        raise ConfigError(
            f"the segmenter reads {', '.join(network.classes)}, and the masks of "
            f"data={domain.name} hold {', '.join(domain.mask_classes)}: give a segmenter of this "
            "domain (segmenter.path)"
        )


def in_colours(mask: Tensor, classes: int) -> Tensor:
    """Return a mask [R, R] as a picture with one colour per class: uint8 [3, R, R]."""
    return palette(classes)[mask.long()].permute(2, 0, 1)


def palette(classes: int) -> Tensor:
    """Return a distinct colour for each class: uint8 [C, 3]."""
    k = torch.arange(classes, dtype=torch.float64)
    hue, value = k * TURN % 1.0, 0.95 - 0.25 * (k % 3)
    phases = (hue[:, None] + torch.tensor([0.0, 1 / 3, 2 / 3])) % 1.0
    ramp = ((phases * 6 - 3).abs() - 1).clamp(0, 1)
    return (255 * value[:, None] * (0.25 + 0.75 * ramp)).round().to(torch.uint8)


def named(options: Sequence[str], name: Any, *, key: str, what: str) -> int:
    """Return the index of a name in a list.

    Raises:
        ConfigError: there is no such name; the error names the nearest and the whole list.
    """
    if name in options:
        return list(options).index(name)
    close = difflib.get_close_matches(str(name), options, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    if name is None:
        raise ConfigError(f"this task needs {key}=NAME, a {what}: one of {', '.join(options)}.")
    raise ConfigError(f"{key}={name}: no such {what}.{hint} There are: {', '.join(options)}.")
