"""The LightningModule that runs any inverter: devices, precision, shards and a progress line."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

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
        context, dataset, identity, paired, keep_start, recompute, label: see `inversions.predict`.
        chunks: all chunks of the evaluation.
        folder: where the parts are; on several machines a folder that all of them see.
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
        recompute: bool,
        label: str,
    ) -> None:
        super().__init__()
        # A rank may find all its chunks done by an earlier run.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.context, self.inverter, self.generator = context, context.inverter, context.generator
        self.networks = nn.ModuleList(self.inverter.networks)  # so that the Trainer moves them
        self.dataset, self.chunks, self.folder = dataset, list(chunks), folder
        self.identity, self.paired = identity, context.paired_names if paired else []
        self.needs = {f"value.{name}" for name in self.paired}
        self.needs |= {"start_images"} if keep_start else set()
        self.keep_start, self.recompute, self.label = keep_start, recompute, label
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
            for path in self.folder.glob("part-*") if self.recompute else ():
                path.unlink()
        self.trainer.strategy.barrier()

    def predict_dataloader(self) -> DataLoader:
        """This rank's share of the chunks, less those that are done."""
        ranks = self.trainer.world_size
        share = self.chunks[self.trainer.global_rank :: ranks]
        todo = self.missing(share)
        images, left = (sum(last - first for first, last in some) for some in (share, todo))
        self.progress_line = Progress(
            images,
            label=self.label + (f" (rank 0 of {ranks})" if ranks > 1 else ""),
            done=images - left,
            shown=self.trainer.is_global_zero,
        )
        workers = self.context.num_workers
        return DataLoader(Chunks(self.dataset, todo), batch_size=None, num_workers=workers)

    def on_predict_start(self) -> None:
        """Put the metrics' own networks on the device."""
        self.suite = self.context.suite(self.paired, self.device) if self.paired else None

    def close(self) -> None:
        """Close the progress line, whether the evaluation ended or broke off."""
        if self.progress_line is not None:
            self.progress_line.close()

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Invert a chunk and write its part; returns which images it were."""
        dtype = next(self.generator.parameters()).dtype  # float32, or what the precision made it
        x = to_float(batch["image"]).to(dtype)  # [n, 3, R, R]
        n, line = len(x), self.progress_line
        assert line is not None, "predict_dataloader comes first"
        before = line.n
        found = self.inverter.invert(
            x,
            generator=self.generator,
            ids=batch["id"],
            progress=lambda done, steps: line.reach(before + n * done / steps),
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
            "failed": found.failed | ~found.images.flatten(1).isfinite().all(dim=1),
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
        line.reach(before + n)
        return index


class Progress(tqdm):
    """A bar on a terminal, and a plain line every 30 seconds where the output is a file.

    Args:
        total: images to do, those done before included.
        label: what is being done.
        done: images done before; they do not count in the rate.
        shown: False keeps silent (ranks other than the first).
        file: where to write; stderr where None.
    """

    monitor_interval = 0  # no thread of tqdm's

    def __init__(
        self, total: int, *, label: str, done: int = 0, shown: bool = True, file: Any = None
    ) -> None:
        file = file or sys.stderr
        self.plain = not file.isatty()
        super().__init__(
            desc=label,
            total=total,
            initial=done,
            unit=" images",
            smoothing=0,  # the rate since the start
            mininterval=30 if self.plain else 0.1,
            miniters=0,
            disable=not shown,
            leave=not self.plain,
            file=file,
            bar_format="{desc} {n:.0f}/{total}"
            + (" · " if self.plain else " {bar} ")
            + "{rate_noinv_fmt} · {remaining} left",
        )

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Show the state, for example "in_domain 128/500 · 3.20 images/s · 01:56 left"."""
        if self.plain:
            print(self, file=self.fp, flush=True)
        else:
            super().display(msg, pos)

    def reach(self, completed: float) -> None:
        """Tell how many images are done by now; parts of an image count."""
        self.update(completed - self.n)
