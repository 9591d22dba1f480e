"""Encoder training with one process and with two (DDP, gloo): speed, and agreement of the losses.

    python experiments/speed/ranks.py --images 2_048
    python experiments/speed/ranks.py experiment=conventional

Whole runs of ``train.py`` alternate, with one thread per process: one process, two that share its
batch (strong scaling), and two with a batch of its size each (weak scaling). The speed is that of
the logged steps, so neither start nor validation counts. Losses agree except for D's minibatch
deviation, which sees the images of one process.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import arguments, keep, prepare

from idinvert.config.compose import compose_plain

ROOT = Path(__file__).resolve().parents[2]
WAYS = {"1 process": (1, 1), "2 processes, one batch": (2, 1), "2 processes, two batches": (2, 2)}
"""Name to number of processes, and the batch of a step in units of the one process's batch."""


def trained(words: list[str], *, ranks: int, place: Path) -> list[dict[str, Any]]:
    """Returns the logged rows of one run's training steps."""
    trainer = "trainer=cpu" if ranks == 1 else f"trainer=ddp_cpu trainer.devices={ranks}"
    command = [sys.executable, str(ROOT / "train.py"), *words, *trainer.split()]
    command += [f"system.outputs={place}", "system.num_threads=1", "data.val=0"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (file,) = place.rglob("metrics.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [row for row in rows if "images_per_second" in row]


def apart(rows: list[dict[str, Any]], others: list[dict[str, Any]]) -> list[float]:
    """Returns the relative difference of two runs' pixel losses at each step."""
    pairs = zip(rows, others, strict=True)
    return [abs(row["loss/pixel"] / other["loss/pixel"] - 1) for row, other in pairs]


def main() -> None:
    """Entry point."""
    parser = arguments(__doc__, repeats=2)
    parser.add_argument("--images", type=int, default=2048, help="that a run sees")
    options = parser.parse_args()
    prepare(options)
    batch = compose_plain("train", options.overrides)["batch_size"]
    speeds: dict[str, list[float]] = {way: [] for way in WAYS}
    losses: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(options.repeats):
            for way, (ranks, batches) in WAYS.items():
                words = [*options.overrides, f"batch_size={batch * batches}", "recalibrate=0"]
                words += [f"nimg={options.images}", f"logging.every_nimg={batch * batches}"]
                place = Path(folder) / f"{turn}-{ranks}-{batches}"
                losses[way] = trained(words, ranks=ranks, place=place)
                speeds[way] += [row["images_per_second"] for row in losses[way][2:]]
    alone = statistics.median(speeds["1 process"])
    for way, (ranks, batches) in WAYS.items():
        median = statistics.median(speeds[way])
        row = {"what": "ranks.py", "variant": way, "ranks": ranks, "images": batch * batches}
        row |= {"images_per_second": median, "fastest": max(speeds[way]), "speedup": median / alone}
        if batches == 1:
            found = apart(losses[way], losses["1 process"])
            row |= {"first_losses_apart": found[0], "losses_apart": max(found)}
        print(row, flush=True)
        keep(row, options)


if __name__ == "__main__":
    main()
