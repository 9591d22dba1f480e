"""Small random files in the layout of stylegan2-ada-pytorch and stylegan3, and their networks.

Tensor names and forward passes follow those repositories' training/networks.py, literally.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from idinvert.checkpoints.formats.archive import Stored

from .reference import (
    SMOOTH,
    act,
    downsample,
    minibatch_stddev,
    normal,
    second_moment,
    upfirdn,
    upsample,
)

LINEAR = ("affine", "embed", "out", "skip")


class NVlabs:
    """A pair of networks in NVlabs' layout.

    Args:
        arch_g: G's architecture: "skip", "resnet" or "orig".
        arch_d: D's.
        c_dim: Width of the labels.
        clamp: conv_clamp.
        depth: Layers of M.
        cmap_depth: Layers of D's mapping.
        group: mbstd_group_size.
        channels: Feature maps at 4, 8, …
        noise: use_noise.
    """

    def __init__(
        self,
        *,
        arch_g: str = "skip",
        arch_d: str = "resnet",
        c_dim: int = 0,
        clamp: float | None = None,
        depth: int = 2,
        cmap_depth: int = 2,
        group: int | None = 2,
        channels: tuple[int, ...] = (5, 4, 3),
        noise: bool = True,
        seed: int = 0,
    ) -> None:
        self.arch_g, self.arch_d, self.c_dim, self.clamp = arch_g, arch_d, c_dim, clamp
        self.depth, self.cmap_depth, self.group, self.noise = depth, cmap_depth, group, noise
        self.channels = channels
        self.z_dim, self.w_dim, self.embed_dim, self.hidden, self.cmap_dim = 6, 7, 4, 8, 9
        self.lr, self.mbstd, self.seed = 0.02, 1, seed
        self.sides = [4 << i for i in range(len(channels))]
        self.g = self._generator()
        self.d = self._discriminator()

    def _fill(self, shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
        found = {}
        for i, (name, shape) in enumerate(shapes.items()):
            if name.endswith("resample_filter"):
                found[name] = SMOOTH.float()
            else:
                slow = "mapping.fc" in name  # stored larger, as lr_multiplier asks
                scale = 1 / self.lr if slow else 1.0
                found[name] = normal(*shape, seed=1000 * seed + i, scale=scale)
        return found

    def _generator(self) -> dict[str, Tensor]:
        shapes: dict[str, tuple[int, ...]] = {"mapping.w_avg": (self.w_dim,)}
        widths = [self.z_dim + (self.embed_dim if self.c_dim else 0)]
        widths += [self.hidden] * (self.depth - 1) + [self.w_dim]
        if self.c_dim:
            shapes |= {
                "mapping.embed.weight": (self.embed_dim, self.c_dim),
                "mapping.embed.bias": (self.embed_dim,),
            }
        for i in range(self.depth):
            shapes[f"mapping.fc{i}.weight"] = (widths[i + 1], widths[i])
            shapes[f"mapping.fc{i}.bias"] = (widths[i + 1],)
        for i, side in enumerate(self.sides):
            block, out = f"synthesis.b{side}", self.channels[i]
            into = self.channels[i - 1] if i else 0
            shapes[f"{block}.resample_filter"] = (4, 4)
            if i == 0:
                shapes[f"{block}.const"] = (out, 4, 4)
            for conv, c_in in (("conv0", into), ("conv1", out)):
                if not c_in:
                    continue
                shapes |= {
                    f"{block}.{conv}.affine.weight": (c_in, self.w_dim),
                    f"{block}.{conv}.affine.bias": (c_in,),
                    f"{block}.{conv}.weight": (out, c_in, 3, 3),
                    f"{block}.{conv}.bias": (out,),
                    f"{block}.{conv}.resample_filter": (4, 4),
                }
                if self.noise:
                    shapes[f"{block}.{conv}.noise_const"] = (side, side)
                    shapes[f"{block}.{conv}.noise_strength"] = ()
            if self.arch_g == "skip" or side == self.sides[-1]:
                shapes |= {
                    f"{block}.torgb.affine.weight": (out, self.w_dim),
                    f"{block}.torgb.affine.bias": (out,),
                    f"{block}.torgb.weight": (3, out, 1, 1),
                    f"{block}.torgb.bias": (3,),
                }
            if self.arch_g == "resnet" and i:
                shapes[f"{block}.skip.weight"] = (out, into, 1, 1)
                shapes[f"{block}.skip.resample_filter"] = (4, 4)
        return self._fill(shapes, seed=self.seed)

    def _discriminator(self) -> dict[str, Tensor]:
        shapes: dict[str, tuple[int, ...]] = {}
        for i in range(len(self.sides) - 1, 0, -1):
            block, c, out = f"b{self.sides[i]}", self.channels[i], self.channels[i - 1]
            shapes[f"{block}.resample_filter"] = (4, 4)
            layers = {"conv0": (c, c, 3, 3), "conv1": (out, c, 3, 3)}
            if self.arch_d == "skip" or i == len(self.sides) - 1:
                layers = {"fromrgb": (c, 3, 1, 1), **layers}
            if self.arch_d == "resnet":
                layers["skip"] = (out, c, 1, 1)
            for layer, shape in layers.items():
                shapes[f"{block}.{layer}.weight"] = shape
                if layer != "skip":
                    shapes[f"{block}.{layer}.bias"] = (shape[0],)
                shapes[f"{block}.{layer}.resample_filter"] = (4, 4)
        c = self.channels[0]
        if self.c_dim:
            shapes |= {
                "mapping.embed.weight": (self.cmap_dim, self.c_dim),
                "mapping.embed.bias": (self.cmap_dim,),
            }
            for i in range(self.cmap_depth):
                shapes[f"mapping.fc{i}.weight"] = (self.cmap_dim, self.cmap_dim)
                shapes[f"mapping.fc{i}.bias"] = (self.cmap_dim,)
        if self.arch_d == "skip":
            shapes |= {"b4.fromrgb.weight": (c, 3, 1, 1), "b4.fromrgb.bias": (c,)}
            shapes["b4.fromrgb.resample_filter"] = (4, 4)
        outputs = self.cmap_dim if self.c_dim else 1
        shapes |= {
            "b4.conv.weight": (c, c + self.mbstd, 3, 3),
            "b4.conv.bias": (c,),
            "b4.conv.resample_filter": (4, 4),
            "b4.fc.weight": (c, 16 * c),
            "b4.fc.bias": (c,),
            "b4.out.weight": (outputs, c),
            "b4.out.bias": (outputs,),
        }
        return self._fill(shapes, seed=self.seed + 1)

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
            state = {"group_size": self.group, "num_channels": self.mbstd, "_modules": {}}
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

    # -- as networks ------------------------------------------------------------------------

    def mapping(self, p: dict[str, Tensor], z: Tensor, c: Tensor | None = None) -> Tensor:
        """M: [N, z_dim] to [N, w_dim]."""
        x = second_moment(z)
        if self.c_dim:
            weight = p["mapping.embed.weight"] / math.sqrt(self.c_dim)
            x = torch.cat([x, second_moment(c @ weight.T + p["mapping.embed.bias"])], dim=1)
        for i in range(self.depth):
            weight = p[f"mapping.fc{i}.weight"]
            x = x @ (weight * (self.lr / math.sqrt(weight.shape[1]))).T
            x = act(x, p[f"mapping.fc{i}.bias"] * self.lr)
        return x

    def synthesis(self, p: dict[str, Tensor], ws: Tensor) -> Tensor:
        """G: [N, L, w_dim] to images."""
        x = image = None
        at = 0
        for i, side in enumerate(self.sides):
            block = f"synthesis.b{side}"
            gain = math.sqrt(0.5) if self.arch_g == "resnet" and i else 1.0
            if i == 0:
                x = p[f"{block}.const"][None].repeat(len(ws), 1, 1, 1)
            else:
                shortcut = None
                if self.arch_g == "resnet":
                    skip = p[f"{block}.skip.weight"]
                    skip = skip / math.sqrt(skip.shape[1]) * math.sqrt(0.5)
                    shortcut = upsample(F.conv2d(x, skip), p[f"{block}.skip.resample_filter"])
                x = self._layer(p, f"{block}.conv0", x, ws[:, at], up=True)
                at += 1
            x = self._layer(p, f"{block}.conv1", x, ws[:, at], up=False, gain=gain)
            at += 1
            if i and shortcut is not None:
                x = shortcut + x
            if image is not None:
                image = upsample(image, p[f"{block}.resample_filter"])
            if self.arch_g == "skip" or side == self.sides[-1]:
                y = self._to_rgb(p, f"{block}.torgb", x, ws[:, at])  # not counted: shared
                image = y if image is None else image + y
        return image

    def _styles(self, p: dict[str, Tensor], name: str, w: Tensor) -> Tensor:
        weight = p[f"{name}.affine.weight"] / math.sqrt(self.w_dim)
        return w @ weight.T + p[f"{name}.affine.bias"]

    def _layer(
        self, p: dict[str, Tensor], name: str, x: Tensor, w: Tensor, *, up: bool, gain: float = 1.0
    ) -> Tensor:
        styles, images = self._styles(p, name, w), []
        for image, style in zip(x, styles, strict=True):
            weight = p[f"{name}.weight"] * style[None, :, None, None]
            weight = weight / torch.sqrt((weight**2).sum(dim=(1, 2, 3), keepdim=True) + 1e-8)
            if up:  # filtered while upsampled, then a true convolution (flip_weight=False)
                wide = upfirdn(image[None], p[f"{name}.resample_filter"], up=2, pad=(3, 2), gain=4)
                images.append(F.conv2d(wide, weight.flip((2, 3))))
            else:
                images.append(F.conv2d(image[None], weight, padding=1))
        x = torch.cat(images)
        if self.noise:
            x = x + p[f"{name}.noise_const"] * p[f"{name}.noise_strength"]
        return act(x, p[f"{name}.bias"], gain=gain, clamp=self.clamp)

    def _to_rgb(self, p: dict[str, Tensor], name: str, x: Tensor, w: Tensor) -> Tensor:
        weight = p[f"{name}.weight"]
        styles = self._styles(p, name, w) / math.sqrt(weight.shape[1])
        x = F.conv2d(x * styles[:, :, None, None], weight) + p[f"{name}.bias"][:, None, None]
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)

    def judge(self, p: dict[str, Tensor], image: Tensor, c: Tensor | None = None) -> Tensor:
        """D: images to logits [N]."""

        def conv(name: str, x: Tensor, *, down: bool = False, gain: float = 1.0) -> Tensor:
            weight = p[f"{name}.weight"]
            weight = weight / math.sqrt(weight[0].numel())
            k = weight.shape[-1]
            if down:
                f = p[f"{name}.resample_filter"]
                pad = k // 2 + 1
                x = F.conv2d(upfirdn(x, f, pad=(pad, pad)), weight, stride=2)
            else:
                x = F.conv2d(x, weight, padding=k // 2)
            if name.endswith("skip"):
                return x * gain
            clamp = None if name == "b4.fromrgb" else self.clamp
            return act(x, p[f"{name}.bias"], gain=gain, clamp=clamp)

        x = None
        for side in self.sides[:0:-1]:
            block = f"b{side}"
            if f"{block}.fromrgb.weight" in p:
                y = conv(f"{block}.fromrgb", image)
                x = y if x is None else x + y
                image = downsample(image, p[f"{block}.resample_filter"])
            if self.arch_d == "resnet":
                y = conv(f"{block}.skip", x, down=True, gain=math.sqrt(0.5))
                x = conv(
                    f"{block}.conv1", conv(f"{block}.conv0", x), down=True, gain=math.sqrt(0.5)
                )
                x = y + x
            else:
                x = conv(f"{block}.conv1", conv(f"{block}.conv0", x), down=True)
        if self.arch_d == "skip":
            x = x + conv("b4.fromrgb", image)
        if self.mbstd:
            x = minibatch_stddev(x, self.group, self.mbstd)
        x = conv("b4.conv", x).flatten(1)
        x = act(x @ (p["b4.fc.weight"] / math.sqrt(x.shape[1])).T, p["b4.fc.bias"])
        x = x @ (p["b4.out.weight"] / math.sqrt(x.shape[1])).T + p["b4.out.bias"]
        if not self.c_dim:
            return x[:, 0]
        label = c @ (p["mapping.embed.weight"] / math.sqrt(self.c_dim)).T + p["mapping.embed.bias"]
        label = second_moment(label)
        for i in range(self.cmap_depth):
            weight = p[f"mapping.fc{i}.weight"] * (self.lr / math.sqrt(self.cmap_dim))
            label = act(label @ weight.T, p[f"mapping.fc{i}.bias"] * self.lr)
        return (x * label).sum(dim=1) / math.sqrt(self.cmap_dim)
