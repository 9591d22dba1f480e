"""The inversions of a data set: made once, on any number of devices, and read from the disk."""

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
"""The maps of a batch of images, each [m, 1, h, w]; None where G's own or none are used."""
NO_CODES = (
    "{task} works on codes, and {what} gives features at a layer, which no code stands for: use "
    "inversion=in_domain, encoder, image2stylegan, free or projector."
)
FORCED = {
    "inference_mode": False,  # an optimisation inside predict needs gradients
    "use_distributed_sampler": False,  # it pads; chunks are shared out by the module
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


@dataclass(frozen=True)
class Inversions:
    """The inversions of a data set, part by part on the disk.

    Attributes:
        folder: where they are.
        chunks: the spans of the parts, in order.
        device: that the Trainer runs on, for what is measured afterwards.
        dataset: the images, for their names.
        generator: G in float32 on that device, which shows edits; of `invert_images` alone.
        plain_noise: "const" or "none", what G is given where no noise maps were kept.
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
        """One part after the other, so that not all images are in memory."""
        return map(chunk_store.read_part, self.paths)

    def gather(self, name: str, *, dim: int = 0) -> Tensor:
        """One tensor of all parts, images in order: "codes", "value.mse", …; losses along dim 1."""
        return torch.cat([chunk_store.read_tensor(path, name) for path in self.paths], dim=dim)

    @cached_property
    def codes(self) -> Tensor:
        """float32 [n, L, w_dim], on the CPU."""
        return self.gather("codes")

    @property
    def batch_size(self) -> int:
        """How many images were worked on together."""
        return max(last - first for first, last in self.chunks)

    def names(self) -> list[str]:
        """The images' names, in order, as they are now: an image that is renamed stays the same."""
        return names_of(self.dataset)[: len(self)]

    def work(self, begin: float) -> dict[str, Any]:
        """What a record says of the work.

        Returns:
            n; the device, in words, of parts kept from earlier too; images worked on together;
            seconds since `begin` and those of the inversions, summed over parts (and so over
            devices).
        """
        known = [
            chunk_store.read_device(path) or device_in_words(self.device) for path in self.paths
        ]
        seconds = sum(map(chunk_store.read_seconds, self.paths)) + time.monotonic() - begin
        device = " and ".join(dict.fromkeys(known))
        return {"n": len(self), "device": device, "batch_size": self.batch_size, "seconds": seconds}

    def noise(self, index: Tensor) -> Noise:
        """The noise maps that the images `index` were inverted with, on the CPU; None for none."""
        maps: list[Tensor] = []
        while (rows := self._rows(f"noise.{len(maps)}", index)) is not None:
            maps.append(rows)
        return maps or None

    def state(self, index: Tensor) -> SynthesisState | None:
        """What G goes on from for the images `index`, on the CPU; None where codes suffice."""
        return state_of(lambda name: self._rows(name, index))

    def images(self, index: Tensor) -> Tensor:
        """The reconstructions of the images `index`, uint8 [m, 3, R, R]."""
        rows = self._rows("images", index)
        assert rows is not None, "every part has its images"
        return rows

    @torch.no_grad()
    def synthesise(
        self, codes: Tensor, noise: Noise = None, state: SynthesisState | None = None
    ) -> Tensor:
        """G(codes) with the noise of the inversion.

        Args:
            codes: float [m, L, w_dim].
            noise: the images' maps.
            state: what to go on from, where codes alone do not give the images.

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


def make_trainer(settings: Mapping[str, Any], *, out: Path, alone: bool = False) -> pl.Trainer:
    """The Trainer of an evaluation: the user's settings, less what would break it.

    Args:
        settings: keywords of `pytorch_lightning.Trainer`.
        out: its root folder.
        alone: on the first device, for work that is not shared out.
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
    """Invert images by a context's method; what `out/parts` holds already is not done again.

    Args:
        context: the method, its images, and how it is run.
        out: folder of the inversions.
        identity: what makes the results, JSON-able; parts of another identity are refused.
        dataset: other images, all of them: items with `image` uint8 [3, R, R], `id`, `name`.
        paired: measure the paired metrics of each image too.
        keep_start: also keep the reconstruction at the starting point.
        recompute: forget what is there.
        label: for the progress line; None for the method's name.

    Returns:
        The results on the first rank, None on the others.

    Raises:
        DataError: fewer than n images, or results that do not add up.
        ConfigError: `out` holds results of something else.
    """
    count = context.count if dataset is None else chunk_store.limit(dataset, None)
    dataset = context.dataset if dataset is None else dataset
    # As many again are the real images that outputs are compared with.
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
        runner.strategy.barrier()  # the first rank must not read before the last has written
    if not runner.is_global_zero:
        return None
    # A process that others were forked from has not measured itself.
    module.size = module.size or chunk_store.size_there(out / "parts", count=count)
    found = Inversions(out / "parts", module.chunks, runner.strategy.root_device, dataset)
    found.check()
    return found


def require_codes(context: EvaluationContext, *, task: str) -> None:
    """Refuse a method of features for a task that edits or reads codes.

    Raises:
        ConfigError: naming the methods that give codes.
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
    """Invert a context's images for edits, or read the inversions that are there.

    The paired metrics are measured along, so that task=reconstruction finds them too. Edits
    are shown in float32 whatever the precision of the inversion. See `predict`.

    Args:
        context: the method and its images.
        out, identity: other than those that all tasks on these images share.
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
    """Write the first images side by side as tensors, uint8 [m, 3, R, R].

    They are ``target`` and ``inverted``, and ``encoder`` where the method has an encoder: what it
    makes of the image before any optimisation.

    Args:
        path: of the file.
        found: the inversions.
        context: their method; its `shown_tensors` is how many images at most.
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
    """G(E(x)) of the method's own encoder, with its noise; None for a method without one.

    Args:
        context: the method.
        images: uint8 [m, 3, R, R].
        ids: int64 [m], for noise that is drawn by them.
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
