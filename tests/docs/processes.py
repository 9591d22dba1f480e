"""Page commands that are programs with processes of their own: sweeps, ranks, printed keys."""

import os
import subprocess
import sys
from collections.abc import Sequence

from tests.docs.pages import REPOSITORY

SECONDS = 1500
RANKS = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


def run_file(program: str, words: Sequence[str], *, before: Sequence[str] = ()) -> None:
    """``python train.py words`` in the folder where the test stands.

    Args:
        program: ``"train"`` or ``"evaluate"``.
        words: Its arguments.
        before: Between ``python`` and the file, as `RANKS`.

    Raises:
        AssertionError: It does not exit with zero; what it printed.
    """
    done = subprocess.run(
        [sys.executable, *before, str(REPOSITORY / f"{program}.py"), *words],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
