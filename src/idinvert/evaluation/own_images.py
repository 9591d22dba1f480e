"""Own pictures (``images=``), which are read and inverted once for all tasks."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from idinvert.annotations import OnCorrupt
from idinvert.config.identity import mark_of
from idinvert.data.domain import Domain
from idinvert.data.folder import read_images
from idinvert.data.formats import safe
from idinvert.errors import ConfigError
from idinvert.evaluation.codes_file import NAME, Codes, read_codes
from idinvert.evaluation.context import ALWAYS, EvaluationContext
from idinvert.evaluation.inversions import (
    NO_CODES,
    Inversions,
    Noise,
    invert_images,
    make_trainer,
)
from idinvert.evaluation.provenance import device_in_words
from idinvert.networks.generator import SynthesisState


def open_own(
    context: EvaluationContext,
    out: str | None,
    on_corrupt: OnCorrupt,
    allow_upscale: bool,
    megapixels: float | None,
    enlarged: int = 1,
) -> tuple[EvaluationContext, Codes | None]:
    """Returns the context on the pictures of ``images=``, and their codes if these are given.

    Args:
        context: The method; its ``images`` is the path of a picture, several (see
            `source.chosen`), a folder, a zip archive, a ``codes.safetensors`` or its folder.
        out: The task's output folder.
        on_corrupt: Whether damaged and small files raise an error ("error") or are left out
            ("skip").
        allow_upscale: Whether images smaller than the generator's are enlarged.
        megapixels: The largest image that is decoded; None for 134.
        enlarged: Factor by which low-resolution pictures are enlarged; pixels are repeated.

    Raises:
        CheckpointError: The codes belong to another generator, or cannot be read.
        ConfigError: ``out`` is the folder of the pictures.
        DataError: There are no images, or some cannot be used.
    """
    source = Path(context.config["images"]).expanduser()
    resolution = context.generator.resolution
    if out is not None and source.is_dir() and Path(out).expanduser().resolve() == source.resolve():
        raise ConfigError(f"task.out={out} is the folder of images=: give another folder.")
    file = source / NAME if source.is_dir() else source
    if file.suffix == ".safetensors" and (file.is_file() or not source.is_dir()):
        known = read_codes(file, generator=context.checkpoints["generator"])
        name = file.resolve().parent.name if file.name == NAME else file.stem
        marks = [known.codes, *(known.noise or ())]
        return on_images(context, Named(known.names), name=name, contents=marks), known
    images: Any = read_images(
        source,
        resolution=resolution // enlarged,
        on_corrupt=on_corrupt,
        allow_upscale=allow_upscale,
        megapixels=megapixels,
        without=[context.outputs, *([] if out is None else [Path(out).expanduser()])],
    )
    name = (source if source.exists() else images.source.path).resolve().stem or "images"
    if enlarged > 1:
        images = Enlarged(images, factor=enlarged)
    contents = (images[i]["image"] for i in range(len(images)))
    return on_images(context, images, name=name, contents=contents), None


def on_images(
    context: EvaluationContext, images: Dataset, *, name: str, contents: Any
) -> EvaluationContext:
    """Returns the context on other images, with a fingerprint of their contents and order."""
    digest, marks = hashlib.sha256(), []
    for tensor in contents:
        pixels = tensor.contiguous().numpy().tobytes()
        digest.update(pixels)
        marks.append(hashlib.sha256(pixels).hexdigest())
    resolution = context.generator.resolution
    domain = Domain(safe(name), resolution, images, images, images, digest.hexdigest()[:16])
    ours = {"domain": domain, "dataset": images, "split": "all", "n": None, "contents": marks}
    return context.replaced(**ours, metric_names=ALWAYS, seed=context.provenance["seed"])


class Enlarged(Dataset[dict[str, Any]]):
    """Pictures with every pixel repeated factor × factor times."""

    def __init__(self, images: Any, *, factor: int) -> None:
        self.images, self.factor = images, factor
        self.names, self.ids, self.source = images.names, images.ids, images.source

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item, factor = self.images[index], self.factor
        image = item["image"].repeat_interleave(factor, -1).repeat_interleave(factor, -2)
        return {**item, "image": image}


class Named(Dataset[dict[str, Any]]):
    """Pictures whose names and codes are known, but not their pixels."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.ids = list(names), list(range(len(names)))

    def __len__(self) -> int:
        return len(self.names)


def own_identity(context: EvaluationContext) -> dict[str, Any]:
    """Returns everything that the inversions depend on; the name of the data is not part of it."""
    data = {key: value for key, value in context.data.items() if key != "name"}
    return {**context.identity, "data": data}


def own_folder(context: EvaluationContext) -> Path:
    """Returns the folder of the inversions of own pictures, which all tasks share."""
    name = f"invert-{context.domain.name}-{context.method}-{mark_of(own_identity(context))}"
    return context.run_folder / name


@dataclass(frozen=True)
class KnownCodes(Inversions):
    """Codes from a file, used like inversions.

    Attributes:
        known: The codes, their names, and their noise maps if any.
    """

    known: Any = None

    @property
    def codes(self) -> Tensor:  # type: ignore[override]
        """float32 [n, L, w_dim]."""
        return self.known.codes.float()

    def noise(self, index: Tensor) -> Noise:
        """Return the noise maps of the file, each [m, 1, h, w]; None if there are none."""
        return None if self.known.noise is None else [maps[index] for maps in self.known.noise]

    def state(self, index: Tensor) -> SynthesisState | None:
        """Return the state in the file; None if there is none."""
        return self.known.state and self.known.state.rows(index)

    def images(self, index: Tensor) -> Tensor:
        """Return the images of the codes, uint8 [m, 3, R, R]."""
        return self.synthesise(self.codes[index], self.noise(index), self.state(index))

    def work(self, begin: float) -> dict[str, Any]:
        """As `Inversions.work`, for the edits alone."""
        device, seconds = device_in_words(self.device), time.monotonic() - begin
        return {"n": len(self), "device": device, "seconds": seconds}


def invert_own(
    context: EvaluationContext, known: Codes | None, *, edited: bool = True
) -> Inversions | None:
    """Returns the inversions of own pictures, which share the folder of ``task=invert``.

    Args:
        context: The context of these pictures.
        known: Their codes, if these are given.
        edited: Whether the codes are for edits.

    Returns:
        The inversions on the first rank; None on the others.

    Raises:
        ConfigError: The codes are for edits, but do not determine the images by themselves.
    """
    if edited and known is not None and known.state is not None:
        what = f"the method that wrote {context.config['images']}"
        raise ConfigError(NO_CODES.format(task="this task", what=what))
    if known is None:
        return invert_images(
            context, out=own_folder(context), identity=own_identity(context), keep_start=True
        )
    if not context.first_process:
        return None
    device = make_trainer(context.trainer, out=context.run_folder, alone=True).strategy.root_device
    generator = context.generator.to(device, torch.float32).eval()
    plain = "none" if context.config["inversion"].get("noise") == "none" else "const"
    places = [(0, len(known.codes))]
    return KnownCodes(Path(), places, device, context.dataset, generator, plain, known)
