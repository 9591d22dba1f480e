"""Handles the end of both programs after a signal, or when memory or the disk is full."""

import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch

from idinvert.cli.devices import out_of_memory
from idinvert.cli.slurm import in_cluster_job
from idinvert.config.run_folder import is_first_process
from idinvert.errors import PLACES, DataError, IdinvertError, OutputError, as_typed
from idinvert.tracking.run_files import read_facts
from idinvert.untrusted import IrregularError

LONGEST = 500
"""Maximum characters of another library's message."""


def explained(error: BaseException, *, program: str) -> IdinvertError | None:
    """Converts an expected error to one with a one-line message; ``None`` if it is unexpected.

    Args:
        error: The exception that ended the work.
        program: ``"train"`` or ``"evaluate"``.
    """
    words = " ".join(str(error).split())[:LONGEST]
    if isinstance(error, IdinvertError):
        return error
    if isinstance(error, BrokenProcessPool) or "DataLoader worker (pid" in words:
        return DataError(
            f"a process that loads images was killed ({words}), most likely because the main or "
            "shared memory was full. Use system.num_workers=0; give the same command again to "
            "continue."
        )
    full = isinstance(error, MemoryError | torch.OutOfMemoryError)
    if full or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in words):
        return out_of_memory(error, program=program)  # type: ignore[arg-type]
    if isinstance(error, IrregularError | IsADirectoryError):
        return OutputError(f"{words}. Move it away and give the same command again.")
    if isinstance(error, OSError) and error.errno in PLACES:
        return OutputError(
            f"{words}. Free some space, or give a folder that can be written (system.outputs; "
            "IDINVERT_CACHE for the cache); give the same command again to continue."
        )
    return None


@contextmanager
def stopped_by_signals() -> Iterator[list[int]]:
    """Makes Ctrl-C and SIGTERM raise ``KeyboardInterrupt``; a second signal ends the process.

    Finished work of an evaluation is on disk. During training steps, `StopAtNimg` handles the
    signals too, and Lightning calls this handler beside its own.

    Yields:
        The signals received so far; needed because Lightning converts the exception.
    """
    caught: list[int] = []
    home = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() == home:
            if caught:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            caught.append(number)
            if is_first_process():
                name = signal.Signals(number).name
                print(f"\n{name}: stopping; once more to quit now.", file=sys.stderr, flush=True)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {n: signal.signal(n, stop) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def end_as_the_run(folder: Path) -> None:
    """Exits with the status of the signal that stopped the run, once the run has been saved.

    In a cluster job, SIGTERM is not a failure: the job is queued again (`cli.slurm`) or was
    cancelled. Neither are SIGUSR1 and SIGUSR2, which only request a checkpoint.

    Raises:
        SystemExit: 130 after Ctrl-C, 143 after SIGTERM.
    """
    stopped_by = read_facts(folder).get("stopped_by") if is_first_process() else None
    if stopped_by == "SIGINT" or (stopped_by == "SIGTERM" and not in_cluster_job()):
        raise SystemExit(128 + signal.Signals[stopped_by])


@contextmanager
def ends_in_words(program: str) -> Iterator[None]:
    """A context for a program's work: after an expected error or a signal it exits with one line.

    Raises:
        SystemExit: 2 for an error, 130 after Ctrl-C, 143 after SIGTERM.
    """
    caught: list[int] = []
    try:
        with stopped_by_signals() as caught:
            yield
    except BaseException as error:
        known = explained(error, program=program)
        if caught or isinstance(error, KeyboardInterrupt):
            if is_first_process():
                again = as_typed(f"python {program}.py {shlex.join(sys.argv[1:])}")
                print(f"stopped; finished work is kept. To continue: {again}", file=sys.stderr)
            raise SystemExit(128 + (caught or [signal.SIGINT])[0]) from None
        if known is None:
            raise
        print(f"error: {known}", file=sys.stderr)
        raise SystemExit(2) from error
