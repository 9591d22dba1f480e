"""batch_size=auto: as many images together as the free memory of a GPU holds, measured."""

import copy
from collections.abc import Callable
from typing import Any, Protocol

import torch

MOST = 256
"""Images together at most: a GPU is busy long before."""
FEW = 4
"""Images of the larger of the two batches that are measured."""
SHARE = 0.85
"""Of the free memory that is used; the rest is for what two small batches do not show."""


class Memory(Protocol):
    """Of a device, in bytes."""

    def free(self) -> int:
        """What nothing holds."""
        ...

    def peak(self, work: Callable[[], Any]) -> int:
        """What some work takes at its highest, besides what was held before."""
        ...


class GPUMemory:
    """That of a GPU, as other programs and torch's own allocator leave it.

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
        """See `Memory`; blocks that torch reserves count whole."""
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_reserved(self.device)
        work()
        torch.cuda.synchronize(self.device)
        return torch.cuda.max_memory_reserved(self.device) - before


def memory_of(device: torch.device) -> Memory | None:
    """How the memory of a device is measured; None for a CPU's, which is not."""
    return GPUMemory(device) if device.type == "cuda" else None


def one_step(inverter: Any) -> Any:
    """A method as it is, but for one step, run eagerly: an evaluation with its gradient."""
    short = copy.copy(inverter)
    if hasattr(short, "method"):  # of a restoration
        short.method = one_step(short.method)
    for name, value in {"steps": 1, "cuda_graphs": False, "slots": None}.items():
        if hasattr(short, name):
            setattr(short, name, value)
    if getattr(short, "optimizer", None) == "lbfgs_gn":  # its probes are of one batch whatever ours
        short.optimizer = "lbfgs"
    return short


def largest(
    invert: Callable[[int], None], memory: Memory, *, few: int, most: int, share: float
) -> int:
    """The largest batch that fits: memory is linear in the batch, so two small ones tell.

    Args:
        invert: inverts so many images.
        memory: the device's.
        few: of the larger batch that is measured, at most.
        most: the result at most.
        share: of the free memory that may be used.
    """
    invert(1)  # what libraries allocate once is not an image's
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
