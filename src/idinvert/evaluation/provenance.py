"""What a record says besides its metrics: run, choices, checkpoints, command, versions, device."""

import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import idinvert

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "torchmetrics", "torch-fidelity", "numpy")


@dataclass(frozen=True, kw_only=True)
class Provenance:
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

    @classmethod
    def of(
        cls,
        header: Mapping[str, Any],
        *,
        checkpoints: Mapping[str, str],
        role: str,
        choices: Mapping[str, Any],
    ) -> "Provenance":
        """What the header of a run's weights says, and this command and program.

        Args:
            header: Of the encoder's file, or of the generator's where no encoder is used.
            checkpoints: Role to content hash.
            role: Whose hash is the run id of weights from another program.
            choices: Those of such weights.
        """
        return cls(
            run=header.get("run", checkpoints[role]),
            choices=header.get("choices", choices),
            nimg=header.get("nimg", 0),
            checkpoints=checkpoints,
            seed=header.get("seed", 0),
            command=command(),
            versions=versions() | trained_by(header),
        )


def versions() -> dict[str, str]:
    """Versions of this package, Python and the packages that metrics depend on."""
    found = {"idinvert": idinvert.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found


def trained_by(provenance: Mapping[str, Any]) -> dict[str, str]:
    """The commit whose code trained the weights: runs of one id may differ by its rounding."""
    return {"trained_by": str(provenance["commit"])} if "commit" in provenance else {}


def commit() -> str:
    """The commit of the checkout this code runs from, with ``+`` if it has been changed since."""
    folder = Path(idinvert.__file__).parent
    try:
        head = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "--short=12", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "not a checkout"
    return head + ("+" if changed else "")


def command() -> str:
    """The command line, without what belongs to this machine alone (``system.*``)."""
    words = [word for word in sys.argv[1:] if not word.startswith("system.")]
    return " ".join([Path(sys.argv[0]).name, *words])


def device_name(accelerator: str) -> str:
    """A GPU's name, or the CPU with the number of threads."""
    if accelerator != "cpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} threads"


def precision_in_words(trainer: Mapping[str, Any] | None) -> str:
    """A Trainer's precision, and TF32 where a GPU may round to it."""
    words = str((trainer or {}).get("precision") or "32-true")
    return words if torch.get_float32_matmul_precision() == "highest" else f"{words}, tf32"


def device_in_words(device: torch.device) -> str:
    """A GPU's name, or the CPU with its threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"
