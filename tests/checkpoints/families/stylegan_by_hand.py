"""StyleGAN's operations written out in float64, for the references of its families' tests."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

ROOT2 = math.sqrt(2)


def double(state: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors of a file in float64."""
    return {
        key: torch.from_numpy(np.asarray(value, dtype=np.float64)) for key, value in state.items()
    }


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers in float64."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=rng, dtype=torch.float64)


class Drawing:
    """Draws float32 tensors one after the other, each another one."""

    def __init__(self, seed: int) -> None:
        self.rng = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int, scale: float = 1.0, mean: float = 0.0) -> Tensor:
        return torch.randn(shape, generator=self.rng) * scale + mean


def lrelu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def pixel_norm(z: Tensor) -> Tensor:
    return z / torch.sqrt((z**2).mean(dim=1, keepdim=True) + 1e-8)


def instance_norm(x: Tensor) -> Tensor:
    x = x - x.mean(dim=(2, 3), keepdim=True)
    return x / torch.sqrt((x**2).mean(dim=(2, 3), keepdim=True) + 1e-8)


def style(x: Tensor, w: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Weight [2C, w_dim]: first all scales, then all shifts; gain 1."""
    y = w @ weight.T / math.sqrt(w.shape[1]) + bias
    scale, shift = y[:, : x.shape[1]], y[:, x.shape[1] :]
    return x * (scale[:, :, None, None] + 1) + shift[:, :, None, None]


def blur(x: Tensor) -> Tensor:
    """[1, 2, 1] / 4 along both axes, zeros around."""
    x = F.pad(x, (1, 1, 1, 1))
    x = (x[:, :, :-2] + 2 * x[:, :, 1:-1] + x[:, :, 2:]) / 4
    return (x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]) / 4


def conv(x: Tensor, weight: Tensor, *, gain: float = ROOT2) -> Tensor:
    """Weight [out, in, k, k], equalised, same size."""
    scale = gain / math.sqrt(weight[0].numel())
    return F.conv2d(x, weight * scale, padding=weight.shape[-1] // 2)


def nearest_up(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def fused_up(x: Tensor, weight: Tensor) -> Tensor:
    """Weight [out, in, 3, 3]: zeros around, the sum of four shifts, transposed, scattered by 2."""
    w = weight * ROOT2 / math.sqrt(weight[0].numel())
    w = F.pad(w, (1, 1, 1, 1))
    w = w[:, :, 1:, 1:] + w[:, :, :-1, 1:] + w[:, :, 1:, :-1] + w[:, :, :-1, :-1]
    n, _, h, v = x.shape
    out = torch.zeros(n, w.shape[0], 2 * h + 2, 2 * v + 2, dtype=x.dtype)
    for a in range(4):
        for b in range(4):
            spread = torch.einsum("nihv,oi->nohv", x, w[:, :, a, b])
            out[:, :, a : a + 2 * h : 2, b : b + 2 * v : 2] += spread
    return out[:, :, 1:-1, 1:-1]


def mean_of_four(x: Tensor) -> Tensor:
    return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4


def deviation(x: Tensor, group: int) -> Tensor:
    """Appends the minibatch standard deviation over groups of every (N / group)-th image."""
    n = x.shape[0]
    maps = torch.zeros(n, 1, *x.shape[2:], dtype=x.dtype)
    groups = n // min(group, n)
    for first in range(groups):
        members = list(range(first, n, groups))
        variance = x[members].var(dim=0, correction=0)
        maps[members] = torch.sqrt(variance + 1e-8).mean()
    return torch.cat([x, maps], dim=1)


def mapping(z: Tensor, layers: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Weights [out, in] and biases, learning-rate multiplier 0.01, gain √2 on the weight."""
    x = pixel_norm(z)
    for weight, bias in layers:
        x = lrelu(x @ weight.T * (ROOT2 * 0.01 / math.sqrt(weight.shape[1])) + 0.01 * bias)
    return x


def discriminator(
    x: Tensor, get: Callable[[str], Tensor], names: dict[str, Any], *, group: int = 4
) -> Tensor:
    """D by the names of its layers; ``get`` gives [out, in, k, k] or [out, in]."""

    def linear(x: Tensor, name: str, gain: float) -> Tensor:
        weight = get(f"{name}.weight")
        return x @ weight.T * gain / math.sqrt(weight.shape[1]) + get(f"{name}.bias")

    def layer(x: Tensor, name: str) -> Tensor:
        return conv(x, get(f"{name}.weight")) + get(f"{name}.bias")[:, None, None]

    x = lrelu(layer(x, names["rgb"]))
    for first, second in names["blocks"]:
        x = lrelu(layer(x, first))
        down = mean_of_four(conv(blur(x), get(f"{second}.weight")))
        x = lrelu(down + get(f"{second}.bias")[:, None, None])
    x = lrelu(layer(deviation(x, group), names["conv"]))
    x = lrelu(linear(x.flatten(1), names["fc"], ROOT2))
    return linear(x, names["out"], 1.0)[:, 0]
