"""What the programs import before any work: nothing heavy beyond what Lightning needs itself."""

import subprocess
import sys

import pytest

LOOK = """
import sys
import pytorch_lightning
before = set(sys.modules)
import idinvert.cli.train, idinvert.cli.evaluate
print(*{name.split(".")[0] for name in set(sys.modules) - before})
"""
HEAVY = {"lpips", "sklearn", "pandas", "IPython", "gradio", "lmdb", "optuna", "submitit"}


@pytest.mark.slow
def test_both_programs_start_without_what_few_runs_need() -> None:
    run = subprocess.run([sys.executable, "-c", LOOK], check=True, capture_output=True, text=True)
    found = set(run.stdout.split())
    assert "idinvert" in found
    assert not found & HEAVY
