"""Small random pickles of NVlabs' stylegan2 and stylegan2-ada for TensorFlow.

After training/networks_stylegan2.py and training/networks.py: `upsample_conv_2d` is what it stands
for, upsampling with the filter and then a convolution ("SAME" correlation in TensorFlow).
"""

from typing import Any, ClassVar

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from idinvert.checkpoints.formats.archive import Stored

from . import tf_files
from .reference import SMOOTH, upfirdn
from .stylegan2_files import StyleGAN2Files


class TFStyleGAN2(StyleGAN2Files):
    """A pair of networks; ``arch_*`` may be "grown" (configurations B to D).

    Args:
        ada: Whether stylegan2-ada made them, else stylegan2.
        group: mbstd_group_size, or "default".
        choices: As in `StyleGAN2Files`.
    """

    style_shift = 1.0
    names: ClassVar[dict[str, str]] = {
        "mean": "dlatent_avg",
        "g_embed": "G_mapping/LabelEmbed",
        "g_dense": "G_mapping/Dense{i}",
        "const": "G_synthesis/4x4/Const/const",
        "conv": "G_synthesis/{side}x{side}/{conv}",
        "conv.noise": "G_synthesis/noise{i}",
        "rgb": "G_synthesis/{side}x{side}/ToRGB",
        "g_shortcut": "G_synthesis/{side}x{side}/Skip",
        "d_embed": "LabelEmbed",
        "d_dense": "Mapping{i}",
        "from_rgb": "{side}x{side}/FromRGB",
        "conv0": "{side}x{side}/Conv0",
        "conv1": "{side}x{side}/Conv1_down",
        "d_shortcut": "{side}x{side}/Skip",
        "d_conv": "4x4/Conv",
        "fc": "4x4/Dense0",
        "out": "Output",
    }
    parts: ClassVar[dict[str, str]] = {
        "weight": "/weight",
        "bias": "/bias",
        "affine.weight": "/mod_weight",
        "affine.bias": "/mod_bias",
        "noise_strength": "/noise_strength",
    }

    def __init__(self, *, ada: bool = True, group: Any = 2, **choices: Any) -> None:
        self.ada, self.default_group = ada, group == "default"
        if self.default_group:
            group = None if ada else 4
        self.names = dict(TFStyleGAN2.names)
        if choices.get("arch_g") == "grown":
            self.names["rgb"] = "G_synthesis/ToRGB_lod{level}"
        if choices.get("arch_d") == "grown":
            self.names["from_rgb"] = "FromRGB_lod{i}"
        super().__init__(group=group, **choices)
        if not ada:
            self.g["lod"] = np.float32(0)
        if self.arch_g == "grown":
            self.g["G_synthesis/lod"] = np.float32(0)
        if self.arch_d == "grown":
            self.d["lod"] = np.float32(0)

    def fields(self, kind: str, i: int) -> dict[str, Any]:
        conv = "Conv" if i == 0 else "Conv0_up" if i % 2 else "Conv1"
        return {"conv": conv, "level": self.last - i}

    def to_file(self, kind: str, tensor: str, value: Tensor) -> np.ndarray:
        if tensor.endswith("weight"):  # [in, out] and [k, k, in, out]
            value = value.T if value.ndim == 2 else value.permute(2, 3, 1, 0)
        return (value[None] if kind == "const" else value).numpy()

    def to_native(self, kind: str, tensor: str, value: Tensor) -> Tensor:
        if tensor.endswith("weight"):
            return value.T if value.ndim == 2 else value.permute(3, 2, 0, 1)
        return value[0] if kind == "const" else value

    def upsampled(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(upfirdn(x, SMOOTH, up=2, pad=(3, 2), gain=4), weight)

    # -- as files ---------------------------------------------------------------------------

    def settings(self, architecture: str) -> dict[str, Any]:
        """static_kwargs."""
        found: dict[str, Any] = {
            "num_channels": 3,
            "resolution": 4 << self.last,
            "label_size": self.c_dim,
            "fmap_base": 16384,
            "conv_clamp": self.clamp,
            "nonlinearity": "lrelu",
            "resample_kernel": [1, 3, 3, 1],
        }
        return found if architecture == "grown" else {**found, "architecture": architecture}

    def generator(self, variables: dict[str, Any]) -> Stored:
        """G as its pickle holds it, with its components."""
        return tf_files.generator(variables, function="G_main", settings=self.settings(self.arch_g))

    def discriminator(self, variables: dict[str, Any]) -> Stored:
        """D as its pickle holds it."""
        made = self.settings(self.arch_d)
        if not self.default_group:
            made["mbstd_group_size"] = self.group
        function = "D_main" if self.ada else "D_stylegan2"
        return tf_files.network("D", variables, function=function, settings=made)

    def content(self) -> tuple[Stored, Stored, Stored]:
        """(G, D, Gs), as NVlabs pickle them."""
        other = {name: value + np.float32(name.endswith("const")) for name, value in self.g.items()}
        return self.generator(other), self.discriminator(self.d), self.generator(self.g)
