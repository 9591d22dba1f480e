"""Small random files of stylegan2-ada-pytorch and stylegan3, after their training/networks.py."""

from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from idinvert.checkpoints.formats.archive import Stored

from .reference import SMOOTH, upfirdn
from .stylegan2_files import StyleGAN2Files

LINEAR = ("affine", "embed", "out", "skip")
FILTERED = ("conv", "g_shortcut", "from_rgb", "conv0", "conv1", "d_shortcut", "d_conv")


class NVlabs(StyleGAN2Files):
    """A pair of networks; ``mbstd_group_size`` is 2."""

    embed_dim, scaled = 4, False
    lr = cmap_lr = 0.02
    names: ClassVar[dict[str, str]] = {
        "mean": "mapping.w_avg",
        "g_embed": "mapping.embed",
        "g_dense": "mapping.fc{i}",
        "const": "synthesis.b4.const",
        "conv": "synthesis.b{side}.conv{which}",
        "rgb": "synthesis.b{side}.torgb",
        "g_shortcut": "synthesis.b{side}.skip",
        "d_embed": "mapping.embed",
        "d_dense": "mapping.fc{i}",
        "from_rgb": "b{side}.fromrgb",
        "conv0": "b{side}.conv0",
        "conv1": "b{side}.conv1",
        "d_shortcut": "b{side}.skip",
        "d_conv": "b4.conv",
        "fc": "b4.fc",
        "out": "b4.out",
    }
    parts: ClassVar[dict[str, str]] = {
        "weight": ".weight",
        "bias": ".bias",
        "affine.weight": ".affine.weight",
        "affine.bias": ".affine.bias",
        "noise": ".noise_const",
        "noise_strength": ".noise_strength",
    }

    def __init__(self, *, group: int | None = 2, cmap_depth: int = 2, **choices: Any) -> None:
        super().__init__(group=group, cmap_depth=cmap_depth, **choices)

    def fields(self, kind: str, i: int) -> dict[str, Any]:
        return {"which": 1 - i % 2}

    def to_file(self, kind: str, tensor: str, value: Tensor) -> Tensor:
        return value[0, 0] if tensor == "noise" else value

    def filters(self, kind: str, i: int) -> dict[str, Tensor]:
        names = [self.name(kind, i)] if kind in FILTERED else []
        if kind == "conv0" or (kind == "conv" and i % 2 == 0):  # one more for the block
            names.append(names[0].rpartition(".")[0])
        return {f"{name}.resample_filter": SMOOTH.float() for name in names}

    def upsampled(self, x: Tensor, weight: Tensor) -> Tensor:
        wide = upfirdn(x, SMOOTH, up=2, pad=(3, 2), gain=4)
        return F.conv2d(wide, weight.flip((2, 3)))  # flip_weight=False is a true convolution

    # -- as files ---------------------------------------------------------------------------

    def plain(self) -> dict[str, Any]:
        """State dicts with the arguments beside them."""
        return {
            "G_ema": dict(self.g),
            "D": dict(self.d),
            "init_kwargs": {
                "G_ema": {
                    "mapping_kwargs": {"lr_multiplier": self.lr},
                    "synthesis_kwargs": {"conv_clamp": self.clamp, "architecture": self.arch_g},
                },
                "D": {
                    "conv_clamp": self.clamp,
                    "mapping_kwargs": {"lr_multiplier": self.lr},
                    "epilogue_kwargs": {"mbstd_group_size": self.group},
                },
            },
        }

    def stored(self, tensors: dict[str, Tensor], *, name: str) -> Stored:
        """A network as its pickle holds it: modules within modules, with their attributes."""
        return self._module("", tensors, name)

    def _module(self, path: str, tensors: dict[str, Tensor], name: str) -> Stored:
        parameters, buffers = {}, {}
        inside: dict[str, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            head, dot, rest = key.partition(".")
            if dot:
                inside.setdefault(head, {})[rest] = value
            elif head in ("noise_const", "resample_filter", "w_avg"):
                buffers[head] = value
            else:
                parameters[head] = value
        modules: dict[str, Any] = {
            head: self._module(f"{path}.{head}".strip("."), group, head.capitalize())
            for head, group in inside.items()
        }
        if path == "b4":
            state = {"group_size": self.group, "num_channels": 1, "_modules": {}}
            state |= {"_parameters": {}, "_buffers": {}}
            modules["mbstd"] = Stored("torch_utils.persistence", "MinibatchStdLayer", state=state)
        state = {
            "training": False,
            "_parameters": parameters,
            "_buffers": buffers,
            "_non_persistent_buffers_set": set(),
            "_backward_hooks": {},
            "_modules": modules,
            **self._attributes(path, parameters),
        }
        return Stored("torch_utils.persistence", name, (), {}, state)

    def _attributes(self, path: str, parameters: dict[str, Tensor]) -> dict[str, Any]:
        leaf = path.rpartition(".")[2]
        found: dict[str, Any] = {}
        if "weight" in parameters and leaf != "torgb":
            found["activation"] = "linear" if leaf in LINEAR else "lrelu"
        if leaf in ("conv", "conv0", "conv1", "torgb"):
            found["conv_clamp"] = self.clamp
        if leaf.startswith("fc") and path.startswith("mapping"):
            found["bias_gain"] = self.lr
        if leaf.startswith("b") and leaf[1:].isdigit():
            arch = self.arch_g if path.startswith("synthesis") else self.arch_d
            found |= {"use_fp16": leaf == "b8", "architecture": arch}
        if path == "mapping":
            found["w_avg_beta"] = 0.998
        return found
