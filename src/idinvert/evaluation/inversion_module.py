"""The LightningModule that runs any inverter: devices, precision, shards and a progress line."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as RichProgress
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from idinvert.data.convert import to_float, to_uint8
from idinvert.evaluation.chunk_store import Chunks, Span, has_part, part_path, write_part
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.provenance import device_in_words


class InversionModule(pl.LightningModule):
    """Inverts the chunks of a data set and writes each as a part.

    Chunk c belongs to rank c mod W, and a chunk's images are inverted together on whatever rank, so
    results do not depend on the number of ranks, bit for bit on equal devices. Chunks whose part is
    there already are left out. The Trainer must have `inference_mode=False`.

    Args:
        context: the method and how it is run.
        dataset: items with `image`, `id`, `name`.
        chunks: all chunks of the evaluation.
        folder: where the parts are; on several machines a folder that all of them see.
        identity: what makes the results, JSON-able.
        paired: measure the paired metrics of each image too.
        keep_start: also keep the reconstruction at the starting point.
        replace: forget the parts that are there.
        label: for the progress line.
    """

    def __init__(
        self,
        context: EvaluationContext,
        *,
        dataset: Dataset,
        chunks: Sequence[Span],
        folder: Path,
        identity: Mapping[str, Any],
        paired: bool,
        keep_start: bool,
        replace: bool,
        label: str,
    ) -> None:
        super().__init__()
        # A rank may find all its chunks done by an earlier run.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.inverter, self.generator = context.inverter, context.generator
        self.networks = nn.ModuleList(self.inverter.networks)  # so that the Trainer moves them
        self.measures = context.measures if paired else None
        self.dataset, self.chunks, self.folder = dataset, list(chunks), folder
        self.identity, self.num_workers = identity, context.num_workers
        self.needs = {f"value.{name}" for name in context.measures.paired_names if paired}
        self.needs |= {"start_images"} if keep_start else set()
        self.keep_start, self.replace, self.label = keep_start, replace, label
        self.progress_line: Progress | None = None

    def missing(self, chunks: Sequence[Span]) -> list[Span]:
        """Those of the chunks that have no part yet."""
        return [
            chunk
            for chunk in chunks
            if not has_part(
                part_path(self.folder, *chunk), identity=self.identity, needs=self.needs
            )
        ]

    def setup(self, stage: str) -> None:
        """Clear the folder once, before any rank looks into it."""
        if self.trainer.is_global_zero:
            for path in self.folder.glob("part-*") if self.replace else ():
                path.unlink()
        self.trainer.strategy.barrier()

    def predict_dataloader(self) -> DataLoader:
        """This rank's share of the chunks, less those that are done."""
        share = self.chunks[self.trainer.global_rank :: self.trainer.world_size]
        todo = self.missing(share)
        images = sum(last - first for first, last in share)
        left = sum(last - first for first, last in todo)
        ranks = self.trainer.world_size
        self.progress_line = Progress(
            images,
            label=self.label + (f" (rank 0 of {ranks})" if ranks > 1 else ""),
            done=images - left,
            shown=self.trainer.is_global_zero,
        )
        return DataLoader(Chunks(self.dataset, todo), batch_size=None, num_workers=self.num_workers)

    def on_predict_start(self) -> None:
        """Show the progress line; put the metrics' own networks on the device."""
        measures = self.measures
        self.suite = None if measures is None else measures.paired_suite(self.device)
        if self.progress_line is not None:
            self.progress_line.__enter__()

    def close(self) -> None:
        """Close the progress line, whether the evaluation ended or broke off."""
        if self.progress_line is not None:
            self.progress_line.__exit__(None, None, None)

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Invert a chunk and write its part; returns which images it were."""
        dtype = next(self.generator.parameters()).dtype  # float32, or what the precision made it
        x = to_float(batch["image"]).to(dtype)  # [n, 3, R, R]
        n, line = len(x), self.progress_line
        assert line is not None, "predict_dataloader comes first"
        before = line.completed
        found = self.inverter.invert(
            x,
            generator=self.generator,
            ids=batch["id"],
            progress=lambda done, steps: line.update(before + n * done / steps),
        )
        values: dict[str, Tensor] = {}
        if self.suite is not None:
            with torch.autocast(self.device.type, enabled=False):  # metrics in full precision
                values = self.suite.update(found.images.float(), to_float(batch["image"]))
        index = batch["index"]
        tensors = {
            "index": index,
            "ids": batch["id"],
            "codes": found.codes.float(),
            "images": to_uint8(found.images),
            "losses": found.losses.float(),
            "best_step": found.best_step,
            "failed": found.failed,
            **{f"term.{name}": term.float() for name, term in found.terms.items()},
            **{f"value.{name}": value.float() for name, value in values.items()},
            **{f"noise.{place}": maps.float() for place, maps in enumerate(found.noise or [])},
        }
        if found.z is not None:
            tensors["z"] = found.z.float()
        if self.keep_start:
            tensors["start_images"] = to_uint8(found.start_images)
        write_part(
            part_path(self.folder, int(index[0]), int(index[-1]) + 1),
            tensors,
            names=list(batch["name"]),
            identity=self.identity,
            seconds=found.seconds * n,
            device=device_in_words(self.device),
        )
        line.update(before + n)
        return index


class Progress:
    """A bar on a terminal, a plain line now and then where the output is a file.

    Args:
        total: images to do, those done before included.
        label: what is being done.
        done: images done before; they do not count in the rate.
        every: seconds between two lines where there is no terminal.
        shown: False keeps silent (ranks other than the first).
        console: where to write; stderr where None.
    """

    def __init__(
        self,
        total: int,
        *,
        label: str,
        done: int = 0,
        every: float = 30.0,
        shown: bool = True,
        console: Console | None = None,
    ) -> None:
        self.total, self.label, self.first, self.every = total, label, done, every
        self.completed = float(done)
        self.shown = shown
        self.console = console or Console(file=sys.stderr)
        self.begin = self.spoken = time.monotonic()
        self._bar: RichProgress | None = None

    def __enter__(self) -> "Progress":
        if self.shown and self.console.is_terminal:
            self._bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[pace]}"),
                console=self.console,
            )
            self._bar.start()
            self._task = self._bar.add_task(
                self.label, total=self.total, completed=self.first, pace=""
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self.shown:
            self.console.print(self.line(), highlight=False)

    def update(self, completed: float) -> None:
        """Tell how many images are done by now; parts of an image count."""
        self.completed = completed
        if self._bar is not None:
            self._bar.update(self._task, completed=int(completed), pace=self.pace())
        elif self.shown and time.monotonic() - self.spoken >= self.every:
            self.spoken = time.monotonic()
            self.console.print(self.line(), highlight=False)

    def line(self) -> str:
        """The state in words, for example "in_domain 128/500 · 3.2 images/s · 1:56 left"."""
        return f"{self.label} {int(self.completed)}/{self.total} · {self.pace()}"

    def pace(self) -> str:
        """Images a second since the start, and the time left at that rate."""
        elapsed = time.monotonic() - self.begin
        fresh = self.completed - self.first
        if fresh <= 0 or elapsed <= 0:
            return "– images/s"
        rate = fresh / elapsed
        left = round((self.total - self.completed) / rate)
        clock = (
            f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}"
            if left >= 3600
            else (f"{left // 60}:{left % 60:02}")
        )
        return f"{rate:.3g} images/s · {clock} left"
