"""Task: seconds an image, of an encoder's forward (Table 3) and a whole inversion (Sec. 4.2)."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from idinvert.data.convert import to_float
from idinvert.errors import ConfigError
from idinvert.evaluation.chunk_store import Chunks, limit
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.inversions import one_device_trainer
from idinvert.evaluation.provenance import device_in_words
from idinvert.inversion.encoder import EncoderInverter
from idinvert.inversion.inversion import Inverter, now
from idinvert.metrics.protocol import MetricValues
from idinvert.results.record import Record

PROTOCOL = "batch 1, warm, synchronised, median of {n}; {what}"


def measure_speed(
    context: EvaluationContext, *, images: int = 10, warm_up: int = 1
) -> list[Record]:
    """Time single images on one device: E's forward where the method has an E, and the inversion.

    `seconds_per_image` is, as in the other tasks, E's forward alone for the encoder (Table 3's
    Speed) and the whole inversion for a method that optimises (8 s against 290 s, Sec. 4.2).

    Args:
        context: the method and its images.
        images: how many are timed, each alone.
        warm_up: calls before, which are not timed.

    Returns:
        The record on the first rank, none on the others: `seconds_per_image`,
        `encoder_seconds_per_image` (E's forward),
        `inversion_seconds_per_image` (the whole), each with its `_min` and `_max`; each image's
        seconds as `series`.

    Raises:
        ConfigError: fewer than one image, or fewer than none to warm up.
        DataError: the split has fewer images.
    """
    if not context.first_process:
        return []
    if images < 1 or warm_up < 0:
        raise ConfigError(f"got task.images={images}, task.warm_up={warm_up}: expected 1 and 0 up")
    begin = time.monotonic()
    count = limit(context.dataset, images)
    with context.task_folder("speed") as out:
        trainer = one_device_trainer(context.trainer, out=out)
        device = trainer.strategy.root_device
        for network in (context.generator, *context.inverter.networks):
            network.to(device)
        x = to_float(Chunks(context.dataset, [(0, count)])[0]["image"]).to(device)
        times: dict[str, tuple[list[float], str]] = {}
        with trainer.precision_plugin.forward_context():
            encoder = getattr(context.inverter, "encoder", None)
            if encoder is not None:
                times["encoder_seconds_per_image"] = (
                    forward_seconds(encoder, x),
                    "E's forward alone",
                )
            whole = inversion_seconds(
                context.inverter, generator=context.generator, images=x, warm_up=warm_up
            )
            times["inversion_seconds_per_image"] = whole, "the whole inversion"
        alone = isinstance(context.inverter, EncoderInverter)
        chosen = "encoder_seconds_per_image" if alone else "inversion_seconds_per_image"
        metrics: dict[str, float] = {}
        protocol: dict[str, str] = {}
        for name, (seconds, what) in {"seconds_per_image": times[chosen], **times}.items():
            metrics[name] = statistics.median(seconds)
            protocol[name] = PROTOCOL.format(n=len(seconds), what=what)
            if name != "seconds_per_image":
                metrics[f"{name}_min"], metrics[f"{name}_max"] = min(seconds), max(seconds)
        record = context.replaced(batch_size=1).record(
            "speed",
            n=count,
            device=device_in_words(device),
            options={"images": images, "warm_up": warm_up},
            measured=MetricValues(metrics, protocol),
            seconds=time.monotonic() - begin,
            series={name: seconds for name, (seconds, _) in times.items()},
        )
        return context.finish([record], out)


def seconds_per_call(
    call: Callable[[Tensor], Any], images: Tensor, *, warm_up: int = 1
) -> list[float]:
    """Time a call on single images, after warming up on the first.

    Args:
        call: takes [1, 3, R, R].
        images: [N, 3, R, R] on the device to measure.
        warm_up: calls that are not timed.

    Returns:
        Seconds of each of the N calls, synchronised before and after.
    """
    for _ in range(warm_up):
        call(images[:1])
    times = []
    for image in images.split(1):
        begin = now(images.device)
        call(image)
        times.append(now(images.device) - begin)
    return times


def seconds_per_image(
    inverter: Inverter, *, generator: nn.Module, images: Tensor, warm_up: int = 1
) -> tuple[float, str]:
    """Median time of an inversion, and how it was measured.

    For an encoder it is E's forward pass alone, as in Table 3.

    Args:
        inverter: whose networks are on the device of `images`.
        generator: frozen G, on that device too.
        images: float [N, 3, R, R] in [-1, 1].
        warm_up: calls that are not timed.

    Returns:
        Seconds, and the protocol in words.
    """
    if isinstance(inverter, EncoderInverter):
        times, what = forward_seconds(inverter.encoder, images), "E's forward alone"
    else:
        times = inversion_seconds(inverter, generator=generator, images=images, warm_up=warm_up)
        what = "the whole inversion"
    return statistics.median(times), PROTOCOL.format(n=len(times), what=what)


def forward_seconds(encoder: nn.Module, images: Tensor) -> list[float]:
    """Seconds of E's forward on each image [N, 3, R, R] alone, after three that warm up."""
    with torch.no_grad():
        return seconds_per_call(encoder, images, warm_up=3)


def inversion_seconds(
    inverter: Inverter, *, generator: nn.Module, images: Tensor, warm_up: int
) -> list[float]:
    """Seconds of the inversion of each image [N, 3, R, R] alone."""
    ids = torch.arange(len(images), device=images.device)

    def invert(image: Tensor) -> None:
        inverter.invert(image, generator=generator, ids=ids[:1])

    return seconds_per_call(invert, images, warm_up=warm_up)
