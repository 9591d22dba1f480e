"""What a record says besides its figures; whoever starts a task knows it and hands it in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where an evaluation comes from.

    Attributes:
        run: run id.
        choices: what was chosen to make the run; the inverter's are added by the task.
        nimg: images that the run had seen in training.
        checkpoints: role to content hash, for example `{"generator": "1f2e…"}`.
        seed: of the evaluation.
        command: the command line.
        versions: package to version.
    """

    run: str
    choices: Mapping[str, Any] = field(default_factory=dict)
    nimg: int = 0
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    def choices_with(self, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The choices, with the inverter's under `inversion`."""
        return {**self.choices, "inversion": {"name": name, **settings}}


def precision_in_words(trainer: Mapping[str, Any] | None) -> str:
    """A Trainer's precision, and TF32 where a GPU may round to it."""
    words = str((trainer or {}).get("precision") or "32-true")
    return words if torch.get_float32_matmul_precision() == "highest" else f"{words}, tf32"


def device_in_words(device: torch.device) -> str:
    """A GPU's name, or the CPU with its threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"
