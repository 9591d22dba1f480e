"""How long one image takes."""

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from idinvert.inversion.encoder import EncoderInverter
from idinvert.inversion.inversion import Inverter
from idinvert.inversion.timing import now

PROTOCOL = "batch 1, warm, synchronised, median of {n}; {what}"


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
