"""Small random files in the layout of rosinality's stylegan2-pytorch, and their networks.

Tensor names and forward passes follow that repository's model.py, literally; e4e, pSp, ReStyle and
HyperStyle carry a copy of its generator.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .reference import SMOOTH, act, minibatch_stddev, normal, second_moment, upfirdn


class Rosinality:
    """A pair of networks in rosinality's layout.

    Args:
        channels: Feature maps at 4, 8, …
        depth: Layers of the style MLP.
        style_dim: Width of z and w.
        noises: Whether the constant noise is among the tensors.
        seed: Of the numbers.
    """

    def __init__(
        self,
        *,
        channels: tuple[int, ...] = (5, 4, 3),
        depth: int = 3,
        style_dim: int = 6,
        noises: bool = True,
        seed: int = 0,
    ) -> None:
        self.channels, self.depth, self.style_dim, self.noises = channels, depth, style_dim, noises
        self.layers = 2 * len(channels)
        self.g = self._fill(self._generator(), seed=seed)
        self.d = self._fill(self._discriminator(), seed=seed + 1)
        self.latent_avg = normal(style_dim, seed=seed + 2)

    def _fill(self, shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
        found = {}
        for i, (name, shape) in enumerate(shapes.items()):
            if name.endswith("kernel"):
                grown = ".upsample." in name or (
                    name.startswith("convs.") and ".conv.blur." in name
                )
                found[name] = SMOOTH.float() * (4 if grown else 1)
            else:
                slow = 100.0 if name.startswith("style.") else 1.0  # lr_mul 0.01
                found[name] = normal(*shape, seed=1000 * seed + i, scale=slow)
        return found

    def _generator(self) -> dict[str, tuple[int, ...]]:
        s = self.style_dim
        shapes: dict[str, tuple[int, ...]] = {}
        for i in range(1, self.depth + 1):
            shapes[f"style.{i}.weight"], shapes[f"style.{i}.bias"] = (s, s), (s,)
        shapes["input.input"] = (1, self.channels[0], 4, 4)

        def modulated(name: str, c_in: int, c_out: int, k: int) -> None:
            shapes[f"{name}.weight"] = (1, c_out, c_in, k, k)
            shapes[f"{name}.modulation.weight"] = (c_in, s)
            shapes[f"{name}.modulation.bias"] = (c_in,)

        def styled(name: str, c_in: int, c_out: int, *, up: bool) -> None:
            modulated(f"{name}.conv", c_in, c_out, 3)
            if up:
                shapes[f"{name}.conv.blur.kernel"] = (4, 4)
            shapes[f"{name}.noise.weight"] = (1,)
            shapes[f"{name}.activate.bias"] = (c_out,)

        def to_rgb(name: str, c_in: int) -> None:
            shapes[f"{name}.bias"] = (1, 3, 1, 1)
            if name != "to_rgb1":
                shapes[f"{name}.upsample.kernel"] = (4, 4)
            modulated(f"{name}.conv", c_in, 3, 1)

        styled("conv1", self.channels[0], self.channels[0], up=False)
        to_rgb("to_rgb1", self.channels[0])
        for b in range(1, len(self.channels)):
            styled(f"convs.{2 * b - 2}", self.channels[b - 1], self.channels[b], up=True)
            styled(f"convs.{2 * b - 1}", self.channels[b], self.channels[b], up=False)
            to_rgb(f"to_rgbs.{b - 1}", self.channels[b])
        if self.noises:
            for i in range(self.layers - 1):
                side = 2 ** ((i + 5) // 2)
                shapes[f"noises.noise_{i}"] = (1, 1, side, side)
        return shapes

    def _discriminator(self) -> dict[str, tuple[int, ...]]:
        top, last = self.channels[-1], self.channels[0]
        shapes: dict[str, tuple[int, ...]] = {
            "convs.0.0.weight": (top, 3, 1, 1),
            "convs.0.1.bias": (top,),
        }
        for i, b in enumerate(range(len(self.channels) - 1, 0, -1), start=1):
            c, out = self.channels[b], self.channels[b - 1]
            shapes |= {
                f"convs.{i}.conv1.0.weight": (c, c, 3, 3),
                f"convs.{i}.conv1.1.bias": (c,),
                f"convs.{i}.conv2.0.kernel": (4, 4),
                f"convs.{i}.conv2.1.weight": (out, c, 3, 3),
                f"convs.{i}.conv2.2.bias": (out,),
                f"convs.{i}.skip.0.kernel": (4, 4),
                f"convs.{i}.skip.1.weight": (out, c, 1, 1),
            }
        return shapes | {
            "final_conv.0.weight": (last, last + 1, 3, 3),
            "final_conv.1.bias": (last,),
            "final_linear.0.weight": (last, 16 * last),
            "final_linear.0.bias": (last,),
            "final_linear.1.weight": (1, last),
            "final_linear.1.bias": (1,),
        }

    def content(self) -> dict[str, Any]:
        """A training checkpoint with a mean code, as conversions add it."""
        return {
            "g": {name: value + 1 for name, value in self.g.items()} | self._filters(),
            "d": dict(self.d),
            "g_ema": dict(self.g),
            "g_optim": {"state": {}, "param_groups": [{"lr": 0.002}]},
            "d_optim": {"state": {}, "param_groups": []},
            "args": {"size": 4 << (len(self.channels) - 1), "n_mlp": self.depth},
            "ada_aug_p": 0.0,
            "latent_avg": self.latent_avg,
        }

    def _filters(self) -> dict[str, Tensor]:
        return {name: value for name, value in self.g.items() if name.endswith("kernel")}

    # -- as networks ------------------------------------------------------------------------

    def mapping(self, p: dict[str, Tensor], z: Tensor) -> Tensor:
        """The style MLP: [N, style_dim] to [N, style_dim]."""
        x = second_moment(z)
        for i in range(1, self.depth + 1):
            scale = (1 / math.sqrt(self.style_dim)) * 0.01
            x = act(x @ (p[f"style.{i}.weight"] * scale).T, p[f"style.{i}.bias"] * 0.01)
        return x

    def synthesis(self, p: dict[str, Tensor], latent: Tensor) -> Tensor:
        """Generator.forward with input_is_latent and without random noise."""
        out = p["input.input"].repeat(len(latent), 1, 1, 1)
        out = self._styled(p, "conv1", out, latent[:, 0], p["noises.noise_0"])
        skip = self._to_rgb(p, "to_rgb1", out, latent[:, 1], None)
        i = 1
        for b in range(len(self.channels) - 1):
            noise1, noise2 = p[f"noises.noise_{2 * b + 1}"], p[f"noises.noise_{2 * b + 2}"]
            out = self._styled(p, f"convs.{2 * b}", out, latent[:, i], noise1)
            out = self._styled(p, f"convs.{2 * b + 1}", out, latent[:, i + 1], noise2)
            skip = self._to_rgb(p, f"to_rgbs.{b}", out, latent[:, i + 2], skip)
            i += 2
        return skip

    def _modulated(
        self, p: dict[str, Tensor], name: str, x: Tensor, style: Tensor, *, demodulate: bool
    ) -> Tensor:
        weight = p[f"{name}.weight"][0]
        scale = 1 / math.sqrt(weight[0].numel())
        modulation = p[f"{name}.modulation.weight"] / math.sqrt(self.style_dim)
        style = style @ modulation.T + p[f"{name}.modulation.bias"]
        images = []
        for image, s in zip(x, style, strict=True):
            w = scale * weight * s[None, :, None, None]
            if demodulate:
                w = w * torch.rsqrt((w**2).sum(dim=(1, 2, 3), keepdim=True) + 1e-8)
            if f"{name}.blur.kernel" in p:
                y = F.conv_transpose2d(image[None], w.transpose(0, 1), padding=0, stride=2)
                images.append(upfirdn(y, p[f"{name}.blur.kernel"], pad=(1, 1)))  # holds the gain 4
            else:
                images.append(F.conv2d(image[None], w, padding=w.shape[-1] // 2))
        return torch.cat(images)

    def _styled(
        self, p: dict[str, Tensor], name: str, x: Tensor, style: Tensor, noise: Tensor
    ) -> Tensor:
        x = self._modulated(p, f"{name}.conv", x, style, demodulate=True)
        return act(x + p[f"{name}.noise.weight"] * noise, p[f"{name}.activate.bias"])

    def _to_rgb(
        self, p: dict[str, Tensor], name: str, x: Tensor, style: Tensor, skip: Tensor | None
    ) -> Tensor:
        out = self._modulated(p, f"{name}.conv", x, style, demodulate=False) + p[f"{name}.bias"]
        if skip is None:
            return out
        return out + upfirdn(skip, p[f"{name}.upsample.kernel"], up=2, pad=(2, 1))

    def judge(self, p: dict[str, Tensor], x: Tensor) -> Tensor:
        """Discriminator.forward: images to logits [N]."""

        def weight(name: str) -> Tensor:
            return p[f"{name}.weight"] / math.sqrt(p[f"{name}.weight"][0].numel())

        x = act(F.conv2d(x, weight("convs.0.0")), p["convs.0.1.bias"])
        for i in range(1, len(self.channels)):
            block = f"convs.{i}"
            out = F.conv2d(x, weight(f"{block}.conv1.0"), padding=1)
            out = act(out, p[f"{block}.conv1.1.bias"])
            out = upfirdn(out, p[f"{block}.conv2.0.kernel"], pad=(2, 2))
            out = act(
                F.conv2d(out, weight(f"{block}.conv2.1"), stride=2), p[f"{block}.conv2.2.bias"]
            )
            skip = upfirdn(x, p[f"{block}.skip.0.kernel"], pad=(1, 1))
            skip = F.conv2d(skip, weight(f"{block}.skip.1"), stride=2)
            x = (out + skip) / math.sqrt(2)
        x = minibatch_stddev(x, 4, 1)
        x = act(F.conv2d(x, weight("final_conv.0"), padding=1), p["final_conv.1.bias"])
        x = act(x.flatten(1) @ weight("final_linear.0").T, p["final_linear.0.bias"])
        return (x @ weight("final_linear.1").T + p["final_linear.1.bias"])[:, 0]
