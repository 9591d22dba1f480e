"""Small random StyleGAN2 files of genforce and of Hammer, after models/stylegan2_*.py of both."""

from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from .reference import SMOOTH, upfirdn
from .stylegan2_files import StyleGAN2Files


class Genforce(StyleGAN2Files):
    """A pair of networks in Hammer's dialect or in genforce's."""

    cmap_dim = StyleGAN2Files.embed_dim
    names: ClassVar[dict[str, str]] = {
        "g_embed": "mapping.embedding",
        "g_dense": "mapping.dense{i}",
        "const": "synthesis.early_layer.const",
        "conv": "synthesis.layer{i}",
        "rgb": "synthesis.output{i}",
        "g_shortcut": "synthesis.residual{i}",
        "d_embed": "embedding",
        "d_dense": "mapping{i}",
        "from_rgb": "input{i}",
        "conv0": "layer{even}",
        "conv1": "layer{odd}",
        "d_conv": "layer{even}",
        "fc": "layer{odd}",
    }
    parts: ClassVar[dict[str, str]] = {
        "weight": ".weight",
        "bias": ".bias",
        "affine.weight": ".style.weight",
        "affine.bias": ".style.bias",
        "noise": ".noise",
        "noise_strength": ".noise_strength",
    }

    def __init__(self, *, hammer: bool, **choices: Any) -> None:
        self.hammer, self.scaled = hammer, not hammer
        self.style_shift = 0.0 if hammer else 1.0
        own = {"mean": "w_avg", "d_shortcut": "residual{i}", "out": "output"}
        if not hammer:
            own = {"mean": "truncation.w_avg", "d_shortcut": "skip_layer{i}", "out": "layer{next}"}
        self.names = Genforce.names | own
        super().__init__(**choices)

    def fields(self, kind: str, i: int) -> dict[str, Any]:
        return {"even": 2 * i, "odd": 2 * i + 1, "next": 2 * i + 2}

    def to_file(self, kind: str, tensor: str, value: Tensor) -> Tensor:
        return value[None] if kind == "const" else value

    def to_native(self, kind: str, tensor: str, value: Tensor) -> Tensor:
        return value[0] if kind == "const" else value

    def filters(self, kind: str, i: int) -> dict[str, Tensor]:
        wanted = kind in ("conv1", "d_shortcut", "g_shortcut") or (kind == "conv" and i % 2 == 1)
        key = f"{self.name(kind, i)}.filter" if wanted else None
        if kind == "rgb" and i == 0:  # one for all images, with skip connections
            key = "synthesis.filter" if self.hammer else "synthesis.upsample"
        if kind == "from_rgb" and i == 1:
            key = "filter" if self.hammer else "downsample"
        if key is None:
            return {}
        if self.hammer:
            return {key: SMOOTH.float()}
        gain = 4 if key.startswith("synthesis") else 1
        return {f"{key}.kernel": (SMOOTH * gain).float()[None, None]}

    def upsampled(self, x: Tensor, weight: Tensor) -> Tensor:
        turned = weight if self.hammer else weight.flip((2, 3))
        y = F.conv_transpose2d(x, turned.transpose(0, 1), stride=2)
        return upfirdn(y, SMOOTH, pad=(1, 1), gain=4)

    def content(self) -> dict[str, Any]:
        """A model zoo's file (genforce), or a training checkpoint (Hammer)."""
        models = {
            "generator": {name: value.clone() for name, value in self.g.items()},
            "discriminator": dict(self.d),
            "generator_smooth": dict(self.g),
        }
        models["generator"]["synthesis.early_layer.const"] += 1
        if not self.hammer:
            return models
        built = {"conv_clamp": self.clamp, "final_tanh": False, "fmaps_base": 100}
        return {
            "models": models,
            "model_kwargs_init": {name: dict(built) for name in models},
            "running_metadata": {"iter": 5},
        }
