"""Task: measure samples of G as a set: the quality of the GAN."""

import math
import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from idinvert.annotations import Count
from idinvert.data.convert import to_uint8
from idinvert.data.domain import prepare
from idinvert.errors import ConfigError
from idinvert.evaluation.chunk_store import spans
from idinvert.evaluation.context import WITHOUT_ENCODER, EvaluationContext
from idinvert.evaluation.inversions import make_trainer
from idinvert.evaluation.outputs import (
    images_of,
    make_outputs,
    measure_sets,
    require_set_metrics,
)
from idinvert.evaluation.pictures import Sheet, write_sheet
from idinvert.evaluation.provenance import device_in_words
from idinvert.inversion.initialization import image_rng, mapped
from idinvert.results.record import Record

PROTOCOL = "n samples (seed {seed}, ψ = {truncation:g}, noise drawn)"
MIDPOINTS = "; image i is of the mean of the codes of samples 2i and 2i + 1"
COLUMNS = 8


def sample(
    context: EvaluationContext,
    *,
    truncation: float = 1.0,
    midpoints: bool = False,
    shown: Count = 32,
) -> list[Record]:
    """Draw as many images from G as there are real ones, and compare the two sets.

    Sample i depends on the seed and i alone. Writes `parts/` (a larger n reuses existing samples),
    `pictures.png` and `pictures.pdf`. Nothing is inverted.

    Args:
        context: its seed determines codes and noise.
        truncation: ψ; codes are w̄ + ψ (w − w̄) in every layer.
        midpoints: render the means of two samples' codes, which is an interpolation at α = 1/2
            without inversion errors (an upper bound for Table 2).
        shown: samples in the picture.

    Raises:
        ConfigError: no metric of sets is requested, ψ is not a finite number of 0 or more, or G
            is conditional.
    """
    if not context.first_process:
        return []
    begin, seed = time.monotonic(), context.seed
    if not (math.isfinite(truncation) and truncation >= 0):
        raise ConfigError(f"task.truncation is {truncation}: expected a number of 0 or more")
    context = context.variant(WITHOUT_ENCODER).replaced(method="prior")
    require_set_metrics(context, task="samples")
    prepare(context.dataset, range(min(2 * context.count, len(context.dataset))))  # type: ignore[arg-type]
    options: dict[str, Any] = {"truncation": float(truncation), "seed": seed}
    options |= {"midpoints": True} if midpoints else {}
    with context.task_folder("samples", **options) as out:
        device = make_trainer(context.trainer, out=out, alone=True).strategy.root_device
        generator = context.generator.to(device).eval()

        def drawn(index: Tensor) -> Tensor:
            return sampled(generator, index, **options)

        chunks = spans(context.count, size=context.batch_size)
        paths = make_outputs(
            drawn,
            chunks=chunks,
            folder=out / "parts",
            identity={"generator": context.checkpoints.get("generator"), "samples": options},
            label="sampling",
            device=device,
            recompute=context.recompute,
        )
        measured = measure_sets(images_of(paths), context, chunks=chunks, device=device)
        if shown:
            images = drawn(torch.arange(min(shown, context.count)))
            write_sheet(Sheet(rows=[list(row) for row in images.split(COLUMNS)]), out)
        record = context.record(
            "samples",
            measured.with_detail(PROTOCOL.format(**options) + MIDPOINTS * midpoints),
            n=context.count,
            device=device_in_words(device),
            options=options,
            seconds=time.monotonic() - begin,
        )
        choices = {key: value for key, value in record.choices.items() if key != "inversion"}
        return context.finish([replace(record, choices=choices)], out)


@torch.no_grad()
def sampled(
    generator: Any,
    index: Tensor,
    *,
    truncation: float = 1.0,
    seed: int = 0,
    midpoints: bool = False,
) -> Tensor:
    """Return samples of G by index, int64 [m], each independent of the others.

    `seed` determines codes and noise. With `midpoints`, image i is that of the mean of the codes of
    samples 2i and 2i + 1, with the noise of sample 2i.

    Returns:
        uint8 [m, 3, R, R], on the CPU.

    Raises:
        ConfigError: G is conditional.
    """
    first = 2 * index if midpoints else index
    codes, noise = inputs_of(generator, first, truncation=truncation, seed=seed)
    if midpoints:
        second, _ = inputs_of(generator, first + 1, truncation=truncation, seed=seed)
        codes = (codes + second) / 2
    return to_uint8(generator.synthesis(codes, noise=noise).float(), finite="the generator").cpu()


@torch.no_grad()
def inputs_of(
    generator: Any, index: Tensor, *, truncation: float = 1.0, seed: int = 0
) -> tuple[Tensor, list[Tensor]]:
    """Return codes [m, L, w_dim] and noise maps, each [m, 1, h, w], of the samples of `sampled`.

    Raises:
        ConfigError: G is conditional.
    """
    mean = generator.w_avg
    streams = [image_rng(seed, int(i), purpose="samples") for i in index]
    z = torch.stack([torch.randn(generator.z_dim, generator=rng) for rng in streams])
    noise = [
        torch.stack([torch.randn(1, *size, generator=rng) for rng in streams]).to(mean)
        for size in generator.noise_shapes
    ]
    return torch.lerp(mean, mapped(generator, z.to(mean)), float(truncation)), noise
