"""Images made of inverted codes: chunk by chunk on disk, measured as a set against real ones."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from idinvert.errors import ConfigError
from idinvert.evaluation.chunk_store import (
    Span,
    has_part,
    part_path,
    read_seconds,
    read_tensor,
    store,
)
from idinvert.evaluation.measures import Measures
from idinvert.evaluation.predict import Predictions
from idinvert.evaluation.progress import Progress
from idinvert.evaluation.provenance import device_in_words
from idinvert.evaluation.reference import measure_sets
from idinvert.evaluation.subject import Subject
from idinvert.metrics.figures import Figures


@dataclass(frozen=True)
class Outputs:
    """The finished outputs of a task.

    Attributes:
        folder: where they are.
        chunks: their spans, in order.
    """

    folder: Path
    chunks: list[Span]

    @property
    def paths(self) -> list[Path]:
        """The files, in order."""
        return [part_path(self.folder, *chunk) for chunk in self.chunks]

    def parts(self) -> Iterator[Tensor]:
        """Chunk after chunk, uint8 [m, 3, R, R]."""
        return (read_tensor(path, "images") for path in self.paths)

    def seconds(self) -> float:
        """Time that making them took."""
        return sum(map(read_seconds, self.paths))


def make_outputs(
    make: Callable[[Tensor], Tensor],
    *,
    chunks: list[Span],
    folder: Path,
    identity: Mapping[str, Any],
    label: str,
    device: torch.device,
    recompute: bool = False,
) -> Outputs:
    """Make one image an index; what the folder holds already is not made again.

    The first rank alone does this: showing codes takes little beside finding them.

    Args:
        make: takes places int64 [m], gives images uint8 [m, 3, R, R].
        chunks: the spans to make.
        folder: for the parts.
        identity: what makes the outputs, JSON-able; parts of another identity are refused.
        label: for the progress line.
        device: that they are made on.
        recompute: forget what is there.

    Raises:
        ConfigError: the folder holds outputs of something else.
    """
    for pattern in (".part-*", "part-*") if recompute else (".part-*",):
        for path in folder.glob(pattern):
            path.unlink()
    todo = [
        chunk
        for chunk in chunks
        if not has_part(part_path(folder, *chunk), identity=identity, needs={"images"})
    ]
    total = sum(last - first for first, last in chunks)
    done = total - sum(last - first for first, last in todo)
    with Progress(total, label=label, done=done, shown=bool(todo)) as line:
        for first, last in todo:
            begin = time.monotonic()
            index = torch.arange(first, last)
            store(
                part_path(folder, first, last),
                {"index": index, "images": make(index)},
                names=[],
                identity=identity,
                seconds=time.monotonic() - begin,
                device=device_in_words(device),
            )
            done += last - first
            line.update(done)
    return Outputs(folder, list(chunks))


def require_set_metrics(measures: Measures, *, task: str) -> None:
    """Refuse a task on sets of images without a metric of sets, or one that cannot be measured.

    Raises:
        ConfigError: naming what could be asked for.
        MissingWeightsError: weights that are not on this machine.
    """
    if not measures.set_names:
        raise ConfigError(
            f"task={task} compares sets of images, and metric.names={list(measures.names)} has no "
            "metric of sets: add swd, fid, kid or fd_<extractor>"
        )
    replace(measures, names=measures.set_names).check(labels=[])


def measured_outputs(
    make: Callable[[Tensor], Tensor],
    *,
    subject: Subject,
    found: Predictions,
    out: Path,
    task: str,
    options: Mapping[str, Any],
    detail: str,
    recompute: bool,
) -> tuple[Outputs, Figures]:
    """Make an output for every inverted image, and measure the set; see `make_outputs`.

    Args:
        make: takes places int64 [m], gives images uint8 [m, 3, R, R].
        subject: whose inversions they are made of.
        found: those inversions.
        out: folder of the task.
        task: its name.
        options: what makes the outputs besides the inversions, JSON-able.
        detail: how they are made, in words, for every metric's protocol.
        recompute: forget what is there.
    """
    outputs = make_outputs(
        make,
        chunks=found.chunks,
        folder=out / "parts",
        identity={**subject.identity, task: dict(options)},
        label=task,
        device=found.device,
        recompute=recompute,
    )
    figures = measure_sets(
        outputs.parts(), chunks=outputs.chunks, device=found.device, **subject.reals
    )
    return outputs, figures.with_detail(detail)
