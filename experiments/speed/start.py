"""How long the programs take before they do any work: CPU seconds of whole processes.

python experiments/speed/start.py --repeats 3
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import Variant, arguments, report, side_by_side

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {
    "import torch": ["-c", "import torch"],
    "import pytorch_lightning": ["-c", "import pytorch_lightning"],
    "import idinvert.cli.train": ["-c", "import idinvert.cli.train"],
    "import idinvert.cli.evaluate": ["-c", "import idinvert.cli.evaluate"],
    "train.py --cfg job": [str(ROOT / "train.py"), "experiment=domain_guided", "--cfg", "job"],
    "evaluate.py --cfg job": [str(ROOT / "evaluate.py"), "--cfg", "job"],
    "evaluate.py table=table1_methods": [
        *(str(ROOT / "evaluate.py"), "table=table1_methods", "evaluate_missing=false"),
        f"system.outputs={tempfile.gettempdir()}/idinvert-start",
    ],
}


def process(words: list[str]) -> Callable[[], list[tuple[float, float]]]:
    """Returns one turn: a whole process, with the CPU seconds of it and its children."""

    def turn() -> list[tuple[float, float]]:
        wall, before = time.perf_counter(), os.times()
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        cpu = after.children_user + after.children_system
        cpu -= before.children_user + before.children_system
        return [(time.perf_counter() - wall, cpu)]

    return turn


def main() -> None:
    """Entry point."""
    parser = arguments(__doc__, repeats=3)
    parser.add_argument("--only", choices=COMMANDS, action="append", help="one of them")
    options = parser.parse_args()
    variants = [Variant(name, 1, process(COMMANDS[name])) for name in options.only or COMMANDS]
    report(side_by_side(variants, repeats=options.repeats, device="cpu"), options)


if __name__ == "__main__":
    main()
