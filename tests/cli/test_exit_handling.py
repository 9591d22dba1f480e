"""How the programs end: one line for a machine without room, and exit codes for signals."""

import contextlib
import errno
import itertools
import os
import pkgutil
import random
import re
import signal
import subprocess
import sys
import warnings
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
import torch

import idinvert.__main__ as start
from idinvert.cli import commands
from idinvert.cli.exit_handling import ends_in_words, explained
from idinvert.errors import ConfigError, Note, as_typed, exit_status, show_notes_plainly
from idinvert.tracking.run_files import write_status
from tests.processes import REPOSITORY, interpreter


def test_a_note_is_printed_once_whatever_sets_a_filter_in_between(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    with warnings.catch_warnings(record=True) as caught:
        show_notes_plainly()
        for text in ("two files", "one file", "two files"):
            warnings.filterwarnings("ignore", "of a library")
            warnings.warn(text, Note, stacklevel=1)
        told = [warnings.formatwarning(one.message, Note, "file.py", 1) for one in caught]
    assert told == ["note: two files\n", "note: one file\n", ""]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/x/y"),
            "No space.*/x/y.*system.outputs",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "Permission.*system.outputs"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/x"), "system.outputs"),
        (OSError(errno.EROFS, "Read-only file system", "/x"), "Read-only.*system.outputs"),
        (MemoryError(), "out of memory.*batch_size"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory.*batch_size"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: not enough"),
            "out of memory.*batch_size",
        ),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "num_workers=0"),
        (BrokenProcessPool("A process in the pool died"), "num_workers=0"),
        (ConfigError("as it is"), "as it is"),
    ],
)
def test_what_a_user_can_mend_is_one_line_with_a_key(error, words, capsys):
    with pytest.raises(SystemExit) as caught, ends_in_words("evaluate"):
        raise error
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert explained(error, program="evaluate") is not None

    assert re.search(words, line), line


def test_ctrl_c_while_programs_are_imported_is_one_line(capsys, monkeypatch):
    def interrupted(name):
        raise KeyboardInterrupt

    def interrupted_with_another_error(name):
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            raise AttributeError("half made")  # as OmegaConf's flags while Hydra is imported

    for name, fails in itertools.product(
        start.PROGRAMS, (interrupted, interrupted_with_another_error)
    ):
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as caught:
            patch.setattr(pkgutil, "resolve_name", fails)
            before = signal.signal(signal.SIGINT, signal.default_int_handler)
            getattr(start, name)()
        assert signal.signal(signal.SIGINT, before) is signal.default_int_handler
        assert caught.value.code == 130
        assert capsys.readouterr().err == "\nstopped; give the same command again to continue\n"
    script = "import sys, idinvert.__main__; print({'hydra', 'torch', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "set()\n", "what takes long comes after Ctrl-C is listened for"


@pytest.mark.slow
def test_a_signal_while_a_program_starts_leaves_no_traceback(tmp_path):
    out = f"system.outputs={tmp_path}"
    words = ["experiment=domain_guided", out], ["task=manipulation", out]
    rng = random.Random()
    for number in (signal.SIGINT, signal.SIGTERM) * 10:
        name, more = rng.choice(list(zip(("train.py", "evaluate.py"), words, strict=True)))
        process = interpreter(name, *more, cwd=REPOSITORY)
        delay = rng.uniform(0.0, 2.0)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=delay)
        process.send_signal(number)
        output = process.communicate(timeout=60)[0]
        told = f"{name} after {delay:.3f} s: {process.returncode} {output}"
        if "init_import_site" not in output:  # Python itself had not started
            assert process.returncode in (128 + number, -number), told
            assert "Traceback" not in output, told


@pytest.mark.parametrize(
    ("stopped_by", "job", "code"),
    [
        ("SIGINT", None, 130),
        ("SIGTERM", None, 143),
        ("SIGUSR1", None, 0),
        (None, None, 0),
        ("SIGINT", "SLURM_JOB_ID", 130),
        ("SIGTERM", "SLURM_JOB_ID", 0),
        ("SIGTERM", "SUBMITIT_EXECUTOR", 0),
    ],
)
def test_a_training_that_a_signal_stopped_ends_with_its_code(
    stopped_by, job, code, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    if job:
        monkeypatch.setenv(job, "7")

    def work(config, *, given):
        write_status(tmp_path, state="stopped", nimg=8, stopped_by=stopped_by)
        return tmp_path

    ended = 0
    try:
        commands._guarded("train", work, {}, {})
    except SystemExit as end:
        ended = int(end.code or 0)
    assert ended == code


def test_commands_in_messages_are_those_that_the_user_has(monkeypatch):
    said = "Train it: python train.py a=1, then python evaluate.py run=RUN"
    assert as_typed(said) == said
    monkeypatch.setattr(Path, "is_dir", lambda path: path.name == "conf")
    assert str(ConfigError(said)) == "Train it: idinvert-train a=1, then idinvert-evaluate run=RUN"


def test_what_nobody_expected_keeps_its_traceback():
    for error in (ValueError("a fault"), FileNotFoundError(2, "No such file"), RuntimeError("x")):
        with pytest.raises(type(error)), ends_in_words("train"):
            raise error


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_work_whatever_a_library_makes_of_it(number, code, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["evaluate.py", "run=a b", "n=3"])
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(SystemExit) as caught, ends_in_words("evaluate"):
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt:
            raise SystemExit(1) from None  # as Lightning does
    assert caught.value.code == code
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before
    err = capsys.readouterr().err
    assert f"{number.name}: stopping; once more to quit now." in err
    assert "To continue: python evaluate.py 'run=a b' n=3" in err


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left.*Free some space"),
        (PermissionError(errno.EACCES, "Permission denied", "out.zip"), "out.zip.*Free some"),
        (MemoryError(), "out of memory"),
    ],
)
def test_the_small_programs_end_in_one_line(error, words, capsys):
    def work():
        raise error

    assert exit_status(work) == 2
    printed = capsys.readouterr().err
    assert re.search(words, printed) and printed.count("\n") == 1
    with pytest.raises(ZeroDivisionError):
        exit_status(lambda: print(1 / 0))
