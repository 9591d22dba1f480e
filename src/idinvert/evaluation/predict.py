"""Invert a data set, on any number of devices, and hand back what is on disk."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from idinvert.data.domain import names_of, prepare
from idinvert.errors import DataError
from idinvert.evaluation.chunk_store import (
    Part,
    Span,
    limit,
    part_path,
    read_device,
    read_part,
    read_seconds,
    read_tensor,
    spans,
)
from idinvert.evaluation.module import InversionModule
from idinvert.evaluation.provenance import device_in_words
from idinvert.inversion.inversion import Inverter
from idinvert.metrics.suite import MetricSuite
from idinvert.training.callbacks.stop import cluster_plugins

FORCED = {
    "inference_mode": False,  # an optimisation inside predict needs gradients
    "use_distributed_sampler": False,  # it pads; chunks are shared out by the module
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


@dataclass(frozen=True)
class Predictions:
    """The parts of a finished evaluation.

    Attributes:
        folder: where they are.
        chunks: the spans of the parts, in order.
        device: that the Trainer runs on, for what is measured afterwards.
        dataset: the images, for their names.
    """

    folder: Path
    chunks: list[Span]
    device: torch.device
    dataset: Dataset

    def __len__(self) -> int:
        return sum(last - first for first, last in self.chunks)

    @property
    def paths(self) -> list[Path]:
        """The parts' files, in order."""
        return [part_path(self.folder, *chunk) for chunk in self.chunks]

    def parts(self) -> Iterator[Part]:
        """One part after the other, so that not all images are in memory."""
        return map(read_part, self.paths)

    def gather(self, name: str, *, dim: int = 0) -> Tensor:
        """One tensor of all parts, images in order: "codes", "value.mse", …; losses along dim 1."""
        return torch.cat([read_tensor(path, name) for path in self.paths], dim=dim)

    def names(self) -> list[str]:
        """The images' names, in order, as they are now: an image that is renamed stays the same."""
        return names_of(self.dataset)[: len(self)]

    def seconds(self) -> float:
        """Time of all inversions, summed over parts (and so over devices)."""
        return sum(map(read_seconds, self.paths))

    @property
    def made_on(self) -> str:
        """What the inversions were made on, in words: of parts kept from earlier, what that was."""
        known = [read_device(path) for path in self.paths]
        return " and ".join(dict.fromkeys(d or device_in_words(self.device) for d in known))

    @property
    def batch_size(self) -> int:
        """Images that were inverted together."""
        return max(last - first for first, last in self.chunks)

    def check(self) -> None:
        """Make sure that every image is there once.

        Raises:
            DataError: if an image is missing or doubled.
        """
        index, ids = self.gather("index"), self.gather("ids")
        if not torch.equal(index, torch.arange(len(self))):
            raise DataError(
                f"{self.folder} holds {len(index)} images, not the images 0 … {len(self) - 1} once "
                "each; set recompute=true"
            )
        if len(ids.unique()) != len(ids):
            raise DataError(
                f"{len(ids) - len(ids.unique())} of {len(ids)} image ids occur twice in the data "
                "set; ids must be stable and unique (data)"
            )


def make_trainer(settings: Mapping[str, Any] | None, *, out: Path) -> pl.Trainer:
    """The Trainer of an evaluation: the user's settings, less what would break it."""
    defaults = {"accelerator": "auto", "devices": 1, "default_root_dir": str(out)}
    defaults |= {"plugins": cluster_plugins()}
    return pl.Trainer(**{**defaults, **(settings or {}), **FORCED})


def one_device(settings: Mapping[str, Any] | None, *, out: Path) -> torch.device:
    """The first device of a Trainer with these settings, for work that is not shared out."""
    alone = {"devices": 1, "num_nodes": 1, "strategy": "auto"}
    return make_trainer({**(settings or {}), **alone}, out=out).strategy.root_device


def predict(
    *,
    inverter: Inverter,
    generator: nn.Module,
    dataset: Dataset,
    out: Path,
    identity: Mapping[str, Any],
    n: int | None = None,
    batch_size: int = 16,
    suite: Callable[[torch.device], MetricSuite] | None = None,
    values: Sequence[str] = (),
    keep_start: bool = False,
    trainer: Mapping[str, Any] | None = None,
    num_workers: int = 0,
    recompute: bool = False,
    label: str = "inverting",
) -> Predictions | None:
    """Invert the first n images of a data set; what `out/parts` holds already is not done again.

    Args:
        inverter: the method.
        generator: frozen G.
        dataset: items with `image` uint8 [3, R, R], `id`, `name`.
        out: folder of this evaluation.
        identity: what makes the results, JSON-able; parts of another identity are refused.
        n: images; None for all.
        batch_size: images inverted together.
        suite: makes the suite of paired metrics for a device.
        values: the names of those metrics.
        keep_start: also keep the reconstruction at the starting point.
        trainer: keywords of `pytorch_lightning.Trainer` (accelerator, devices, precision, …).
        num_workers: processes that read images.
        recompute: forget what is there.
        label: for the progress line.

    Returns:
        The results on the first rank, None on the others.

    Raises:
        DataError: fewer than n images, or results that do not add up.
        ConfigError: `out` holds results of something else.
    """
    chunks = spans(limit(dataset, n), size=batch_size)
    prepare(dataset)
    runner = make_trainer(trainer, out=out)
    module = InversionModule(
        inverter=inverter,
        generator=generator,
        dataset=dataset,
        chunks=chunks,
        folder=out / "parts",
        identity=identity,
        suite=suite,
        values=values,
        keep_start=keep_start,
        replace=recompute,
        label=label,
        num_workers=num_workers,
    )
    module.eval()
    if recompute or module.missing(chunks):
        try:
            runner.predict(module, return_predictions=False)
        finally:
            module.close()
        runner.strategy.barrier()  # the first rank must not read before the last has written
    if not runner.is_global_zero:
        return None
    found = Predictions(out / "parts", chunks, runner.strategy.root_device, dataset)
    found.check()
    return found
