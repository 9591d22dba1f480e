"""Memory that the CPU's tensors leave is kept for the next ones."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>
LARGEST = 32 * 2**20
"""Bytes from which a tensor's memory goes back at once; glibc allows no more."""
KEPT = 2**30
"""Bytes that may lie unused before the rest goes back."""


def keep_freed_memory() -> bool:
    """Tells the C library not to give the memory of each activation back to the system.

    It does by default, from some MiB up, and the next step of training waits for the same pages to
    be mapped and cleared again: a twentieth of its time in miniature. Results stay as they are.

    Returns:
        Whether there was anything to tell: glibc, so Linux.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return mallopt(_M_MMAP_THRESHOLD, LARGEST) == 1 and mallopt(_M_TRIM_THRESHOLD, KEPT) == 1
