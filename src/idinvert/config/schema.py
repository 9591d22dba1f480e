"""The top-level keys of the two commands, with their types; groups are checked by signature."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Checkpoints:
    """When checkpoints are written, and how many stay."""

    every_nimg: int = 50_000
    keep: int = 3


@dataclass
class Logging:
    """Images between two rows, two validations and two pictures, and what the pictures show."""

    every_nimg: int = 1_000
    validate_every_nimg: int = 10_000
    panel_every_nimg: int = 10_000
    panel_images: int = 8
    panel_steps: int | None = 20
    panel_directions: str | None = "auto"
    panel_direction: str | None = None


@dataclass
class TrainConfig:
    """What ``train.py`` takes; a key that is not here is a typo."""

    run: str | None = None
    classes: list[str] = field(default_factory=list)
    seed: int = 0
    batch_size: int = 32
    accumulate: int = 1
    eval_batch_size: int = 64
    nimg: int = 100_000
    recalibrate: int = 1_000
    max_seconds: float | None = None
    optimized_metric: str | None = None
    checkpoint: Checkpoints = field(default_factory=Checkpoints)
    logging: Logging = field(default_factory=Logging)
    scale: Any = None
    data: Any = None
    generator: Any = None
    discriminator: Any = None
    encoder: Any = None
    latent: Any = None
    perceptual: Any = None
    attributes: Any = None
    objective: Any = None
    augment: Any = None
    metric: Any = None
    trainer: Any = None
    logger: Any = None
    system: Any = None
    sweep: Any = None
    row: int | None = None


@dataclass
class EvaluateConfig:
    """What ``evaluate.py`` takes; a key that is not here is a typo."""

    run: str | None = None
    classes: list[str] = field(default_factory=list)
    split: str = "test"
    n: int | None = None
    images: str | None = None
    recompute: bool = False
    verify: bool = False
    evaluate_missing: bool = True
    records: str | None = None
    seed: int = 0
    reference: str = "disjoint"
    batch_size: int | None = None
    scale: Any = None
    data: Any = None
    generator: Any = None
    encoder: Any = None
    perceptual: Any = None
    attributes: Any = None
    inversion: Any = None
    task: Any = None
    metric: Any = None
    table: Any = None
    trainer: Any = None
    logger: Any = None
    system: Any = None
    sweep: Any = None
    row: int | None = None
