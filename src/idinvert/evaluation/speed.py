"""Task: seconds per image of an encoder's forward pass (Table 3) and of an inversion (Sec. 4.2)."""

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from idinvert.data.convert import to_float
from idinvert.errors import ConfigError, Note
from idinvert.evaluation.chunk_store import Chunks, limit
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.default_metrics import SECONDS
from idinvert.evaluation.inversions import make_trainer
from idinvert.evaluation.provenance import device_in_words
from idinvert.inversion.encoder import EncoderInverter
from idinvert.inversion.inversion import Inverter, now
from idinvert.metrics.protocol import MetricValues
from idinvert.results.record import Record

PROTOCOL = "batch 1, warm, synchronised, median of {n}; {what}"
WHAT = {"encoder": "E's forward alone", "inversion": "the whole inversion"}


def measure_speed(
    context: EvaluationContext, *, images: int = 10, warm_up: int = 1
) -> list[Record]:
    """Time single images on one device: the inversion, and E's forward if the method has an E.

    As in the other tasks, `seconds_per_image` is E's forward alone for the encoder (Table 3's
    Speed) and the whole inversion for a method that optimises (8 s against 290 s, Sec. 4.2). The
    record also has `encoder_seconds_per_image` and `inversion_seconds_per_image`, each with its
    `_min` and `_max`, and each image's seconds as `series`.

    Args:
        images: how many images are timed, one at a time; fewer if the split has fewer.
        warm_up: number of inversions before, which are not timed.

    Raises:
        ConfigError: `images` is less than 1, or `warm_up` is negative.
    """
    if not context.first_process:
        return []
    if images < 1 or warm_up < 0:
        raise ConfigError(f"got task.images={images}, task.warm_up={warm_up}: expected 1 and 0 up")
    begin, inverter = time.monotonic(), context.inverter
    there = limit(context.dataset, None)
    count = min(images, there)
    if count < images:
        warnings.warn(f"task.images={count}: the {context.split} split has no more", Note, 2)
    with context.task_folder("speed") as out:
        trainer = make_trainer(context.trainer, out=out, alone=True)
        device = trainer.strategy.root_device
        for network in (context.generator, *inverter.networks):
            network.to(device)
        x = to_float(Chunks(context.dataset, [(0, count)])[0]["image"].to(device))
        with trainer.precision_plugin.forward_context():
            times = {
                what: seconds_of(
                    what, inverter, generator=context.generator, images=x, warm_up=warm_up
                )
                for what in WHAT
                if what == "inversion" or hasattr(inverter, "encoder")
            }
        measured = MetricValues()
        for prefix, what in (("", counted(inverter)), *((f"{what}_", what) for what in times)):
            name, seconds = f"{prefix}{SECONDS}", times[what]
            text = PROTOCOL.format(n=len(seconds), what=WHAT[what])
            measured.add(name, statistics.median(seconds), text)
            if prefix:
                measured.metrics |= {f"{name}_min": min(seconds), f"{name}_max": max(seconds)}
        record = context.replaced(batch_size=1).record(
            "speed",
            measured,
            n=count,
            device=device_in_words(device),
            options={"images": images, "warm_up": warm_up},
            seconds=time.monotonic() - begin,
            series={f"{what}_{SECONDS}": seconds for what, seconds in times.items()},
        )
        return context.finish([record], out)


def counted(inverter: Inverter) -> str:
    """Return which entry of `WHAT` a method's `seconds_per_image` measures."""
    return "encoder" if isinstance(inverter, EncoderInverter) else "inversion"


def seconds_of(
    what: str, inverter: Inverter, *, generator: nn.Module, images: Tensor, warm_up: int = 1
) -> list[float]:
    """Return the seconds of E's forward, or of the whole inversion, for single images.

    Args:
        what: "encoder", with three calls to warm up, or "inversion".
        inverter: its networks are on the device of `images`.
        generator: frozen G, on the same device.
        images: float [N, 3, R, R] in [-1, 1].
        warm_up: number of inversions that are not timed.
    """
    if what == "encoder":
        encoder: Any = inverter.encoder  # type: ignore[attr-defined]
        with torch.no_grad():
            return seconds_per_call(encoder, images, warm_up=3)
    ids = torch.zeros(1, dtype=torch.int64, device=images.device)
    return seconds_per_call(
        lambda image: inverter.invert(image, generator=generator, ids=ids), images, warm_up=warm_up
    )


def seconds_per_call(call: Callable[[Tensor], Any], images: Tensor, *, warm_up: int) -> list[float]:
    """Return the seconds of a call on each of N images, synchronised before and after.

    Args:
        call: takes [1, 3, R, R].
        images: [N, 3, R, R] on the device to measure.
        warm_up: number of calls on the first image that are not timed.
    """
    for _ in range(warm_up):
        call(images[:1])
    times = []
    for image in images.split(1):
        begin = now(images.device)
        call(image)
        times.append(now(images.device) - begin)
    return times
