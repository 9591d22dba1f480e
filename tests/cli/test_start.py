"""A process of its own: what the programs import, what they print, what they do with memory."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, sys
import pytorch_lightning
before = set(sys.modules)
import idinvert.cli.train, idinvert.cli.evaluate
print(*{name.split(".")[0] for name in set(sys.modules) - before})

import torch
from idinvert.cli import commands, devices
def kept():
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    torch.ones(10)
    before = resident()
    torch.ones(5_000_000)  # 20 MB, freed at once
    return resident() - before
if sys.platform.startswith("linux"):  # glibc's malloc alone
    print(kept(), devices.keep_freed_memory(), kept())
sys.argv[1:] = ["sede=1"]
commands.evaluate()
"""
HEAVY = {"lpips", "sklearn", "pandas", "IPython", "gradio", "lmdb", "optuna", "submitit"}


@pytest.mark.slow
def test_a_program_in_a_process_of_its_own(tmp_path: Path) -> None:
    words = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert done.stderr == "error: sede=1: there is no such key. Did you mean 'seed'?\n"
    assert list(tmp_path.iterdir()) == []
    modules, *memory = done.stdout.splitlines()
    assert "idinvert" in modules.split()
    assert not set(modules.split()) & HEAVY, "nothing heavy that few runs need"
    for line in memory:
        plain, told, kept = line.split()
        assert (int(plain) < 5e6, told, int(kept) > 15e6) == (True, "True", True)
