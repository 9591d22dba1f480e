"""Processes many items in parallel: results in order, and no process outlives its parent."""

import itertools
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 3  # maximum items per worker ahead of the results that were taken

_WORK: dict[str, Callable[[Any], Any]] = {}
"""In a worker: the function that it applies to an item."""


def cores() -> int:
    """Returns the cores this process may use, given its affinity and its container's quota."""
    from joblib import cpu_count

    return int(cpu_count())


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], *, workers: int
) -> Generator[Result, None, None]:
    """Yields `work(item)` for each item, in the order of the items.

    The workers do not import the running program, so it need not guard its start with
    `if __name__ == "__main__"`. They ignore Ctrl-C, which ends this generator and thereby them.

    Args:
        work: Picklable; sent to each worker once.
        items: Picklable.
        workers: Number of processes. With 1, work is done in this process; so it is in a process
            that may not have children, such as a worker of a DataLoader.

    Raises:
        BrokenProcessPool: A worker was killed.
    """
    if workers == 1 or multiprocessing.current_process().daemon:
        yield from map(work, items)
        return
    items = iter(items)
    first = list(itertools.islice(items, _AHEAD * workers))
    waiting: deque[Future[Result]] = deque()
    # Not through the pipe that starts a process: the parent would wait forever if the child died.
    with tempfile.NamedTemporaryFile() as packed:
        pickle.dump(work, packed)
        packed.flush()
        pool = ProcessPoolExecutor(
            min(workers, max(len(first), 1)),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(packed.name,),
        )
        # All processes start before the pool's thread watches them. Otherwise, if one is killed
        # while another starts, the pool would wait for the other one forever.
        pool._safe_to_dynamically_spawn_children = False  # type: ignore[attr-defined]
        try:
            with _no_program():  # the first call spawns the processes
                waiting.extend(pool.submit(_call, item) for item in first)
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(_call, item) for item in itertools.islice(items, 1))
                yield result
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _no_program() -> Iterator[None]:
    """Hides the running program, which a spawned process would otherwise run again."""
    program = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = program


def _begin(packed: str) -> None:
    """Initialises a worker: one thread, no Ctrl-C handling, and exit when the parent exits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with open(packed, "rb") as file:
        _WORK["work"] = pickle.load(file)


def _call(item: Any) -> Any:
    return _WORK["work"](item)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()  # a parent killed with -9 closes no queue
        os._exit(1)
