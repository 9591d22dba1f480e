"""LPIPS by the lpips package, with its backbone from a local file."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from idinvert.checkpoints.formats.read import read_state_dict
from idinvert.checkpoints.registry import ENTRIES, locate
from idinvert.checkpoints.strict_loading import StrictStateDict
from idinvert.data.content import file_hash
from idinvert.errors import ConfigError
from idinvert.metrics.paired import paired

LPIPS_KEY = "metric.lpips_path"
BACKBONES = {"alex": "alexnet", "vgg": "vgg16_imagenet", "squeeze": "squeezenet"}


class LPIPS(nn.Module):
    """Learned perceptual distance, version 0.1.

    The linear heads come with the package, the backbone from a file.

    Args:
        net: `alex`, `vgg` or `squeeze`.
        path: torchvision's ImageNet weights of that network (`.pth` or `.safetensors`, whole or
            `features` only); None for torch's own cache.

    Attributes:
        net: name of the backbone.
        backbone_sha256: sha256 of the file; part of the protocol.

    Raises:
        MissingWeightsError: the file is not on this machine; names file, URL, sha256 and
            `metric.lpips_path`.
        CheckpointError: the file is of another network; names the first mismatched tensors.
    """

    def __init__(self, *, net: str = "alex", path: str | Path | None = None) -> None:
        super().__init__()
        if net not in BACKBONES:
            raise ConfigError(f"lpips_{net}: unknown network; expected {', '.join(BACKBONES)}")
        file = locate(BACKBONES[net], path=path, key=LPIPS_KEY)
        self.net = net
        self.backbone_sha256 = file_hash(file)
        import lpips  # here, because every command would wait for it

        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchvision's `pretrained` (False here) is deprecated
            self.model = lpips.LPIPS(net=net, version="0.1", pnet_rand=True, verbose=False)
        _load_backbone(self.model.net, file, net=net)
        published = ENTRIES[BACKBONES[net]]
        if not self.backbone_sha256.startswith(published.sha256):
            warnings.warn(
                f"{file} is not {published.filename} as published (sha256 "
                f"{self.backbone_sha256[:8]}); LPIPS on other weights does not compare with "
                "published values",
                stacklevel=2,
            )
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the distance of each pair.

        Args:
            outputs: float `[N, 3, H, W]`; clamped to [-1, 1] first.
            targets: float `[N, 3, H, W]` in [-1, 1].

        Returns:
            float32 `[N]`.
        """
        outputs, targets = paired(outputs, targets)
        return self.model(outputs.float(), targets.float()).flatten()


def _load_backbone(slices: nn.Module, file: Path, *, net: str) -> None:
    """Copies torchvision's `features.<i>.*` (or `<i>.*`) into the package's `slice<k>.<i>.*`."""
    found = read_state_dict(file, key=LPIPS_KEY)
    given = {f"features.{name.removeprefix('features.')}": value for name, value in found.items()}
    what = f"{file} (LPIPS's {net} backbone, as in {ENTRIES[BACKBONES[net]].filename})"
    state = StrictStateDict(given, what=what, key=LPIPS_KEY)
    wanted = slices.state_dict()
    values = {
        name: state.take(f"features.{name.split('.', 1)[1]}", shape=tensor.shape)
        for name, tensor in wanted.items()
    }
    state.drop(state.names())
    state.finish()
    slices.load_state_dict(values)
