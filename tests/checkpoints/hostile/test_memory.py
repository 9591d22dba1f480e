"""No crafted or damaged file makes a reader ask for much more memory than the file has bytes."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .bombs import bombs
from .opening import open_all
from .samples import containers
from .test_mutations import damaged

MEGABYTES = 256  # beyond what the process has; the largest file has 9
STATUS = Path("/proc/self/status")


def status(field: str) -> int:
    """A size of this process, in bytes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) << 10


@contextmanager
def address_space(extra: int) -> Iterator[None]:
    """At most so many bytes more may be asked for; more is a MemoryError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (status("VmSize") + extra, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.is_file(), reason="reads Linux's account of the process")
def test_memory_stays_within_bounds(tmp_path, capsys):
    open_all(containers().items(), place=tmp_path / "file")  # imports what is imported late
    files = [*bombs(), *damaged(80, tmp_path)]
    with address_space(MEGABYTES << 20):
        with pytest.raises(MemoryError):
            bytearray(2 * MEGABYTES << 20)  # the bound is one
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
        before = status("VmRSS")
        outcome = open_all(files, place=tmp_path / "file", large=0)
        grown = (status("VmHWM") - before) >> 20
    with capsys.disabled():
        print(f"\n{len(files)} hostile files: at most {grown} MB more at one time")
    assert outcome.wrong == [] and grown < MEGABYTES
    starved = "machine's memory", "not enough memory", "allocate"
    assert not [said for said in outcome.messages.values() if any(word in said for word in starved)]
