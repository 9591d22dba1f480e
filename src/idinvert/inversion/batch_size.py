"""batch_size=auto: measure how many images fit into the free memory of a GPU."""

import copy
from collections.abc import Callable
from typing import Any, Protocol

import torch

MOST = 256
"""Largest batch: a GPU is saturated long before."""
FEW = 4
"""Size of the larger of the two batches that are measured."""
SHARE = 0.85
"""Share of the free memory to use; the rest covers what two small batches do not show."""


class Memory(Protocol):
    """The memory of a device, in bytes."""

    def free(self) -> int:
        """Return the free memory."""
        ...

    def peak(self, work: Callable[[], Any]) -> int:
        """Return the peak memory of some work, without what was allocated before."""
        ...


class GPUMemory:
    """The memory of a GPU, as other programs and torch's allocator leave it.

    Args:
        device: the GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def free(self) -> int:
        """See `Memory`."""
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(self.device)[0]

    def peak(self, work: Callable[[], Any]) -> int:
        """See `Memory`; memory that torch reserves counts as used."""
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_reserved(self.device)
        work()
        torch.cuda.synchronize(self.device)
        return torch.cuda.max_memory_reserved(self.device) - before


def memory_of(device: torch.device) -> Memory | None:
    """Return the memory of a device; None for a CPU, whose memory is not measured."""
    return GPUMemory(device) if device.type == "cuda" else None


def one_step(inverter: Any) -> Any:
    """Return a copy of a method that runs one step eagerly: one evaluation with its gradient."""
    short = copy.copy(inverter)
    if hasattr(short, "method"):  # a restoration
        short.method = one_step(short.method)
    for name, value in {"steps": 1, "cuda_graphs": False, "slots": None}.items():
        if hasattr(short, name):
            setattr(short, name, value)
    if getattr(short, "optimizer", None) == "lbfgs_gn":  # its probes have a batch size of their own
        short.optimizer = "lbfgs"
    return short


def largest(
    invert: Callable[[int], None], memory: Memory, *, few: int, most: int, share: float
) -> int:
    """Return the largest batch that fits, extrapolated from two small ones: memory is linear.

    Args:
        invert: inverts the given number of images.
        memory: the memory of the device.
        few: largest size of the larger batch that is measured.
        most: largest result.
        share: share of the free memory that may be used.
    """
    invert(1)  # excludes what libraries allocate once
    one = max(1, memory.peak(lambda: invert(1)))
    free = memory.free()
    larger = min(few, most, free // one)
    each, fixed = float(one), 0.0
    if larger > 1:
        each = max(1.0, (memory.peak(lambda: invert(larger)) - one) / (larger - 1))
        fixed = max(0.0, one - each)
    size = max(1, min(most, int((share * free - fixed) / each)))
    limit = f", at most {most} images" if size == most else ""
    print(
        f"batch_size=auto: {size} together (an image takes {each / 2**30:.2f} GiB, "
        f"{free / 2**30:.1f} GiB are free{limit})"
    )
    return size
