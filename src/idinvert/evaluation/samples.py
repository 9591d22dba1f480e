"""Task: G's images of codes drawn from its prior, measured as a set: how good the GAN is."""

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from idinvert.data.convert import to_uint8
from idinvert.data.domain import prepare
from idinvert.errors import ConfigError
from idinvert.evaluation.chunk_store import spans
from idinvert.evaluation.outputs import make_outputs, require_set_metrics
from idinvert.evaluation.predict import one_device
from idinvert.evaluation.provenance import device_in_words
from idinvert.evaluation.reference import measure_sets
from idinvert.evaluation.sheet import Sheet, write_sheet
from idinvert.evaluation.subject import Subject
from idinvert.inversion.draw import image_rng
from idinvert.inversion.initialization import mapped
from idinvert.results.record import Record

PROTOCOL = "n samples (seed {seed}, ψ = {truncation:g}, noise drawn)"
COLUMNS = 8


def samples(
    subject: Subject,
    *,
    out: Path,
    truncation: float = 1.0,
    seed: int = 0,
    shown: int = 32,
    recompute: bool = False,
) -> Record:
    """Draw as many images from G as there are real ones, and compare the two sets.

    Sample i follows from the seed and i alone. Writes `parts/` (a killed task goes on from there;
    more samples keep those that are there), `pictures.png` and `pictures.pdf`.

    Args:
        subject: G, the real images, the metrics; its method inverts nothing here.
        out: folder of this task.
        truncation: ψ; codes are w̄ + ψ (w − w̄) in every layer.
        seed: of codes and noise.
        shown: samples in the picture.
        recompute: make the samples again.

    Raises:
        ConfigError: no metric of sets is asked for, ψ is no number of 0 or more, or G is
            conditional.
        DataError: fewer than n real images.
    """
    begin = time.monotonic()
    if not (math.isfinite(truncation) and truncation >= 0):
        raise ConfigError(f"task.truncation is {truncation}: expected a number of 0 or more")
    require_set_metrics(subject.measures, task="samples")
    prepare(subject.dataset)
    device = one_device(subject.trainer, out=out)
    generator = subject.generator.to(device).eval()
    options = {"truncation": float(truncation), "seed": seed}

    def drawn(index: Tensor) -> Tensor:
        return sampled(generator, index, truncation=truncation, seed=seed)

    outputs = make_outputs(
        drawn,
        chunks=spans(subject.count, size=subject.batch_size),
        folder=out / "parts",
        identity={"generator": subject.origin.checkpoints.get("generator"), "samples": options},
        label="sampling",
        device=device,
        recompute=recompute,
    )
    figures = measure_sets(outputs.parts(), chunks=outputs.chunks, device=device, **subject.reals)
    if shown:
        images = drawn(torch.arange(min(shown, subject.count)))
        write_sheet(Sheet(rows=[list(row) for row in images.split(COLUMNS)]), out)
    record = subject.record(
        "samples",
        n=subject.count,
        device=device_in_words(device),
        options=options,
        figures=figures.with_detail(PROTOCOL.format(**options)),
        seconds=time.monotonic() - begin,
    )
    of_generator = {key: value for key, value in record.choices.items() if key != "inversion"}
    return replace(record, choices=of_generator)


@torch.no_grad()
def sampled(generator: Any, index: Tensor, *, truncation: float = 1.0, seed: int = 0) -> Tensor:
    """Samples of G by number, the same in any company.

    Args:
        generator: G.
        index: int64 [m].
        truncation: ψ.
        seed: of codes and noise.

    Returns:
        uint8 [m, 3, R, R], on the CPU.

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
    codes = torch.lerp(mean, mapped(generator, z.to(mean)), float(truncation))  # [m, L, w_dim]
    return to_uint8(generator.synthesis(codes, noise=noise).float()).cpu()
