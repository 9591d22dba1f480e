"""A process of its own: what the programs import, what they print, what they do with memory."""

import subprocess
import sys

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

IMPORTS = """
import atexit, sys
from idinvert import __main__ as programs
atexit.register(lambda: print(*set(sys.modules), file=sys.stderr))
sys.argv = sys.argv[1:]
getattr(programs, sys.argv[0].removesuffix(".py"))()
"""
LIGHTNING = {"pytorch_lightning", "torchmetrics", "torchvision", "torch_fidelity", "torch._dynamo"}
TORCH = {"torch", "matplotlib", "pandas", "wandb", *LIGHTNING}
TABLE = "evaluate_missing=false"
"""Shows a table and evaluates nothing."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "without"),
    [
        (["train.py", "--help"], TORCH),
        (["evaluate.py", "--version"], TORCH),
        (["train.py", "experiment=domain_guided", "--cfg", "job"], TORCH),
        (["evaluate.py", "task=manipulation", "--cfg", "job"], TORCH),
        (["checkpoints", "list"], TORCH),
        (["evaluate.py", "table=table1_methods", TABLE], LIGHTNING | {"matplotlib", "wandb"}),
        (["evaluate.py", "table=table2_editing", "scale=full", TABLE], LIGHTNING),
        (["evaluate.py", "table=fig10_lambda_dom", TABLE], LIGHTNING),
    ],
)
def test_what_is_only_shown_imports_neither_torch_nor_lightning(words, without, tmp_path):
    """Counted in modules, not in seconds: a table needs torch, and nothing that Lightning needs."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, *words], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not without & set(done.stderr.splitlines()[-1].split())


@pytest.mark.slow
def test_a_program_in_a_process_of_its_own(tmp_path):
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


QUIET = """
import sys
from idinvert.cli import devices
devices.quieten_lightning()
assert "pytorch_lightning" not in sys.modules, "imported later, when it sets its own level"
import pytorch_lightning
pytorch_lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
"""


@pytest.mark.slow
def test_lightning_greets_nobody(tmp_path):
    words = [sys.executable, "-c", QUIET]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
