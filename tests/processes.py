"""Other processes, as tests see them: forked programs, their children, whether they live."""

import atexit
import contextlib
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[1]
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["idinvert.cli.train", "idinvert.cli.evaluate", "idinvert.cli.sweep"])


class Program:
    """``python train.py WORDS`` or ``python evaluate.py WORDS``, with `subprocess.Popen`'s methods.

    The process is forked from one that has imported both programs and has done nothing else:
    imports take an interpreter longer than a tiny run takes. It has a session of its own.

    Args:
        name: ``"train"`` or ``"evaluate"``.
        words: The arguments.
        cwd: Where it runs; here by default.
        env: Variables beside those of this process.
    """

    def __init__(
        self,
        name: str,
        words: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._output = Path(self._folder.name, "output")
        self._output.touch()
        variables = os.environ | dict(env or {})
        request = (name, list(words), str(cwd or Path.cwd()), variables, str(self._output))
        # By its path: a process cannot import this file under the name that pytest gives it.
        self._process = FORKS.Process(
            target=runpy.run_path, args=(__file__, {"REQUEST": request}, "forked")
        )
        with pytest.MonkeyPatch.context() as patch:  # a process would begin with pytest's imports
            patch.setitem(sys.modules, "__main__", ModuleType("__main__"))
            self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0, self.output())
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        self.wait(timeout)
        return self.output(), None

    def output(self) -> str:
        """What it has printed so far, on both streams."""
        return self._output.read_text(encoding="utf-8")

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(name: str, words: list[str], cwd: str, variables: dict[str, str], output: str) -> None:
    os.setsid()
    with open(output, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(cwd)
    sys.argv = [str(REPOSITORY / f"{name}.py"), *words]
    warnings.simplefilter("ignore")
    from idinvert.cli import commands

    try:
        getattr(commands, name)()
    finally:  # as an interpreter ends, in its order
        threading._shutdown()
        atexit._run_exitfuncs()


def interpreter(*words: str, cwd: Path = REPOSITORY) -> subprocess.Popen[str]:
    """``python WORDS`` in a session of its own, where a test is about how processes start."""
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=cwd,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A job started with & ignores Ctrl-C, and so would all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def two_ranks() -> list[dict[str, str]]:
    """The variables that ``torchrun --nproc-per-node=2`` gives to its processes."""
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    group |= {"LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0", "GROUP_WORLD_SIZE": "1"}
    group |= {"TORCHELASTIC_RUN_ID": "tests"}
    return [group | {"RANK": rank, "LOCAL_RANK": rank} for rank in ("0", "1")]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def finish(*processes: Any, code: int = 0, timeout: float = 1200) -> str:
    """Waits for processes that are to end with a code; returns what they printed."""
    outputs = [process.communicate(timeout=timeout)[0] for process in processes]
    assert [process.returncode for process in processes] == [code] * len(processes), outputs
    return "".join(outputs)


def end(processes: Iterable[Any]) -> None:
    """Kills processes and what they have started; after it none of their sessions lives."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.poll() is None:
            process.communicate()


def children_of(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


if __name__ == "forked":
    _run(*globals()["REQUEST"])
