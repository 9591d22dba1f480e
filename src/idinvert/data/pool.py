"""Work on many items in several processes: results in order, and no process outlives its parent."""

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

_AHEAD = 3  # items a worker may be ahead of the results that were taken

_WORK: dict[str, Callable[[Any], Any]] = {}
"""In a worker: what it does with an item."""


def cores() -> int:
    """Cores this process may use: its affinity, and the quota of its container."""
    from joblib import cpu_count

    return int(cpu_count())


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], *, workers: int
) -> Generator[Result, None, None]:
    """Yields `work(item)` for each item, in the order of the items.

    The workers do not import the program that is running: it need not guard its start with
    `if __name__ == "__main__"`. They ignore Ctrl-C, which ends this generator and thereby them.

    Args:
        work: Can be pickled; each worker gets it once.
        items: Can be pickled.
        workers: Processes. 1 works in this one, and so does a process that may have no children,
            such as a worker of a DataLoader.

    Raises:
        BrokenProcessPool: A worker was killed.
    """
    if workers == 1 or multiprocessing.current_process().daemon:
        yield from map(work, items)
        return
    items = iter(items)
    first = list(itertools.islice(items, _AHEAD * workers))
    waiting: deque[Future[Result]] = deque()
    # Not by the pipe that starts a process: the parent would wait for ever for a child that died.
    with tempfile.NamedTemporaryFile() as packed:
        pickle.dump(work, packed)
        packed.flush()
        pool = ProcessPoolExecutor(
            min(workers, max(len(first), 1)),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(packed.name,),
        )
        # All processes start before the pool's thread watches them. Else one that is killed while
        # another starts leaves the pool waiting for that other one without end.
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
    """Hides the running program, which a spawned process would otherwise run once more."""
    program = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = program


def _begin(packed: str) -> None:
    """Sets a worker up: one thread, Ctrl-C left to the parent, and an end when the parent ends."""
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
