"""Many images at once, their results in order; workers that end when their parent does."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch

from idinvert.data.prepare_image import Made, make
from idinvert.data.source import ImageSource
from idinvert.errors import DataError

BLOCK = 32  # images a worker takes at once, and the journal commits at once
_AHEAD = 3  # blocks a worker may be ahead of what is written

_WORK: dict[str, Any] = {}
"""In a worker: its source and resolution."""


def in_blocks(
    source: ImageSource, names: Sequence[str], *, resolution: int, workers: int
) -> Generator[list[Made], None, None]:
    """Makes `names`, block by block, in their order.

    Args:
        source: Where the files are.
        names: Which.
        resolution: R, pixels.
        workers: Processes; 1 works in this one.

    Raises:
        DataError: The source fails, or a worker was killed.
    """
    blocks = (list(names[i : i + BLOCK]) for i in range(0, len(names), BLOCK))
    if workers == 1 or len(names) <= BLOCK:
        for block in blocks:
            yield [make(source, name, resolution=resolution) for name in block]
        return
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(source, resolution),
    )
    waiting: deque[Future[list[Made]]] = deque()
    try:
        waiting.extend(
            pool.submit(_block, block) for block in itertools.islice(blocks, _AHEAD * workers)
        )
        while waiting:
            done = waiting.popleft().result()
            waiting.extend(pool.submit(_block, block) for block in itertools.islice(blocks, 1))
            yield done
    except BrokenProcessPool as error:
        raise DataError(
            "a worker was killed, most likely for want of memory; the same command goes on, and "
            "needs less with a smaller --workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(source: ImageSource, resolution: int) -> None:
    """Sets a worker up: Ctrl-C is its parent's business, and so is its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _WORK.update(source=source, resolution=resolution)


def _block(names: list[str]) -> list[Made]:
    return [make(_WORK["source"], name, resolution=_WORK["resolution"]) for name in names]


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()  # a parent killed with -9 closes no queue
        os._exit(1)
