"""The output images of a task: stored in chunks, and measured as a set against real images."""

import csv
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from idinvert.data.convert import to_float
from idinvert.durable import written_whole
from idinvert.errors import ConfigError, DataError
from idinvert.evaluation import chunk_store
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.inversion_module import Progress
from idinvert.evaluation.inversions import Inversions
from idinvert.evaluation.provenance import device_in_words
from idinvert.metrics.protocol import MetricValues


def make_outputs(
    make: Callable[[Tensor], Tensor | Mapping[str, Tensor]],
    *,
    chunks: list[chunk_store.Span],
    folder: Path,
    identity: Mapping[str, Any],
    label: str,
    device: torch.device,
    recompute: bool = False,
) -> list[Path]:
    """Make one image per index; parts that exist in the folder are reused.

    Only the first rank does this: rendering codes is much cheaper than finding them.

    Args:
        make: indices int64 [m] to images uint8 [m, 3, R, R]; or to tensors by name with `images`.
        chunks: the spans to make.
        folder: folder of the parts.
        identity: what determines the outputs, JSON-able; parts of another identity are refused.
        label: for the progress line.
        device: the device that makes them.
        recompute: replace existing parts.

    Returns:
        The parts' files, in order; `images_of` reads them.

    Raises:
        ConfigError: the folder contains outputs of another identity.
    """
    for pattern in (".part-*", "part-*") if recompute else (".part-*",):
        for path in folder.glob(pattern):
            path.unlink()
    todo = [
        chunk
        for chunk in chunks
        if not chunk_store.has_part(
            chunk_store.part_path(folder, *chunk), identity=identity, needs={"images"}
        )
    ]
    total = sum(last - first for first, last in chunks)
    done = total - sum(last - first for first, last in todo)
    with Progress(label, total, done=done, shown=bool(todo)) as line:
        for first, last in todo:
            begin = time.monotonic()
            index = torch.arange(first, last)
            made = make(index)
            tensors = {"images": made} if isinstance(made, Tensor) else made
            chunk_store.write_part(
                chunk_store.part_path(folder, first, last),
                {"index": index, **tensors},
                names=[],
                identity=identity,
                seconds=time.monotonic() - begin,
                device=device_in_words(device),
            )
            done += last - first
            line.update(done)
    return [chunk_store.part_path(folder, *chunk) for chunk in chunks]


def images_of(paths: Iterable[Path]) -> Iterator[Tensor]:
    """Yield outputs in chunks, uint8 [m, 3, R, R]."""
    return (chunk_store.read_tensor(path, "images") for path in paths)


def require_set_metrics(context: EvaluationContext, *, task: str) -> None:
    """Refuse a task on sets of images without a metric of sets, or one that cannot be measured.

    Raises:
        ConfigError: names metrics of sets.
        MissingWeightsError: weights are not on this machine.
    """
    if not context.set_names:
        raise ConfigError(
            f"task={task} compares sets of images, and metric.names={list(context.metric_names)} "
            "has no metric of sets: add swd, fid, kid or fd_<extractor>"
        )
    context.suite(context.set_names)


def measured_outputs(
    make: Callable[[Tensor], Tensor],
    *,
    context: EvaluationContext,
    found: Inversions,
    out: Path,
    task: str,
    options: Mapping[str, Any],
    detail: str,
) -> tuple[list[Path], MetricValues]:
    """Make an output for every inverted image, and measure the set.

    Args:
        make: see `make_outputs`.
        context, found: the inversions from which the outputs are made.
        out, task: the task's folder and name.
        options: what determines the outputs besides the inversions, JSON-able.
        detail: description of the outputs, for every metric's protocol.

    Returns:
        The files of the outputs, see `make_outputs`; the metrics.
    """
    paths = make_outputs(
        make,
        chunks=found.chunks,
        folder=out / "parts",
        identity={**context.identity, task: dict(options)},
        label=task,
        device=found.device,
        recompute=context.recompute,
    )
    failed = float(found.gather("failed").sum())
    images = images_of(paths)
    measured = measure_sets(
        images, context, chunks=found.chunks, device=found.device, failed=failed
    )
    return paths, measured.with_detail(detail)


