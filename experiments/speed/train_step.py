"""How long one training step takes, and which networks take it, with the Trainer of train.py.

    python experiments/speed/train_step.py experiment=domain_guided
    python experiments/speed/train_step.py experiment=gan --versus "batch_size=64"

Several variants alternate in one process: the configuration as given, then each ``--versus``
(further overrides in one string; the word ``compile`` compiles E, F and G's synthesis).
"""

import tempfile
import time
import warnings
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from bench import Variant, arguments, prepare, report, side_by_side, wait
from shares import shares
from torch.utils.data import DataLoader

from idinvert.cli.assemble import assemble
from idinvert.cli.devices import quieten_lightning
from idinvert.cli.trained_gans import with_trained_generator
from idinvert.config.compose import compose_plain
from idinvert.config.instantiate import build

VERSUS = ("trainer.precision=bf16-mixed", "accumulate=2", "batch_size=8", "compile")
"""Variants measured in addition to the configuration, unless others are given."""
LETTERS = {"encoder": "E", "generator": "G", "discriminator": "D", "perceptual": "F"}


class Clock(pl.Callback):
    """(Wall, CPU) seconds of each training step."""

    def __init__(self, device: str) -> None:
        self.device, self.steps = device, list[tuple[float, float]]()

    def on_train_batch_start(self, *_: Any) -> None:
        """Waits for the device and starts the time."""
        wait(self.device)
        self.begin = time.perf_counter(), time.process_time()

    def on_train_batch_end(self, *_: Any) -> None:
        """Waits for the device and stops the time."""
        wait(self.device)
        wall, cpu = self.begin
        self.steps.append((time.perf_counter() - wall, time.process_time() - cpu))


class Training:
    """One configuration's module, its images and a Trainer for a few steps."""

    def __init__(self, overrides: Sequence[str], *, device: str, steps: int) -> None:
        words = [word for word in overrides if word != "compile"]
        config = with_trained_generator(compose_plain("train", words))
        config["data"] = few_images(config["data"])
        self.config, self.device, self.count = config, device, steps
        self.batch = config["batch_size"]
        module = assemble(config).module
        self.networks = {
            letter: getattr(module, name)
            for name, letter in LETTERS.items()
            if getattr(module, name, None) is not None
        }
        if "compile" in overrides:
            for letter in "EF":
                if letter in self.networks:
                    self.networks[letter].compile()
            self.networks["G"].synthesis.compile()
        self.module = module
        side = config["data"]["resolution"]
        rng = torch.Generator().manual_seed(0)
        shape = (self.batch, 3, side, side)
        self.images = torch.randint(0, 256, shape, generator=rng, dtype=torch.uint8)

    def run(self) -> list[tuple[float, float]]:
        """Trains for one warm-up step and `count` counted steps."""
        clock, trainer = Clock(self.device), self.config["trainer"]
        fit(self.module, self.images, trainer, clock, device=self.device, steps=self.count + 1)
        return clock.steps[1:]


def fit(
    module: pl.LightningModule,
    images: torch.Tensor,
    trainer: dict[str, Any],
    clock: pl.Callback,
    *,
    device: str,
    steps: int,
) -> None:
    """Trains repeatedly on one batch, uint8 ``[N, 3, R, R]``.

    Args:
        module: The objective.
        images: The batch.
        trainer: The Trainer's configuration node.
        clock: Callback that measures the time.
        device: "cpu" or "cuda".
        steps: Number of steps.
    """
    runner = build(
        trainer | {"accelerator": "gpu" if device == "cuda" else "cpu"},
        key="trainer",
        max_epochs=1,
        limit_val_batches=0,
        logger=False,
        callbacks=[clock],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    batches = [{"image": images}] * steps
    runner.fit(module, DataLoader(batches, batch_size=None))  # type: ignore[arg-type]


def few_images(data: dict[str, Any]) -> dict[str, Any]:
    """Returns the data's node with few images if they are rendered, because the step needs none."""
    if not data["_target_"].startswith("idinvert.toy.miniature."):
        return data
    counts = {"train": 8, "test": 1, "val": 1}
    return data | {name: counts[name] for name in counts if name in data}


def main() -> None:
    """Entry point."""
    parser = arguments(__doc__, repeats=8)
    parser.add_argument("--steps", type=int, default=2, help="steps that count in one turn")
    parser.add_argument("--versus", action="append", help="overrides of one more variant")
    options = parser.parse_args()
    prepare(options)
    quieten_lightning()
    warnings.filterwarnings("ignore", ".*no `val_dataloader`")
    with tempfile.TemporaryDirectory() as cache:
        trainings, variants = {}, []
        for versus in ("", *(VERSUS if options.versus is None else options.versus)):
            name = versus or "as configured"
            overrides = [*options.overrides, f"system.cache={cache}", *versus.split()]
            training = Training(overrides, device=options.device, steps=options.steps)
            trainings[name] = training
            variants.append(Variant(name, training.batch, training.run))
        found = side_by_side(variants, repeats=options.repeats, device=options.device)
        first = trainings["as configured"]
        whose = shares(first.run, first.networks, device=options.device)
    report(found, options, shares=whose)
    print(f"share of a step as configured: {whose}")


if __name__ == "__main__":
    main()
