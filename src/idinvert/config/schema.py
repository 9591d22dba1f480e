"""The top-level keys of the two commands, with their types; groups are checked by signature."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf


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


def shipped_for(data: str) -> str:
    """The name of the shipped bundle that belongs to a data set; the faces' to what has none.

    Args:
        data: The ``_target_`` of its node; a miniature domain's ends in the domain's name.
    """
    name = data.rsplit(".", 1)[-1]
    return name if name.endswith("_mini") else "faces_mini"


def of_target(values: Mapping[str, Any], target: str | None, other: Any) -> Any:
    """The value that belongs to what a node builds.

    Args:
        values: By the last word of a ``_target_``: the name of a class or function.
        target: The node's ``_target_``.
        other: For any other, such as a class of the user's own.
    """
    return values.get((target or "").rsplit(".", 1)[-1], other)


def register() -> None:
    """Puts the schemas where the primary configs' defaults lists find them."""
    OmegaConf.register_new_resolver("shipped_for", shipped_for, replace=True)
    OmegaConf.register_new_resolver("of_target", of_target, replace=True)
    store = ConfigStore.instance()
    store.store(name="train_schema", node=TrainConfig)
    store.store(name="evaluate_schema", node=EvaluateConfig)