def compared(n: int, *, there: int, reference: str) -> tuple[int, chunk_store.Span | None]:
    """Return how many outputs are compared, and the span of other real images.

    Output i is made of image i, or of images among the first n. The other images are the same
    number of images after those whose outputs are compared. If more than half of the split is
    inverted, the outputs of its first half are compared with the images of its second half.

    Args:
        n: number of outputs.
        there: number of images in the split.
        reference: `disjoint` or `same`, see `MetricSuite`.

    Returns:
        Number of outputs to compare; the span of the other images, None if there are too few.
    """
    m = min(n, there // 2) if reference == "disjoint" else n
    return m, (m, 2 * m) if 0 < 2 * m <= there else None


def measure_sets(
    outputs: Iterable[Tensor],
    context: EvaluationContext,
    *,
    chunks: list[chunk_store.Span],
    device: torch.device,
    failed: float = 0,
) -> MetricValues:
    """Measure the set metrics of n outputs against real images.

    With `reference` disjoint, no output is compared with its own original; see `compared`.

    Args:
        outputs: chunks of uint8 images, in the order of `chunks`.
        context: its split has the real images; its `reference` selects those to compare with.
        chunks: spans of the real images with the outputs' indices.
        device: where to compute.
        failed: how many of the inversions failed; if any did, all metrics are NaN.

    Raises:
        DataError: the split has fewer than two images.
    """
    dataset = context.dataset
    n = sum(last - first for first, last in chunks)
    if failed:
        reason = f"not measured: {failed:.0f} of {n} images failed"
        print(f"{', '.join(context.set_names)}: {reason}")
        measured = MetricValues()
        for metric in context.set_names:
            measured.add(metric, math.nan, reason)
        return measured
    for extractor in context.extractors.values():
        extractor.to(device)
    suite = context.suite(context.set_names, device)
    there = len(dataset)  # type: ignore[arg-type]
    m, others = compared(n, there=there, reference=context.reference)
    loaded = loader(dataset, chunks, context.num_workers)
    for images, batch in zip(outputs, loaded, strict=True):
        suite.update(to_float(images), to_float(batch["image"]))
    if others is not None:
        begin, size = others[0], max(last - first for first, last in chunks)
        behind = [(begin + first, begin + last) for first, last in chunk_store.spans(m, size=size)]
        for batch in loader(dataset, behind, context.num_workers):
            suite.refer(batch["image"])
    return suite.values()


def loader(dataset: Dataset, chunks: list[chunk_store.Span], num_workers: int) -> DataLoader:
    """Return a loader of a data set's chunks."""
    return DataLoader(chunk_store.Chunks(dataset, chunks), batch_size=None, num_workers=num_workers)


def partners_of(context: EvaluationContext) -> tuple[Tensor, dict[str, int]]:
    """Pair each of a context's n images with another one, by a permutation drawn from its seed.

    Images whose outputs are compared are paired among themselves, so that no output is made of an
    image that it is compared with.

    Returns:
        Indices of the partners, int64 [n]; what they depend on besides seed and n, JSON-able.
    """
    n, there = context.count, len(context.dataset)  # type: ignore[arg-type]
    m, _ = compared(n, there=there, reference=context.reference)
    within = {} if m == n else {"compared": m}
    return torch.cat([partners(m, seed=context.seed), torch.arange(m, n) % m]), within


def partners(count: int, *, seed: int) -> Tensor:
    """Return a permutation int64 [count] in which no image is its own partner.

    It is a single cycle through all images, determined by seed and count alone.

    Raises:
        DataError: there are fewer than two images.
    """
    if count < 2:
        raise DataError(
            f"a pair takes two images, and there are {count}: set n=2 or more, and give a split of "
            "4 or more"
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    partner = torch.empty_like(order)
    partner[order] = order.roll(-1)
    return partner


def write_csv(path: Path, columns: Mapping[str, Sequence | Tensor]) -> None:
    """Write columns of equal length under their names."""
    rows = [c.tolist() if isinstance(c, Tensor) else c for c in columns.values()]
    with written_whole(path) as whole, whole.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(columns)
        table.writerows(zip(*rows, strict=True))
