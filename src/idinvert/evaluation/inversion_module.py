"""The LightningModule that runs any inverter: devices, precision, ranks and a progress line."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from idinvert.data.convert import to_float, to_uint8
from idinvert.data.domain import ids_of
from idinvert.data.progress import Progress
from idinvert.evaluation import chunk_store
from idinvert.evaluation.codes_file import state_tensors
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.provenance import device_in_words
from idinvert.inversion.batch_size import FEW, MOST, SHARE, largest, memory_of, one_step
from idinvert.inversion.inversion import in_turns


def images_together(
    context: EvaluationContext, images: Tensor, *, most: int, device: torch.device
) -> int:
    """Return how many images a context's method optimises at once.

    This is its `batch_size`; with ``batch_size=auto`` on a GPU, the largest batch that fits.

    Args:
        context: with the method and its networks on the device.
        images: some of the images, uint8 [k, 3, R, R]; at most `FEW` are used.
        most: the number of images.
        device: the device of the inversions.
    """
    memory = memory_of(device) if context.fits_memory else None
    if memory is None:
        return context.batch_size
    method = one_step(context.inverter)
    dtype = next(context.generator.parameters()).dtype
    x = to_float(images[:FEW].to(device)).to(dtype)

    def invert(count: int) -> None:
        method.invert(x[:count], generator=context.generator, ids=torch.arange(count))

    # CUDA graphs have their own memory in addition to that of the eager calls.
    graphs = getattr(getattr(context.inverter, "method", context.inverter), "cuda_graphs", False)
    share = SHARE / (2 if graphs else 1)
    return largest(invert, memory, few=len(x), most=min(MOST, most), share=share)


class InversionModule(pl.LightningModule):
    """Inverts the chunks of a data set and writes each as a part.

    Rank c mod W inverts chunk c, always as one batch, so results do not depend on the number of
    ranks W, bit for bit on equal devices. Chunks with an existing part are skipped. The Trainer
    must have `inference_mode=False`.

    If images may stop early, `inversion.BATCHES` chunks are distributed and passed to the method
    together, so that waiting images take the place of those that have stopped.

    Args:
        context, dataset, identity, paired, keep_start, recompute, label: see `inversions.predict`.
        contents: hash of each image's pixels, by which rows of other data sets may be reused.
        count: the number of images.
        size: images per chunk, which are processed together; None to measure how many fit into
            the memory of every rank's GPU.
        folder: where the parts are; on several machines a shared folder.
    """

    def __init__(
        self,
        context: EvaluationContext,
        *,
        dataset: Dataset,
        count: int,
        size: int | None,
        folder: Path,
        identity: Mapping[str, Any],
        paired: bool,
        keep_start: bool,
        recompute: bool,
        label: str,
        contents: Sequence[str],
    ) -> None:
        super().__init__()
        # An earlier run may have finished all chunks of a rank.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.context, self.inverter, self.generator = context, context.inverter, context.generator
        self.networks = nn.ModuleList(self.inverter.networks)  # so that the Trainer moves them
        self.dataset, self.count, self.size, self.folder = dataset, count, size, folder
        self.identity, self.paired = identity, context.paired_names if paired else []
        self.needs = {f"value.{name}" for name in self.paired}
        self.needs |= {"start_images"} if keep_start else set()
        self.contents, self.known = contents, dict[int, chunk_store.Row]()
        self.keep_start, self.recompute, self.label = keep_start, recompute, label
        self.progress_line: Progress | None = None

    @property
    def chunks(self) -> list[chunk_store.Span]:
        """All chunks of the evaluation."""
        assert self.size is not None, "predict_dataloader measures it"
        return chunk_store.spans(self.count, size=self.size)

    def missing(self, chunks: Sequence[chunk_store.Span]) -> list[chunk_store.Span]:
        """Return the chunks that have no part yet."""
        return [
            chunk
            for chunk in chunks
            if not chunk_store.has_part(
                chunk_store.part_path(self.folder, *chunk), identity=self.identity, needs=self.needs
            )
        ]

    def setup(self, stage: str) -> None:
        """Clear the folder once, before any rank reads it; find results of other data sets."""
        if self.trainer.is_global_zero:
            replaced = self.recompute or self.size is None
            for path in self.folder.glob("part-*") if replaced else ():
                path.unlink()
        self.trainer.strategy.barrier()
        if self.contents and not self.recompute:
            parts = self.context.run_folder.glob("invert-*/parts/part-*.safetensors")
            self.known = chunk_store.known_rows(
                [path for path in sorted(parts) if path.parent != self.folder],
                contents=self.contents,
                ids=ids_of(self.dataset) or [],
                identity=self.identity,
                needs=self.needs,
            )
        if self.known and self.trainer.is_global_zero:
            print(f"inverted before: {len(self.known)} of {len(self.contents)} pictures")

    def predict_dataloader(self) -> DataLoader:
        """Return this rank's chunks, without those that are done."""
        ranks = self.trainer.world_size
        self.size = self.size or self._measured_size(ranks)
        batches, chunks = in_turns(self.inverter, slots=self.size), self.chunks
        starts = range(0, len(chunks), batches)[self.trainer.global_rank :: ranks]
        share = [chunks[k : k + batches] for k in starts]
        todo = [run for some in share for run in chunk_store.runs(self.missing(some))]
        left = sum(last - first for first, last in todo)
        images = sum(last - first for some in share for first, last in some)
        self.progress_line = Progress(
            self.label + (f" (rank 0 of {ranks})" if ranks > 1 else ""),
            images,
            done=images - left,
            shown=self.trainer.is_global_zero,
        )
        workers = self.context.num_workers
        return DataLoader(
            chunk_store.Chunks(self.dataset, todo), batch_size=None, num_workers=workers
        )

    def _measured_size(self, ranks: int) -> int:
        """Return how many images fit into the memory of every rank's device."""
        few = chunk_store.Chunks(self.dataset, [(0, min(FEW, self.count))])[0]["image"]
        most = -(-self.count // ranks)
        with self.trainer.precision_plugin.predict_step_context():
            size = images_together(self.context, few, most=most, device=self.device)
        return int(torch.as_tensor(self.all_gather(torch.tensor(size, device=self.device))).min())

    def on_predict_start(self) -> None:
        """Create the metrics with their networks on the device."""
        self.suite = self.context.suite(self.paired, self.device) if self.paired else None

    def close(self) -> None:
        """Close the progress line, also after an error."""
        if self.progress_line is not None:
            self.progress_line.close()

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Invert the images of chunks without known results, write parts, return the indices."""
        index, line = batch["index"], self.progress_line
        assert line is not None, "predict_dataloader comes first"
        places, before = index.tolist(), line.done
        found = [chunk_store.read_row(*self.known[i]) if i in self.known else None for i in places]
        if fresh := [j for j, row in enumerate(found) if row is None]:
            images, ids = batch["image"][fresh], batch["id"][fresh]
            done = before + len(places) - len(fresh)
            tensors, seconds = self._invert(images, ids, line=line, before=done)
            for k, j in enumerate(fresh):
                found[j] = chunk_store.row_of(tensors, k), seconds, device_in_words(self.device)
        for chunk in self.chunks:
            if chunk[0] in places:
                here = slice(chunk[0] - places[0], chunk[1] - places[0])
                rows, times, devices = zip(*(row for row in found[here] if row), strict=True)
                chunk_store.write_part(
                    chunk_store.part_path(self.folder, *chunk),
                    {**chunk_store.joined(rows), "index": index[here], "ids": batch["id"][here]},
                    names=list(batch["name"][here]),
                    identity=self.identity,
                    seconds=sum(times),
                    device=" and ".join(dict.fromkeys(devices)),
                    contents=self.contents[slice(*chunk)],
                )
        line.update(before + len(places))
        return index

    def _invert(
        self, images: Tensor, ids: Tensor, *, line: Progress, before: float
    ) -> tuple[dict[str, Tensor], float]:
        """Return the tensors of a part for images, without index and ids; seconds per image."""
        dtype = next(self.generator.parameters()).dtype  # float32, or as the precision requires
        x, n = to_float(images).to(dtype), len(images)  # [n, 3, R, R]
        found = self.inverter.invert(
            x,
            generator=self.generator,
            ids=ids,
            progress=lambda done, steps: line.update(before + n * done / steps),
        )
        values: dict[str, Tensor] = {}
        if self.suite is not None:
            with torch.autocast(self.device.type, enabled=False):  # metrics in full precision
                values = self.suite.update(found.images.float(), to_float(images))
        tensors = {
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
        if found.state is not None:
            tensors |= state_tensors(found.state)
        if self.keep_start:
            tensors["start_images"] = to_uint8(found.start_images)
        return tensors, found.seconds
