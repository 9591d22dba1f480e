"""Small random files of rosinality's stylegan2-pytorch, after that repository's model.py.

e4e, pSp, ReStyle and HyperStyle carry a copy of its generator.
"""

from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from .reference import SMOOTH, normal, upfirdn
from .stylegan2_files import StyleGAN2Files


class Rosinality(StyleGAN2Files):
    """A pair of networks; ``style_dim`` is the width of z and w."""

    names: ClassVar[dict[str, str]] = {
        "g_dense": "style.{n}",
        "const": "input.input",
        "conv": "{conv}.conv",
        "conv.bias": "{conv}.activate.bias",
        "conv.noise": "noises.noise_{i}",
        "conv.noise_strength": "{conv}.noise.weight",
        "rgb": "{rgb}.conv",
        "rgb.bias": "{rgb}.bias",
        "from_rgb.weight": "convs.0.0.weight",
        "from_rgb.bias": "convs.0.1.bias",
        "conv0.weight": "convs.{n}.conv1.0.weight",
        "conv0.bias": "convs.{n}.conv1.1.bias",
        "conv1.weight": "convs.{n}.conv2.1.weight",
        "conv1.bias": "convs.{n}.conv2.2.bias",
        "d_shortcut": "convs.{n}.skip.1",
        "d_conv.weight": "final_conv.0.weight",
        "d_conv.bias": "final_conv.1.bias",
        "fc": "final_linear.0",
        "out": "final_linear.1",
    }
    parts: ClassVar[dict[str, str]] = {
        "weight": ".weight",
        "bias": ".bias",
        "affine.weight": ".modulation.weight",
        "affine.bias": ".modulation.bias",
    }

    def __init__(
        self, *, style_dim: int = 6, depth: int = 3, seed: int = 0, **choices: Any
    ) -> None:
        self.z_dim = self.w_dim = self.hidden = style_dim
        super().__init__(depth=depth, seed=seed, **choices)
        self.latent_avg = normal(style_dim, seed=seed + 2)

    def fields(self, kind: str, i: int) -> dict[str, Any]:
        conv = f"convs.{i - 1}" if i else "conv1"
        return {"conv": conv, "rgb": f"to_rgbs.{i - 1}" if i else "to_rgb1"}

    def to_file(self, kind: str, tensor: str, value: Tensor) -> Tensor:
        if kind == "rgb" and tensor == "bias":
            return value.reshape(1, -1, 1, 1)
        led = kind in ("conv", "rgb") and tensor in ("weight", "noise_strength")
        return value[None] if led or kind == "const" else value

    def to_native(self, kind: str, tensor: str, value: Tensor) -> Tensor:
        if kind == "rgb" and tensor == "bias":
            return value.flatten()
        led = kind in ("conv", "rgb") and tensor in ("weight", "noise_strength")
        return value[0] if led or kind == "const" else value

    def filters(self, kind: str, i: int) -> dict[str, Tensor]:
        fields, smooth = self.fields(kind, i), SMOOTH.float()
        if kind == "conv" and i % 2 == 1:
            return {f"{fields['conv']}.conv.blur.kernel": smooth * 4}
        if kind == "rgb" and i:
            return {f"{fields['rgb']}.upsample.kernel": smooth * 4}
        place = {"conv1": "conv2.0", "d_shortcut": "skip.0"}.get(kind)
        return {f"convs.{i + 1}.{place}.kernel": smooth} if place else {}

    def upsampled(self, x: Tensor, weight: Tensor) -> Tensor:
        y = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        return upfirdn(y, SMOOTH, pad=(1, 1), gain=4)

    def content(self) -> dict[str, Any]:
        """A training checkpoint with a mean code, as conversions add it."""
        live = {n: v if n.endswith("kernel") else v + 1 for n, v in self.g.items()}
        return {
            "g": live,
            "d": dict(self.d),
            "g_ema": dict(self.g),
            "g_optim": {"state": {}, "param_groups": [{"lr": 0.002}]},
            "d_optim": {"state": {}, "param_groups": []},
            "args": {"size": 4 << self.last, "n_mlp": self.depth},
            "ada_aug_p": 0.0,
            "latent_avg": self.latent_avg,
        }
