"""The inversions of a data set: computed once, on any number of devices, and read from disk."""

import copy
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import Dataset

from idinvert.checkpoints.tensor_file import write_tensors
from idinvert.data.convert import to_float, to_uint8
from idinvert.data.domain import names_of, prepare
from idinvert.errors import ConfigError, DataError
from idinvert.evaluation import chunk_store
from idinvert.evaluation.codes_file import state_of
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.inversion_module import InversionModule
from idinvert.evaluation.provenance import device_in_words
from idinvert.inversion.batch_size import memory_of
from idinvert.inversion.encoder import EncoderInverter
from idinvert.inversion.inversion import gives_state
from idinvert.networks.generator import SynthesisState
from idinvert.training.callbacks.stop import cluster_plugins

Noise = list[Tensor] | None
"""The noise maps of a batch of images, each [m, 1, h, w]; None for G's own buffers or no noise."""
NO_CODES = (
    "{task} works on codes, and {what} gives features at a layer, which no code stands for: use "
    "inversion=in_domain, encoder, image2stylegan, free or projector."
)
FORCED = {
    "inference_mode": False,  # an optimisation inside predict needs gradients
    "use_distributed_sampler": False,  # it pads; the module distributes the chunks
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


@dataclass(frozen=True)
class Inversions:
    """The inversions of a data set, in parts on disk.

    Attributes:
        folder: folder of the parts.
        chunks: the spans of the parts, in order.
        device: the Trainer's device, for later measurements.
        dataset: the images, for their names.
        generator: G in float32 on that device, which renders edits; only from `invert_images`.
        plain_noise: "const" or "none", the noise of G for images without stored noise maps.
    """

    folder: Path
    chunks: list[chunk_store.Span]
    device: torch.device
    dataset: Dataset
    generator: Any = None
    plain_noise: str = "const"

    def __len__(self) -> int:
        return sum(last - first for first, last in self.chunks)

    @property
    def paths(self) -> list[Path]:
        """The parts' files, in order."""
        return [chunk_store.part_path(self.folder, *chunk) for chunk in self.chunks]

    def parts(self) -> Iterator[chunk_store.Part]:
        """Read one part at a time, so that not all images are in memory."""
        return map(chunk_store.read_part, self.paths)

    def gather(self, name: str, *, dim: int = 0) -> Tensor:
        """Join one tensor of all parts in order: "codes", "value.mse", …; losses along dim 1."""
        return torch.cat([chunk_store.read_tensor(path, name) for path in self.paths], dim=dim)

    @cached_property
    def codes(self) -> Tensor:
        """float32 [n, L, w_dim], on the CPU."""
        return self.gather("codes")

    @property
    def batch_size(self) -> int:
        """How many images were processed together."""
        return max(last - first for first, last in self.chunks)

    def names(self) -> list[str]:
        """Return the images' current names, in order; renaming an image keeps its inversion."""
        return names_of(self.dataset)[: len(self)]

    def work(self, begin: float) -> dict[str, Any]:
        """Return the fields of a record that describe the work.

        Returns:
            n; the description of the devices, including those of earlier parts; images processed
            together; seconds since `begin` plus those of the inversions, summed over parts (and
            so over devices).
        """
        known = [
            chunk_store.read_device(path) or device_in_words(self.device) for path in self.paths
        ]
        seconds = sum(map(chunk_store.read_seconds, self.paths)) + time.monotonic() - begin
        device = " and ".join(dict.fromkeys(known))
        return {"n": len(self), "device": device, "batch_size": self.batch_size, "seconds": seconds}

    def noise(self, index: Tensor) -> Noise:
        """Return the noise maps of the inversions `index`, on the CPU; None if there are none."""
        maps: list[Tensor] = []
        while (rows := self._rows(f"noise.{len(maps)}", index)) is not None:
            maps.append(rows)
        return maps or None

    def state(self, index: Tensor) -> SynthesisState | None:
        """Return the state from which G resumes for `index`, on the CPU; None if codes suffice."""
        return state_of(lambda name: self._rows(name, index))

    def images(self, index: Tensor) -> Tensor:
        """Return the reconstructions of the images `index`, uint8 [m, 3, R, R]."""
        rows = self._rows("images", index)
        assert rows is not None, "every part has its images"
        return rows

    @torch.no_grad()
    def synthesise(
        self, codes: Tensor, noise: Noise = None, state: SynthesisState | None = None
    ) -> Tensor:
        """Return G(codes) with the noise of the inversion.

        Args:
            codes: float [m, L, w_dim].
            noise: the images' noise maps.
            state: the state from which G resumes, if codes alone do not determine the images.

        Returns:
            uint8 [m, 3, R, R], on the CPU.
        """
        device = self.device
        maps = self.plain_noise if noise is None else [one.to(device) for one in noise]
        state = state and state.each(lambda maps: maps.to(device))
        images = self.generator.synthesis(codes.to(device), noise=maps, resume=state)
        return to_uint8(images, finite="the generator").cpu()

    def _rows(self, name: str, index: Tensor) -> Tensor | None:
        places: dict[int, list[tuple[int, int]]] = {}
        for k, i in enumerate(index.tolist()):
            chunk = next(c for c, (_, last) in enumerate(self.chunks) if i < last)
            places.setdefault(chunk, []).append((k, i - self.chunks[chunk][0]))
        rows: list[Tensor] = [torch.empty(0)] * len(index)
        for chunk, wanted in places.items():
            found = chunk_store.read_rows(self.paths[chunk], name, [row for _, row in wanted])
            if found is None:
                return None
            for (k, _), row in zip(wanted, found, strict=True):
                rows[k] = row
        return torch.stack(rows)

    def check(self) -> None:
        """Check that every image occurs once.

        Raises:
            DataError: an image is missing or duplicated.
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


def make_trainer(settings: Mapping[str, Any], *, out: Path, alone: bool = False) -> pl.Trainer:
    """Return the Trainer of an evaluation: the user's settings with those of `FORCED`.

    Args:
        settings: keywords of `pytorch_lightning.Trainer`.
        out: its root folder.
        alone: use one device, for work that is not distributed.
    """
    defaults = {"accelerator": "auto", "devices": 1, "default_root_dir": str(out)}
    one = {"devices": 1, "num_nodes": 1, "strategy": "auto"} if alone else {}
    return pl.Trainer(**{**defaults, "plugins": cluster_plugins(), **settings, **one, **FORCED})


def predict(
    context: EvaluationContext,
    *,
    out: Path,
    identity: Mapping[str, Any],
    dataset: Dataset | None = None,
    paired: bool = True,
    keep_start: bool = False,
    recompute: bool = False,
    label: str | None = None,
) -> Inversions | None:
    """Invert images with a context's method; parts that exist in `out/parts` are reused.

    Args:
        context: the method, its images, and how it is run.
        out: folder of the inversions.
        identity: what determines the results, JSON-able; parts of another identity are refused.
        dataset: all of these images instead: items with `image` uint8 [3, R, R], `id`, `name`.
        paired: also measure the paired metrics of each image.
        keep_start: also keep the reconstruction at the starting point.
        recompute: replace existing parts.
        label: for the progress line; None for the method's name.

    Returns:
        The results on the first rank, None on the others.

    Raises:
        DataError: fewer than n images, or inconsistent results.
        ConfigError: `out` contains results of another identity.
    """
    count = context.count if dataset is None else chunk_store.limit(dataset, None)
    dataset = context.dataset if dataset is None else dataset
    # Twice the count, for the real images that outputs are compared with.
    prepare(dataset, range(min(2 * count, len(dataset))))  # type: ignore[arg-type]
    runner = make_trainer(context.trainer, out=out)
    size: int | None = context.batch_size
    if context.fits_memory:
        there = None if recompute else chunk_store.size_there(out / "parts", count=count)
        size = there or (None if memory_of(runner.strategy.root_device) else size)
    module = InversionModule(
        context,
        dataset=dataset,
        count=count,
        size=size,
        folder=out / "parts",
        identity=identity,
        paired=paired,
        keep_start=keep_start,
        recompute=recompute,
        label=label or context.method,
        contents=context.contents if dataset is context.dataset else (),
    )
    module.eval()
    if recompute or size is None or module.missing(module.chunks):
        try:
            runner.predict(module, return_predictions=False)
        finally:
            module.close()
        runner.strategy.barrier()  # the first rank reads after all have written
    if not runner.is_global_zero:
        return None
    # A process that forked the ranks has not measured the size itself.
    module.size = module.size or chunk_store.size_there(out / "parts", count=count)
    found = Inversions(out / "parts", module.chunks, runner.strategy.root_device, dataset)
    found.check()
    return found


def require_codes(context: EvaluationContext, *, task: str) -> None:
    """Refuse a method that inverts to features, for a task that edits or reads codes.

    Raises:
        ConfigError: names the methods that invert to codes.
    """
    if gives_state(context.inverter):
        what = f"inversion={context.method}"
        raise ConfigError(NO_CODES.format(task=f"task={task}", what=what))


def invert_images(
    context: EvaluationContext,
    *,
    out: Path | None = None,
    identity: Mapping[str, Any] | None = None,
    keep_start: bool = False,
) -> Inversions | None:
    """Invert a context's images for edits, or read existing inversions.

    The paired metrics are measured as well, so that task=reconstruction can reuse them. Edits are
    rendered in float32, whatever the precision of the inversion. See `predict`.

    Args:
        context: the method and its images.
        out, identity: None for those that all tasks on these images share.
        keep_start: see `predict`.
    """
    generator = copy.deepcopy(context.generator)  # a Trainer may change its precision
    found = predict(
        context,
        out=context.inversions if out is None else out,
        identity=context.identity if identity is None else identity,
        keep_start=keep_start,
    )
    if found is None:
        return None
    generator = generator.to(found.device, torch.float32).eval()
    plain = "none" if context.inverter.settings.get("noise") == "none" else "const"
    return replace(found, generator=generator, plain_noise=plain)


def write_shown_tensors(path: Path, found: Inversions, context: EvaluationContext) -> None:
    """Write the first images as tensors, uint8 [m, 3, R, R].

    They are ``target`` and ``inverted`` and, if the method has an encoder, ``encoder``: its
    reconstruction before any optimisation.

    Args:
        path: the file.
        found: the inversions.
        context: their method; its `shown_tensors` limits the number of images.
    """
    some = torch.arange(min(context.shown_tensors, len(found)))
    batch = chunk_store.Chunks(found.dataset, [(0, len(some))])[0]
    columns = {"target": batch["image"], "inverted": found.images(some)}
    first = encoded(context, batch["image"], device=found.device, ids=batch["id"])
    if first is not None:
        columns["encoder"] = first
    write_tensors(path, columns, metadata={})


def encoded(
    context: EvaluationContext, images: Tensor, *, ids: Tensor, device: torch.device
) -> Tensor | None:
    """Return G(E(x)) of the method's encoder, with its noise; None for a method without one.

    Args:
        context: the method.
        images: uint8 [m, 3, R, R].
        ids: int64 [m], for noise drawn by image id.
        device: where to compute.

    Returns:
        uint8 [m, 3, R, R], on the CPU.
    """
    inverter, generator = context.inverter, context.generator
    encoder = getattr(inverter, "encoder", None)
    if encoder is None:
        return None
    for network in (generator, encoder):
        network.to(device)
    dtype = next(generator.parameters()).dtype
    noise = inverter.settings.get("noise", "const")
    alone = EncoderInverter(encoder=encoder, noise=noise, seed=getattr(inverter, "seed", 0))
    made = []
    for some, of in zip(
        images.split(context.batch_size), ids.split(context.batch_size), strict=True
    ):
        x = to_float(some.to(device)).to(dtype)
        made.append(to_uint8(alone.invert(x, generator=generator, ids=of).images).cpu())
    return torch.cat(made)
