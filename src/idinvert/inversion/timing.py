"""Wall time that waits for the device."""

import time

import torch


def now(device: torch.device) -> float:
    """Seconds on a monotonic clock, after all work queued on `device` is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
