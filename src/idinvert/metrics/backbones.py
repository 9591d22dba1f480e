"""torchvision's ImageNet backbones under LPIPS and precision/recall, found on this machine."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from idinvert.errors import ConfigError, MissingWeightsError


@dataclass(frozen=True)
class Backbone:
    """One published file; its name ends in the first eight digits of its sha256."""

    file: str

    @property
    def url(self) -> str:
        return f"https://download.pytorch.org/models/{self.file}"

    @property
    def sha256_prefix(self) -> str:
        return Path(self.file).stem.rsplit("-", 1)[1]


BACKBONES = {
    "alex": Backbone("alexnet-owt-7be5be79.pth"),
    "vgg": Backbone("vgg16-397923af.pth"),
    "squeeze": Backbone("squeezenet1_1-b8a52dc0.pth"),
}


def find_backbone(net: str, *, path: str | Path | None, key: str) -> Path:
    """Find a backbone's file: the path given, else torch's cache (`$TORCH_HOME/hub/checkpoints`).

    Args:
        net: `alex`, `vgg` or `squeeze`.
        path: local file, or None.
        key: config key that takes a local path, for the error.

    Raises:
        ConfigError: unknown `net`.
        MissingWeightsError: not on this machine. Nothing is ever downloaded here.
    """
    if net not in BACKBONES:
        raise ConfigError(f"unknown backbone {net!r}; expected one of {', '.join(BACKBONES)}")
    backbone = BACKBONES[net]
    cached = torch_home() / "hub" / "checkpoints" / backbone.file
    found = Path(path).expanduser() if path is not None else cached
    if not found.is_file():
        raise MissingWeightsError(
            f"no weights at {found}. Fetch {backbone.file} from {backbone.url} (sha256 begins "
            f"{backbone.sha256_prefix}) and give its path with {key}=..., or put it at {cached}"
        )
    return found


def torch_home() -> Path:
    """Where torch keeps downloads: `$TORCH_HOME`, `$XDG_CACHE_HOME/torch` or `~/.cache/torch`."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("TORCH_HOME", Path(cache) / "torch")).expanduser()


def sha256(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
