"""How fast images are delivered: when first rendered, and through the training loader.

    python experiments/speed/data.py
    python experiments/speed/data.py data=folder data.path=photographs.zip scale.resolution=256

The ratio shows whether the loader or the network is slower: compare with train_step.py.
"""

import itertools
import tempfile
from collections.abc import Callable
from typing import Any

from bench import Times, Variant, arguments, numbers, prepare, report, side_by_side, timed

from idinvert.config.compose import compose_plain
from idinvert.config.instantiate import build
from idinvert.data.datamodule import ImageDataModule


def loading(domain: Any, *, batch_size: int, workers: int, batches: int) -> Callable[[], Any]:
    """Returns one turn: batches of the training stream, without the first, which starts workers."""

    def turn() -> list[tuple[float, float]]:
        module = ImageDataModule(domain=domain, batch_size=batch_size, seed=0, num_workers=workers)
        stream = iter(module.train_dataloader())
        next(stream)
        wall, cpu = timed(lambda: list(itertools.islice(stream, batches)), "cpu")
        return [(wall / batches, cpu / batches)]

    return turn


def main() -> None:
    """Entry point."""
    parser = arguments(__doc__, repeats=5)
    parser.add_argument("--images", type=int, default=2_048, help="of a miniature, to render")
    parser.add_argument("--batches", type=int, default=20, help="batches of one turn")
    parser.add_argument("--workers", type=numbers, default=[0, 2], help="loader processes")
    options = parser.parse_args()
    prepare(options)
    config = compose_plain("train", options.overrides)
    batch_size, node = config["batch_size"], config["data"]
    found = []
    with tempfile.TemporaryDirectory() as cache:
        if node["_target_"].startswith("idinvert.toy.miniature."):
            counts = {"train": options.images, "test": 1, "val": 1, "cache_dir": cache}
            node = node | {name: value for name, value in counts.items() if name in node}
        # A split is rendered when its first image is used.
        wall, cpu = timed(lambda: build(node, key="data").train[0], "cpu")
        domain = build(node, key="data")
        found.append(Times("opened, rendered once", len(domain.train), [wall], [cpu]))
        variants = [
            Variant(
                f"stream, {workers} workers",
                batch_size,
                loading(domain, batch_size=batch_size, workers=workers, batches=options.batches),
            )
            for workers in options.workers
        ]
        found += side_by_side(variants, repeats=options.repeats, device="cpu")
    report(found, options, data=domain.name)


if __name__ == "__main__":
    main()
