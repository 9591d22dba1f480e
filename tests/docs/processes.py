"""Page commands that are programs with processes of their own: sweeps, ranks, printed keys."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence

from tests.docs.pages import REPOSITORY

SECONDS = 1500
ONLY_STOPPED = re.compile(r"^(\d+) jobs?: \1 stopped$", re.MULTILINE)
RANKS = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


def run_file(program: str, words: Sequence[str], *, before: Sequence[str] = ()) -> None:
    """``python train.py words`` in the folder where the test stands.

    Args:
        program: ``"train"`` or ``"evaluate"``.
        words: Its arguments.
        before: Between ``python`` and the file, as `RANKS`.

    A sweep whose jobs all stop at `max_seconds` exits with 1, for they have not trained to their
    end; its table says so, and nothing else.

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
    only_stopped = done.returncode == 1 and ONLY_STOPPED.search(done.stdout)
    assert done.returncode == 0 or only_stopped, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
