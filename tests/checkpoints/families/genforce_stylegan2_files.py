"""Small random StyleGAN2 files as genforce and Hammer write them, and their networks.

Tensor names and forward passes follow models/stylegan2_{generator,discriminator}.py of genforce
(sefa) and of Hammer, literally.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .reference import SMOOTH, act, downsample, minibatch_stddev, normal, second_moment, upfirdn


class Genforce:
    """A pair of networks.

    Args:
        hammer: Hammer's dialect, else genforce's.
        arch_g: "skip", "resnet" (Hammer alone) or "origin".
        arch_d: "skip", "resnet" or "origin".
        repeat_w: Whether M gives one w for all layers.
        c_dim: Width of the labels (Hammer alone).
        clamp: conv_clamp (Hammer alone).
        channels: Feature maps at 4, 8, …
        depth: Layers of M.
        seed: Of the numbers.
    """

    def __init__(
        self,
        *,
        hammer: bool,
        arch_g: str = "skip",
        arch_d: str = "resnet",
        repeat_w: bool = True,
        c_dim: int = 0,
        clamp: float | None = None,
        channels: tuple[int, ...] = (5, 4, 3),
        depth: int = 2,
        seed: int = 0,
    ) -> None:
        self.hammer, self.arch_g, self.arch_d, self.repeat_w = hammer, arch_g, arch_d, repeat_w
        self.c_dim, self.clamp, self.channels, self.depth = c_dim, clamp, channels, depth
        self.z_dim, self.w_dim, self.hidden, self.embed_dim = 6, 7, 8, 5
        self.layers = 2 * len(channels)
        self.g = self._fill(self._generator(), seed=seed)
        self.d = self._fill(self._discriminator(), seed=seed + 1)

    def _fill(self, shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
        found = {}
        for i, (name, shape) in enumerate(shapes.items()):
            if name.endswith("kernel"):  # genforce: [1, 1, 4, 4], the generator's times 4
                gain = 4 if name.startswith("synthesis") else 1
                found[name] = (SMOOTH * gain).float()[None, None]
            elif name.endswith("filter"):
                found[name] = SMOOTH.float()
            else:
                # Stored larger, as lr_mul asks: 0.01 in M, 0.1 in D's mapping.
                scale = {"mapping.": 100.0, "mapping0": 10.0}.get(name[:8], 1.0)
                scale = 1.0 if "embedding" in name else scale
                found[name] = normal(*shape, seed=1000 * seed + i, scale=scale)
        return found

    def _filter(self, name: str) -> dict[str, tuple[int, ...]]:
        return {name: (4, 4)} if self.hammer else {f"{name}.kernel": (1, 1, 4, 4)}

    def _generator(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        widths = [self.z_dim + (self.embed_dim if self.c_dim else 0)]
        last = self.w_dim if self.repeat_w else self.w_dim * self.layers
        widths += [self.hidden] * (self.depth - 1) + [last]
        if self.c_dim:
            shapes["mapping.embedding.weight"] = (self.embed_dim, self.c_dim)
            shapes["mapping.embedding.bias"] = (self.embed_dim,)
        for i in range(self.depth):
            shapes[f"mapping.dense{i}.weight"] = (widths[i + 1], widths[i])
            shapes[f"mapping.dense{i}.bias"] = (widths[i + 1],)
        shapes["w_avg" if self.hammer else "truncation.w_avg"] = (last,)
        shapes["synthesis.early_layer.const"] = (1, self.channels[0], 4, 4)

        def modulated(name: str, c_in: int, c_out: int, k: int) -> None:
            shapes[f"synthesis.{name}.weight"] = (c_out, c_in, k, k)
            shapes[f"synthesis.{name}.bias"] = (c_out,)
            shapes[f"synthesis.{name}.style.weight"] = (c_in, self.w_dim)
            shapes[f"synthesis.{name}.style.bias"] = (c_in,)

        for b, c in enumerate(self.channels):
            if b > 0:
                modulated(f"layer{2 * b - 1}", self.channels[b - 1], c, 3)
                shapes |= self._filter(f"synthesis.layer{2 * b - 1}.filter")
                if self.arch_g == "resnet":
                    shapes[f"synthesis.residual{b}.weight"] = (c, self.channels[b - 1], 1, 1)
                    shapes |= self._filter(f"synthesis.residual{b}.filter")
            modulated(f"layer{2 * b}", c, c, 3)
            if self.arch_g == "skip" or b == len(self.channels) - 1:
                modulated(f"output{b}", c, 3, 1)
        for i in range(self.layers - 1):
            side = 4 << ((i + 1) // 2)
            shapes[f"synthesis.layer{i}.noise"] = (1, 1, side, side)
            shapes[f"synthesis.layer{i}.noise_strength"] = ()
        if self.arch_g == "skip":
            shapes |= (
                self._filter("synthesis.filter")
                if self.hammer
                else {"synthesis.upsample.kernel": (1, 1, 4, 4)}
            )
        return shapes

    def _discriminator(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        wide = self.channels[::-1]
        if self.c_dim:
            shapes["embedding.weight"] = (self.embed_dim, self.c_dim)
            shapes["embedding.bias"] = (self.embed_dim,)
            shapes["mapping0.weight"] = (self.embed_dim, self.embed_dim)
            shapes["mapping0.bias"] = (self.embed_dim,)
        for b, c in enumerate(wide):
            if b == 0 or self.arch_d == "skip":
                shapes[f"input{b}.weight"], shapes[f"input{b}.bias"] = (c, 3, 1, 1), (c,)
            if b < len(wide) - 1:
                out = wide[b + 1]
                shapes[f"layer{2 * b}.weight"] = (c, c, 3, 3)
                shapes[f"layer{2 * b}.bias"] = (c,)
                shapes[f"layer{2 * b + 1}.weight"] = (out, c, 3, 3)
                shapes[f"layer{2 * b + 1}.bias"] = (out,)
                shapes |= self._filter(f"layer{2 * b + 1}.filter")
                if self.arch_d == "resnet":
                    name = f"residual{b}" if self.hammer else f"skip_layer{b}"
                    shapes[f"{name}.weight"] = (out, c, 1, 1)
                    shapes |= self._filter(f"{name}.filter")
            else:
                shapes[f"layer{2 * b}.weight"] = (c, c + 1, 3, 3)
                shapes[f"layer{2 * b}.bias"] = (c,)
                shapes[f"layer{2 * b + 1}.weight"] = (c, 16 * c)
                shapes[f"layer{2 * b + 1}.bias"] = (c,)
                name = "output" if self.hammer else f"layer{2 * b + 2}"
                outputs = self.embed_dim if self.c_dim else 1
                shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, c), (outputs,)
        if self.arch_d == "skip":
            shapes |= {"filter": (4, 4)} if self.hammer else {"downsample.kernel": (1, 1, 4, 4)}
        return shapes

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

    # -- as networks ------------------------------------------------------------------------

    def mapping(self, p: dict[str, Tensor], z: Tensor, c: Tensor | None = None) -> Tensor:
        """M: [N, z_dim] to [N, w_dim] or [N, L, w_dim]."""
        x = second_moment(z)
        if self.c_dim:
            weight = p["mapping.embedding.weight"] / math.sqrt(self.c_dim)
            x = torch.cat([x, second_moment(c @ weight.T + p["mapping.embedding.bias"])], dim=1)
        for i in range(self.depth):
            weight = p[f"mapping.dense{i}.weight"]
            wscale = 1.0 / math.sqrt(weight.shape[1]) * 0.01
            x = act(x @ (weight * wscale).T, p[f"mapping.dense{i}.bias"] * 0.01)
        return x if self.repeat_w else x.reshape(len(x), self.layers, self.w_dim)

    def synthesis(self, p: dict[str, Tensor], wp: Tensor) -> Tensor:
        """G: [N, L, w_dim] to images."""
        x = p["synthesis.early_layer.const"].repeat(len(wp), 1, 1, 1)
        half = math.sqrt(0.5)
        image = residual = None
        for i in range(self.layers - 1):
            if self.arch_g == "resnet" and i % 2 == 1:
                weight = p[f"synthesis.residual{(i + 1) // 2}.weight"]
                residual = F.conv2d(x, weight / math.sqrt(weight.shape[1]))
                residual = upfirdn(residual, SMOOTH, up=2, pad=(2, 1), gain=4) * half
            gain = half if self.arch_g == "resnet" and i > 0 and i % 2 == 0 else 1.0
            x = self._modulated(p, f"synthesis.layer{i}", x, wp[:, i], up=i % 2 == 1)
            x = x + p[f"synthesis.layer{i}.noise"] * p[f"synthesis.layer{i}.noise_strength"]
            x = act(x, p[f"synthesis.layer{i}.bias"], gain=gain, clamp=self.clamp)
            if gain != 1.0:
                x = x + residual
            last = i == self.layers - 2
            if i % 2 == 0 and (self.arch_g == "skip" or last):
                name = f"synthesis.output{i // 2}"
                y = self._modulated(p, name, x, wp[:, i + 1]) + p[f"{name}.bias"][:, None, None]
                y = y if self.clamp is None else y.clamp(-self.clamp, self.clamp)
                if image is not None:
                    image = upfirdn(image, SMOOTH, up=2, pad=(2, 1), gain=4)
                image = y if image is None else y + image
        return image

    def _modulated(
        self, p: dict[str, Tensor], name: str, x: Tensor, w: Tensor, *, up: bool = False
    ) -> Tensor:
        style = w @ (p[f"{name}.style.weight"] / math.sqrt(self.w_dim)).T + p[f"{name}.style.bias"]
        style = style if self.hammer else style + 1.0  # additional_bias
        raw = p[f"{name}.weight"]
        wscale = 1 / math.sqrt(raw[0].numel())
        images = []
        for image, s in zip(x, style, strict=True):
            weight = raw * s[None, :, None, None]
            demodulated = "output" not in name
            if not self.hammer or not demodulated:
                weight = weight * wscale
            if demodulated:
                weight = weight / torch.sqrt((weight**2).sum(dim=(1, 2, 3), keepdim=True) + 1e-8)
            if up:
                turned = weight if self.hammer else weight.flip((2, 3))
                y = F.conv_transpose2d(image[None], turned.transpose(0, 1), stride=2)
                images.append(upfirdn(y, SMOOTH, pad=(1, 1), gain=4))
            else:
                images.append(F.conv2d(image[None], weight, padding=weight.shape[-1] // 2))
        return torch.cat(images)

    def judge(self, p: dict[str, Tensor], image: Tensor, c: Tensor | None = None) -> Tensor:
        """D: images to logits [N]."""

        def layer(name: str, x: Tensor, *, down: bool = False, gain: float = 1.0) -> Tensor:
            weight = p[f"{name}.weight"] / math.sqrt(p[f"{name}.weight"][0].numel())
            k = weight.shape[-1]
            if down:
                x = upfirdn(x, SMOOTH, pad=(k // 2 + 1, k // 2 + 1))
            x = F.conv2d(x, weight, stride=2 if down else 1, padding=0 if down else k // 2)
            if f"{name}.bias" not in p:
                return x * gain
            return act(x, p[f"{name}.bias"], gain=gain, clamp=self.clamp)

        blocks, half = len(self.channels) - 1, math.sqrt(0.5)
        x = layer("input0", image)
        for b in range(blocks):
            if self.arch_d == "skip" and b > 0:
                image = downsample(image)
                x = x + layer(f"input{b}", image)
            gain = half if self.arch_d == "resnet" else 1.0
            y = layer(f"layer{2 * b + 1}", layer(f"layer{2 * b}", x), down=True, gain=gain)
            if self.arch_d == "resnet":
                name = f"residual{b}" if self.hammer else f"skip_layer{b}"
                y = y + layer(name, x, down=True, gain=half)
            x = y
        if self.arch_d == "skip":
            x = x + layer(f"input{blocks}", downsample(image))
        x = layer(f"layer{2 * blocks}", minibatch_stddev(x, 4, 1)).flatten(1)
        name = f"layer{2 * blocks + 1}"
        x = act(x @ (p[f"{name}.weight"] / math.sqrt(x.shape[1])).T, p[f"{name}.bias"])
        name = "output" if self.hammer else f"layer{2 * blocks + 2}"
        x = x @ (p[f"{name}.weight"] / math.sqrt(x.shape[1])).T + p[f"{name}.bias"]
        if not self.c_dim:
            return x[:, 0]
        embed = c @ (p["embedding.weight"] / math.sqrt(self.c_dim)).T + p["embedding.bias"]
        embed = second_moment(embed) @ (p["mapping0.weight"] * 0.1 / math.sqrt(self.embed_dim)).T
        embed = act(embed, p["mapping0.bias"] * 0.1)
        return (x * embed).sum(dim=1) / math.sqrt(self.embed_dim)
