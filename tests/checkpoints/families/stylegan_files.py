"""StyleGAN as other projects store it: small random networks, and what they compute."""

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from idinvert.checkpoints.formats.archive import Stored

from . import tf_files
from .layer_files import LayerFiles, Shapes, layer
from .reference import (
    ROOT2,
    blur,
    conv,
    four_shifts,
    fused_up,
    lrelu,
    mean_of_four,
    minibatch_stddev,
    second_moment,
)

BLUR = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16


class StyleGANFiles(LayerFiles):
    """A pair of networks.

    Layers of G are ``mean``, ``g_dense``, ``g_lod``, ``conv`` (0 is the constant, ``const``) and
    ``rgb``; those of D as in `StyleGAN2Files`, and ``d_lod``.

    Args:
        channels: Feature maps at 4, 8, …
        hidden: Width of M's hidden layers; None for that of w.
        depth: Layers of M.
        repeat_w: Whether M gives one w for all layers.
        mean_each: Whether the mean code has one w a layer where M does.
        fused_from: Side from which upsampling layers are fused.
        colours: Whether the heads of lower resolutions, of growing, are in the file.
        group: Images in a group of the minibatch deviation; 0 leaves it out.
        fc_width: Width of D's hidden dense layer.
        lod: Level of detail at which G was saved.
        seed: Of the numbers.
    """

    z_dim, w_dim = 6, 5

    def __init__(
        self,
        *,
        channels: tuple[int, ...] = (5, 4, 3),
        hidden: int | None = None,
        depth: int = 3,
        repeat_w: bool = True,
        mean_each: bool = False,
        fused_from: int = 128,
        colours: bool = True,
        group: int = 4,
        fc_width: int = 6,
        lod: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.channels, self.hidden, self.depth = channels, hidden or self.w_dim, depth
        self.repeat_w, self.mean_each = repeat_w, mean_each
        self.fused_from, self.colours, self.group = fused_from, colours, group
        self.fc_width, self.lod = fc_width, lod
        self.last, self.layers = len(channels) - 1, 2 * len(channels)
        self.g = self.fill(self._generator(), seed=seed)
        self.d = self.fill(self._discriminator(), seed=seed + 1)

    def side(self, kind: str, i: int) -> int:
        return 4 << i // 2 if kind == "conv" else super().side(kind, i)

    def scale(self, kind: str, tensor: str) -> float:
        if kind.endswith("lod"):
            return 0.0
        if kind == "g_dense":
            return 30.0 if tensor == "bias" else 100.0
        return 0.3 if tensor in ("bias", "affine.bias", "noise_weight") else 1.0

    def _generator(self) -> Iterator[tuple[str, int, Shapes]]:
        wide = self.w_dim if self.repeat_w else self.w_dim * self.layers
        widths = [self.z_dim] + [self.hidden] * (self.depth - 1) + [wide]
        for i in range(self.depth):
            yield "g_dense", i, layer(widths[i], widths[i + 1])
        yield "mean", 0, {"": (wide if self.mean_each else self.w_dim,)}
        yield "g_lod", 0, {"": ()}
        for i in range(self.layers):
            into, out = self.channels[max(i - 1, 0) // 2], self.channels[i // 2]
            side = self.side("conv", i)
            if i == 0:
                yield "const", 0, {"": (out, 4, 4)}
            yield (
                "conv",
                i,
                {
                    **({"weight": (out, into, 3, 3)} if i else {}),
                    "bias": (out,),
                    "noise": (1, 1, side, side),
                    "noise_weight": (out,),
                    "affine.weight": (2 * out, self.w_dim),
                    "affine.bias": (2 * out,),
                },
            )
            if i % 2 == 1 and (self.colours or i == self.layers - 1):
                yield "rgb", i // 2, layer(out, 3, 1, 1)

    def _discriminator(self) -> Iterator[tuple[str, int, Shapes]]:
        if "d_lod" not in self.names:
            return
        yield "d_lod", 0, {"": ()}
        wide = self.channels[::-1]
        for i, c in enumerate(wide):
            if i == 0 or self.colours:
                yield "from_rgb", i, layer(3, c, 1, 1)
            if i < self.last:
                yield "conv0", i, layer(c, c, 3, 3)
                yield "conv1", i, layer(c, wide[i + 1], 3, 3)
        yield "d_conv", self.last, layer(c + bool(self.group), c, 3, 3)
        yield "fc", self.last, layer(16 * c, self.fc_width)
        yield "out", self.last, layer(self.fc_width, 1)

    def mapping(self, p: dict[str, Tensor], z: Tensor) -> Tensor:
        """M: z [N, z_dim] to [N, L, w_dim]."""
        x = second_moment(z)
        for i in range(self.depth):
            weight = self.get(p, "g_dense", i)
            x = x @ weight.T * (ROOT2 * 0.01 / math.sqrt(weight.shape[1]))
            x = lrelu(x + 0.01 * self.get(p, "g_dense", i, "bias"))
        return x.reshape(len(x), -1, self.w_dim).expand(-1, self.layers, -1)

    def synthesis(self, p: dict[str, Tensor], w: Tensor) -> Tensor:
        """G: w [N, L, w_dim] to images."""
        x = self.get(p, "const", tensor="").repeat(len(w), 1, 1, 1)
        for i in range(self.layers):
            if i % 2 == 1:
                x = conv(x, self.get(p, "conv", i))
            elif i > 0 and 2 * x.shape[2] >= self.fused_from:
                x = blur(fused_up(x, self.get(p, "conv", i)))
            elif i > 0:
                wide = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
                x = blur(conv(wide, self.get(p, "conv", i)))
            strength = self.get(p, "conv", i, "noise_weight")[:, None, None]
            x = x + self.get(p, "conv", i, "noise") * strength
            x = lrelu(x + self.get(p, "conv", i, "bias")[:, None, None])
            x = x - x.mean(dim=(2, 3), keepdim=True)
            x = x / torch.sqrt((x**2).mean(dim=(2, 3), keepdim=True) + 1e-8)
            affine = self.get(p, "conv", i, "affine.weight") / math.sqrt(self.w_dim)
            y = w[:, i] @ affine.T + self.get(p, "conv", i, "affine.bias")
            scale, shift = y[:, : x.shape[1], None, None], y[:, x.shape[1] :, None, None]
            x = x * (scale + 1) + shift
        rgb = conv(x, self.get(p, "rgb", self.last), gain=1.0)
        return rgb + self.get(p, "rgb", self.last, "bias")[:, None, None]

    def judge(self, p: dict[str, Tensor], x: Tensor, *, fused: bool = False) -> Tensor:
        """D: images to logits [N]; ``fused`` computes the downsampling as TensorFlow's option."""

        def act(x: Tensor, kind: str, i: int) -> Tensor:
            return lrelu(x + self.get(p, kind, i, "bias")[:, None, None])

        x = act(conv(x, self.get(p, "from_rgb", 0)), "from_rgb", 0)
        for i in range(self.last):
            x = blur(act(conv(x, self.get(p, "conv0", i)), "conv0", i))
            weight = self.get(p, "conv1", i)
            if fused:
                x = F.conv2d(x, four_shifts(weight) / 4, stride=2, padding=1)
            else:
                x = mean_of_four(conv(x, weight))
            x = act(x, "conv1", i)
        x = minibatch_stddev(x, self.group, 1) if self.group else x
        x = act(conv(x, self.get(p, "d_conv", self.last)), "d_conv", self.last).flatten(1)
        for kind, gain in (("fc", ROOT2), ("out", 1.0)):
            weight = self.get(p, kind, self.last)
            x = x @ weight.T * gain / math.sqrt(weight.shape[1])
            x = x + self.get(p, kind, self.last, "bias")
            x = lrelu(x) if kind == "fc" else x
        return x[:, 0]


class Genforce(StyleGANFiles):
    """The layouts of genforce and of Hammer."""

    names: ClassVar[dict[str, str]] = {
        "g_dense": "mapping.dense{i}",
        "g_lod": "synthesis.lod",
        "const": "synthesis.layer0.const",
        "conv": "synthesis.layer{i}",
        "rgb": "synthesis.output{i}",
        "d_lod": "lod",
        "from_rgb": "input{i}",
        "conv0": "layer{even}",
        "conv1": "layer{odd}",
        "d_conv": "layer{even}",
        "fc": "layer{odd}",
    }

    def __init__(self, *, hammer: bool = False, **choices: Any) -> None:
        self.hammer = hammer
        noise = "" if hammer else ".apply_noise"
        self.names = Genforce.names | {
            "mean": "w_avg" if hammer else "truncation.w_avg",
            "out": "output" if hammer else "layer{next}",
        }
        self.parts = {
            "weight": ".weight",
            "bias": ".bias",
            "noise": f"{noise}.noise",
            "noise_weight": ".noise_strength" if hammer else ".apply_noise.weight",
            "affine.weight": ".style.weight",
            "affine.bias": ".style.bias",
        }
        super().__init__(**({"mean_each": True} | choices))

    def fields(self, kind: str, i: int) -> dict[str, Any]:
        return {"even": 2 * i, "odd": 2 * i + 1, "next": 2 * i + 2}

    def to_file(self, kind: str, tensor: str, value: Tensor) -> Tensor:
        if tensor == "noise_weight" and self.hammer:
            return value.reshape(1, -1, 1, 1)
        return value[None] if kind == "const" else value

    def to_native(self, kind: str, tensor: str, value: Tensor) -> Tensor:
        if tensor == "noise_weight":
            return value.flatten()
        return value[0] if kind == "const" else value

    def filters(self, kind: str, i: int) -> dict[str, Tensor]:
        if not (kind == "conv1" or (kind == "conv" and i > 0 and i % 2 == 0)):
            return {}
        if self.hammer:
            return {f"{self.name(kind, i)}.filter": BLUR[None, None].clone()}
        width = self.channels[i // 2] if kind == "conv" else self.channels[self.last - i]
        return {f"{self.name(kind, i)}.blur.kernel": BLUR.repeat(width, 1, 1, 1)}

    def content(self, *, nested: bool = False, wrapped: bool = False) -> dict[str, Any]:
        """A file of all three networks; below ``models``, with DistributedDataParallel's names."""
        const = "synthesis.layer0.const"
        held = {
            "generator": self.g | {const: self.g[const] + 1},
            "generator_smooth": dict(self.g),
            "discriminator": dict(self.d),
        }
        if wrapped:
            held = {n: {f"module.{k}": v for k, v in s.items()} for n, s in held.items()}
        return {"models": held, "running_metadata": {"iter": 7}} if nested else held


class Idinvert(StyleGANFiles):
    """The layout of the authors' PyTorch release, which holds no D."""

    names: ClassVar[dict[str, str]] = {
        "g_dense.weight": "mapping.dense{i}.fc.weight",
        "g_dense.bias": "mapping.dense{i}.wscale.bias",
        "mean": "truncation.w_avg",
        "g_lod": "synthesis.lod",
        "const": "synthesis.layer0.const",
        "conv": "synthesis.layer{i}",
        "conv.weight": "synthesis.layer{i}{fused}.weight",
        "rgb.weight": "synthesis.output{i}.conv.weight",
        "rgb.bias": "synthesis.output{i}.bias",
    }
    parts: ClassVar[dict[str, str]] = {
        "bias": ".epilogue.bias",
        "noise": ".epilogue.apply_noise.noise",
        "noise_weight": ".epilogue.apply_noise.weight",
        "affine.weight": ".epilogue.style_mod.dense.fc.weight",
        "affine.bias": ".epilogue.style_mod.dense.wscale.bias",
    }

    def __init__(self, *, repeat_w: bool = False, **choices: Any) -> None:
        super().__init__(repeat_w=repeat_w, **choices)
        psi = torch.ones(1, self.layers, 1)
        psi[:, :8] = 0.7
        self.g["truncation.truncation"] = psi
        for i in range(2, self.layers, 2):
            name = self.name("conv", i, "weight")
            if "conv" not in name:  # a fused layer keeps TensorFlow's order
                self.g[name] = self.g[name].permute(2, 3, 1, 0)
            width = self.channels[i // 2]
            self.g[f"synthesis.layer{i}.blur.kernel"] = BLUR.repeat(width, 1, 1, 1)

    def fields(self, kind: str, i: int) -> dict[str, Any]:
        fused = i > 0 and i % 2 == 0 and self.side("conv", i) >= self.fused_from
        return {"fused": "" if fused else ".conv"}

    def get(self, p: dict[str, Tensor], kind: str, i: int = 0, tensor: str = "weight") -> Tensor:
        value = super().get(p, kind, i, tensor)
        fused = tensor == "weight" and kind == "conv" and not self.fields(kind, i)["fused"]
        return value.permute(3, 2, 0, 1) if fused else value

    def to_file(self, kind: str, tensor: str, value: Tensor) -> Tensor:
        return value[None] if kind == "const" else value

    def to_native(self, kind: str, tensor: str, value: Tensor) -> Tensor:
        return value[0] if kind == "const" else value

    def synthesis(self, p: dict[str, Tensor], w: Tensor) -> Tensor:
        return super().synthesis(p, w).tanh()


class TFStyleGAN(StyleGANFiles):
    """NVlabs' TensorFlow pickles, the authors' multi-w variant too."""

    names: ClassVar[dict[str, str]] = {
        "mean": "dlatent_avg",
        "g_dense": "G_mapping/Dense{i}",
        "g_lod": "lod",
        "const": "G_synthesis/4x4/Const/const",
        "conv": "G_synthesis/{side}x{side}/{conv}",
        "conv.noise": "G_synthesis/noise{i}",
        "rgb": "G_synthesis/ToRGB_lod{level}",
        "d_lod": "lod",
        "from_rgb": "FromRGB_lod{i}",
        "conv0": "{side}x{side}/Conv0",
        "conv1": "{side}x{side}/Conv1_down",
        "d_conv": "4x4/Conv",
        "fc": "4x4/Dense0",
        "out": "4x4/Dense1",
    }
    parts: ClassVar[dict[str, str]] = {
        "weight": "/weight",
        "bias": "/bias",
        "noise_weight": "/Noise/weight",
        "affine.weight": "/StyleMod/weight",
        "affine.bias": "/StyleMod/bias",
    }

    def __init__(self, *, settings: dict[str, Any] | None = None, **choices: Any) -> None:
        super().__init__(**choices)
        self.g |= {"lod": np.float32(self.lod), "G_synthesis/lod": np.float32(0)}
        self.settings = {"resolution": 4 << self.last, "num_channels": 3, "label_size": 0}
        self.settings |= {"fused_scale": "auto", "mbstd_group_size": self.group} | (settings or {})

    def fields(self, kind: str, i: int) -> dict[str, Any]:
        names = ("Const", "Conv") if i < 2 else ("Conv0_up", "Conv1")
        return {"conv": names[i % 2], "level": self.last - i}

    def to_file(self, kind: str, tensor: str, value: Tensor) -> np.ndarray:
        if tensor in ("weight", "affine.weight"):  # [in, out] and [k, k, in, out]
            value = value.T if value.ndim == 2 else value.permute(2, 3, 1, 0)
        return np.asarray((value[None] if kind == "const" else value).numpy())

    def to_native(self, kind: str, tensor: str, value: Tensor) -> Tensor:
        if tensor in ("weight", "affine.weight"):
            return value.T if value.ndim == 2 else value.permute(3, 2, 0, 1)
        return value[0] if kind == "const" else value

    def generator(self, variables: dict[str, Any] | None = None) -> Stored:
        """G as its pickle holds it."""
        held = self.g if variables is None else variables
        return tf_files.generator(held, function="G_style", settings=self.settings)

    def discriminator(self, variables: dict[str, Any] | None = None) -> Stored:
        """D as its pickle holds it."""
        held = self.d if variables is None else variables
        return tf_files.network("D", held, function="D_basic", settings=self.settings)

    def content(self) -> tuple[Stored, Stored, Stored]:
        """(G, D, Gs); G's constant is 1 larger."""
        const = "G_synthesis/4x4/Const/const"
        live = self.g | {const: self.g[const] + np.float32(1)}
        return self.generator(live), self.discriminator(), self.generator()
