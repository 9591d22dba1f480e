"""The description of program and machine in records: command, commit, versions, device."""

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import idinvert
from idinvert.config.argv import for_shell

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "torchmetrics", "torch-fidelity", "numpy")


def versions() -> dict[str, str]:
    """Returns versions of this package, Python and the packages that metrics depend on."""
    found = {"idinvert": idinvert.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found


def commit() -> str:
    """Returns the commit of the checkout this code runs from, with ``+`` if it is modified."""
    here = ["git", "-C", str(Path(idinvert.__file__).parent)]
    try:
        head, changed = (
            subprocess.run([*here, *words], capture_output=True, text=True, check=True).stdout
            for words in (
                ("rev-parse", "--short=12", "HEAD"),
                ("status", "--porcelain", "--untracked-files=no"),
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return "not a checkout"
    return head.strip() + ("+" if changed.strip() else "")


def command() -> str:
    """Returns the command line quoted for a shell, without keys of this machine (``system.*``)."""
    words = [word for word in sys.argv[1:] if not word.startswith("system.")]
    return for_shell([Path(sys.argv[0]).name, *words])


def device_in_words(device: torch.device) -> str:
    """Returns a GPU's name, or the device type with the number of CPU threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"
