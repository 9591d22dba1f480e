"""Schema of the keys that no signature describes: top-level keys, and groups without a class.

`config.values` checks these, and the other groups against the signatures of their classes.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Len

from idinvert.annotations import (
    Among,
    Count,
    Name,
    PathString,
    PathText,
    PositiveFloat,
    PositiveInt,
    Resolution,
    Seconds,
    Seed,
    Weight,
    Widths,
    Written,
)


@dataclass
class Checkpoints:
    """When checkpoints are written, and how many are kept."""

    every_nimg: PositiveInt = 50_000
    keep: PositiveInt = 3


@dataclass
class Logging:
    """Intervals of logged rows, validations and panels, in images; contents of the panels."""

    every_nimg: PositiveInt = 1_000
    validate_every_nimg: PositiveInt = 10_000
    panel_every_nimg: PositiveInt = 10_000
    panel_images: Count = 8
    panel_steps: PositiveInt | None = 20
    panel_directions: PathString | None = "auto"
    panel_direction: str | None = None


@dataclass
class TrainConfig:
    """Top-level keys of ``train.py``; any other key is an error."""

    run: PathString | None = None
    classes: list[str] = field(default_factory=list)
    name: str | None = None
    tags: list[str] = field(default_factory=list)
    callbacks: Any = None
    seed: Seed = 0
    batch_size: PositiveInt = 32
    accumulate: PositiveInt = 1
    eval_batch_size: PositiveInt = 64
    nimg: PositiveInt = 100_000
    recalibrate: Count = 1_000
    max_seconds: Seconds | None = None  # 0: one step
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
    segmenter: Any = None
    objective: Any = None
    augment: Any = None
    metric: Any = None
    trainer: Any = None
    logger: Any = None
    system: Any = None
    sweep: Any = None
    row: Count | None = None


@dataclass
class EvaluateConfig:
    """Top-level keys of ``evaluate.py``; any other key is an error."""

    run: PathString | None = None
    classes: list[str] = field(default_factory=list)
    name: str | None = None
    tags: list[str] = field(default_factory=list)
    split: Annotated[str, Among("test", "val", "train")] = "test"
    n: PositiveInt | None = None
    images: PathString | None = None
    recompute: bool = False
    verify: bool = False
    evaluate_missing: bool = True
    records: PathString | None = None
    seed: Seed = 0
    reference: Annotated[str, Among("disjoint", "same")] = "disjoint"
    batch_size: PositiveInt | Annotated[str, Among("auto")] | None = None
    scale: Any = None
    data: Any = None
    generator: Any = None
    encoder: Any = None
    perceptual: Any = None
    attributes: Any = None
    segmenter: Any = None
    inversion: Any = None
    observe: Any = None
    task: Any = None
    metric: Any = None
    table: Any = None
    trainer: Any = None
    logger: Any = None
    system: Any = None
    sweep: Any = None
    row: Count | None = None


@dataclass
class Scale:
    """Settings that differ between miniature and full scale."""

    name: Name
    resolution: Resolution
    channels: Widths | None
    encoder_channels: PositiveInt
    encoder_channels_max: PositiveInt | None
    w_dim: PositiveInt
    mapping_depth: PositiveInt
    batch_size: PositiveInt
    nimg: PositiveInt
    lr: PositiveFloat
    decay_every_nimg: PositiveInt
    delta_start_nimg: Count
    delta_every_nimg: PositiveInt
    checkpoint_every_nimg: PositiveInt
    log_every_nimg: PositiveInt
    validate_every_nimg: PositiveInt
    gan_nimg: PositiveInt
    gan_batch_size: PositiveInt
    gan_lr: PositiveFloat
    gan_tail: Annotated[list[Count], Len(2, 2)]
    gan_r1_gamma: Weight
    gan_r1_every: dict[str, PositiveInt]
    gan_path_length_every: dict[str, Count]
    gan_ema_rampup: Weight | None
    gan_w_avg_half_life: PositiveFloat
    n_test: PositiveInt
    inversion_batch_size: PositiveInt


@dataclass
class StoredNetwork:
    """A network that is read from a file."""

    path: PathText | None
    classes: list[str]


@dataclass
class StoredGenerator(StoredNetwork):
    """G from a file, and its architecture settings that the file does not contain."""

    fused_scale: bool | Literal["auto"] | None
    final_tanh: bool | None
    conv_clamp: PositiveFloat | Literal["none"] | None
    mapping_lr_mul: PositiveFloat | None
    label: Count | None


@dataclass
class Discriminator:
    """Initialisation of D."""

    init: Literal["generator", "checkpoint", "scratch"]
    path: PathText | None
    network: Any


@dataclass
class Latent:
    """The space of E's codes."""

    space: Literal["w_plus", "w", "z"]
    offset: Literal["auto", "w_avg", "none"]
    deltas: bool


@dataclass
class Perceptual:
    """F and its loss weight."""

    network: Any
    lambda_vgg: Weight


@dataclass
class NoAugmentation:
    """``augment=none``."""

    pipe: None


@dataclass
class Metrics:
    """Metrics, and the weights they need."""

    names: list[Name]
    inception_path: PathText | None
    lpips_path: PathText | None
    prc_vgg16_path: PathText | None
    extractors: dict[str, Any]


@dataclass
class System:
    """Settings of the machine: folders, processes, arithmetic, memory."""

    outputs: Annotated[PathString, Len(1)]
    cache: PathText | None
    print_config: bool
    num_workers: Count
    num_threads: PositiveInt | None
    tf32: bool
    compile: bool
    cuda_graphs: bool
    checkpoint_activations: bool


@dataclass
class Wandb:
    """Settings of the W&B run."""

    project: Name
    entity: str | None
    offline: bool
    group: str | None
    tags: list[str]
    artifacts: bool
    images: Count
    timeout: PositiveInt


@dataclass
class TensorBoard:
    """Settings of TensorBoard's writer."""

    flush_secs: PositiveInt


Precision = Literal[
    64, 32, 16, "64", "32", "16", "bf16", "64-true", "32-true", "16-true", "bf16-true", "16-mixed",
    "bf16-mixed", "transformer-engine", "transformer-engine-float16",
]  # fmt: skip
"""Copy of Lightning's values, so that checking them does not import Lightning."""


@dataclass
class Trainer:
    """Parameters of Lightning's Trainer whose own annotations are too loose for a check."""

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"]
    devices: (
        Literal["auto", -1, "-1"]
        | PositiveInt
        | Annotated[list[Count], Len(1)]
        | Annotated[str, Written(r"\d+(,\d+)*,?", "numbers such as 0,1")]
    )
    num_nodes: PositiveInt
    strategy: Name
    precision: Precision | None


TOP = {"train": TrainConfig, "evaluate": EvaluateConfig}
GROUPS: dict[str, type] = {
    "checkpoint": Checkpoints,
    "logging": Logging,
    "scale": Scale,
    "generator": StoredGenerator,
    "encoder": StoredNetwork,
    "discriminator": Discriminator,
    "latent": Latent,
    "perceptual": Perceptual,
    "augment": NoAugmentation,
    "metric": Metrics,
    "system": System,
    "logger.wandb": Wandb,
    "logger.tensorboard": TensorBoard,
}
"""Dotted key of each node without a ``_target_``, and the dataclass with its keys."""
