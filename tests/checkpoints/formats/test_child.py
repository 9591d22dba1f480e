"""The process that reads: what it may not do, and what becomes of one that does not come back."""

import os
import subprocess
import sys
import threading

import pytest

from idinvert.checkpoints.formats import read
from idinvert.checkpoints.formats.read import COMMAND, Limits, read_archive
from idinvert.errors import CheckpointError
from tests.checkpoints.hostile import assembler as a

KEY = "generator.path"
LOCKED = "import sys; from idinvert.checkpoints.formats.child import lock; lock(9, 1 << 30);"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file.pkl"
    path.write_bytes(a.proto(a.EMPTY_DICT))
    return path


@pytest.mark.parametrize(
    ("code", "event"),
    [
        ("open('/dev/null')", "open"),
        ("import ftplib", "import"),
        ("eval('1')", "compile"),
        ("sys.modules['os'].system('true')", "os.system"),
        ("sys.modules['os'].fork()", "os.fork"),
        ("sys.modules['_io'].open_code('/dev/null')", "open"),
    ],
)
def test_the_child_can_do_nothing_but_compute(code, event):
    ended = subprocess.run([sys.executable, "-c", f"{LOCKED} {code}"], capture_output=True)
    assert ended.returncode == 70 and ended.stderr.decode().split()[0] == event


def test_the_child_sees_neither_packages_nor_the_environment():
    """It starts with the standard library alone, which also makes it quick."""
    assert {"-I", "-S"} < set(COMMAND)
    code = "import sys; sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'site')))"
    child = f"import sys; sys.path.append({COMMAND[-1]!r}); "
    child += f"import idinvert.checkpoints.formats.child; {code}"
    assert subprocess.run([sys.executable, "-I", "-S", "-c", child]).returncode == 0


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; os.abort()", r"ended the process that reads it \(SIGABRT\)"),
        ("[0 for _ in iter(int, 1)]", "takes more than 1 s of processor time"),
        ("import time; time.sleep(60)", "not read within 20 s"),
        ("import sys; sys.exit('no such module')", "status 1 .*no such module"),
        ("import sys; sys.stdout.write('x')", "status 0"),
        ("import sys; sys.stdout.write('x' * 99)", "far more data"),
    ],
)
def test_whatever_ends_the_child_is_one_error(code, words, file, monkeypatch):
    limited = "import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 2));"
    monkeypatch.setattr(read, "COMMAND", (sys.executable, "-c", f"{limited} {code}"))
    monkeypatch.setattr(read, "limits", lambda size: Limits(1, 20.0, 1 << 30))
    with pytest.raises(CheckpointError, match=words) as caught:
        read_archive(file, key=KEY)
    assert str(file) in str(caught.value) and KEY in str(caught.value)
    with pytest.raises(ChildProcessError):  # no process is left behind
        os.waitpid(-1, os.WNOHANG)


def test_files_are_read_from_several_threads(file):
    found: list[object] = []
    threads = [
        threading.Thread(target=lambda: found.append(read_archive(file, key=KEY).content))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [{}] * 4
