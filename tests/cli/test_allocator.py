"""Freed memory is kept: it stays with the process, for the next tensor."""

import subprocess
import sys

import pytest

KEPT = """
import os, torch
from idinvert.cli.devices import keep_freed_memory
assert not KEEP or keep_freed_memory()
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
torch.ones(10)
before = resident()
torch.ones(5_000_000)  # 20 MB, freed at once
print(resident() - before)
"""


def kept(*, keep: bool) -> int:
    words = [sys.executable, "-c", KEPT.replace("KEEP", str(keep))]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc alone")
def test_memory_that_was_freed_stays_with_the_process() -> None:
    assert kept(keep=True) > 15e6
    assert kept(keep=False) < 5e6
