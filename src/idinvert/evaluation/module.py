"""Any inverter under a Trainer's predict loop: devices, precision, shards, progress."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from idinvert.data.convert import to_float, to_uint8
from idinvert.evaluation.chunk_store import Chunks, Part, Span, has_part, part_path, write_part
from idinvert.evaluation.progress import Progress
from idinvert.evaluation.provenance import device_in_words
from idinvert.inversion.inversion import Inverter
from idinvert.metrics.suite import MetricSuite


class InversionModule(pl.LightningModule):
    """Inverts the chunks of a data set and writes each as a part.

    Chunk c belongs to rank c mod W, and a chunk's images are inverted together on whatever rank, so
    results do not depend on the number of ranks, bit for bit on equal devices. Chunks whose part is
    there already are left out. The Trainer must have `inference_mode=False`.

    Args:
        inverter: the method.
        generator: frozen G.
        dataset: items with `image`, `id`, `name`.
        chunks: all chunks of the evaluation.
        folder: where the parts are; on several machines a folder that all of them see.
        identity: what makes the results, JSON-able.
        suite: makes the suite of paired metrics for a device, or None for no metrics.
        values: the names of those metrics.
        keep_start: also keep the reconstruction at the starting point.
        replace: forget the parts that are there.
        label: for the progress line.
        num_workers: processes that read images.
    """

    def __init__(
        self,
        *,
        inverter: Inverter,
        generator: nn.Module,
        dataset: Dataset,
        chunks: Sequence[Span],
        folder: Path,
        identity: Mapping[str, Any],
        suite: Callable[[torch.device], MetricSuite] | None,
        values: Sequence[str],
        keep_start: bool,
        replace: bool,
        label: str,
        num_workers: int,
    ) -> None:
        super().__init__()
        # A rank may find all its chunks done by an earlier run.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.inverter, self.generator = inverter, generator
        self.networks = nn.ModuleList(inverter.networks)  # so that the Trainer moves them
        self.dataset, self.chunks, self.folder = dataset, list(chunks), folder
        self.identity, self.make_suite = identity, suite
        self.needs = {f"value.{name}" for name in values}
        self.needs |= {"start_images"} if keep_start else set()
        self.keep_start, self.replace = keep_start, replace
        self.label, self.num_workers = label, num_workers
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
            for pattern in (".part-*", "part-*") if self.replace else (".part-*",):
                for path in self.folder.glob(pattern):
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
        self.suite = None if self.make_suite is None else self.make_suite(self.device)
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
        write_part(
            part_path(self.folder, int(index[0]), int(index[-1]) + 1),
            Part(
                index=index,
                ids=batch["id"],
                names=list(batch["name"]),
                codes=found.codes,
                images=to_uint8(found.images),
                losses=found.losses,
                best_step=found.best_step,
                failed=found.failed,
                terms=found.terms,
                values=values,
                start_images=to_uint8(found.start_images) if self.keep_start else None,
                noise=dict(enumerate(found.noise or [])),
                z=found.z,
            ),
            identity=self.identity,
            seconds=found.seconds * n,
            device=device_in_words(self.device),
        )
        line.update(before + n)
        return index
