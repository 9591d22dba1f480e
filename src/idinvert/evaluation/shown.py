"""The first images of an evaluation side by side in one file, for those who look at single ones."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from idinvert.checkpoints.tensor_file import write_tensors
from idinvert.data.convert import to_float, to_uint8
from idinvert.evaluation.chunk_store import Chunks
from idinvert.evaluation.predict import Predictions
from idinvert.inversion.encoder import EncoderInverter
from idinvert.inversion.inversion import Inverter


def write_shown(
    path: Path,
    found: Predictions,
    dataset: Dataset,
    *,
    inverter: Inverter,
    generator: nn.Module,
    count: int,
) -> None:
    """Write the first images as tensors, uint8 [m, 3, R, R].

    They are ``target`` and ``inverted``, and ``encoder`` where the method has an encoder: what it
    makes of the image before any optimisation.

    Args:
        path: of the file.
        found: the inversions.
        dataset: that they were made of.
        inverter: the method.
        generator: frozen G.
        count: how many images at most.
    """
    columns: dict[str, list[Tensor]] = {"target": [], "inverted": [], "encoder": []}
    left = count
    for chunk, part in zip(found.chunks, found.parts(), strict=True):
        if left < 1:
            break
        batch = Chunks(dataset, [chunk])[0]
        targets, ids = batch["image"][:left], batch["id"][:left]
        columns["target"].append(targets)
        columns["inverted"].append(part.images[:left])
        start = part.start_images
        if start is None:
            start = _encoded(inverter, generator, targets, ids=ids, device=found.device)
        columns["encoder"] += [] if start is None else [start[:left]]
        left -= len(targets)
    write_tensors(
        path, {name: torch.cat(rows) for name, rows in columns.items() if rows}, metadata={}
    )


def _encoded(
    inverter: Any, generator: nn.Module, targets: Tensor, *, ids: Tensor, device: torch.device
) -> Tensor | None:
    """G(E(x)), uint8 on the CPU; None for a method without an encoder."""
    encoder = getattr(inverter, "encoder", None)
    if encoder is None:
        return None
    noise = inverter.settings.get("noise", "const")
    plain = EncoderInverter(encoder=encoder, noise=noise, seed=getattr(inverter, "seed", 0))
    for network in (generator, encoder):
        network.to(device)
    dtype = next(generator.parameters()).dtype
    images = to_float(targets.to(device)).to(dtype)
    made = plain.invert(images, generator=generator, ids=ids)
    return to_uint8(made.images).cpu()
