"""The operations of the original networks, literally and slowly, in float64."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

ROOT2 = math.sqrt(2)
SMOOTH = torch.tensor([1.0, 3, 3, 1], dtype=torch.float64)
SMOOTH = SMOOTH[:, None] * SMOOTH[None, :] / 64


def normal(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    """Normal numbers, float32, as files hold them."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=rng) * scale


def upfirdn(
    x: Tensor, f: Tensor, *, up: int = 1, down: int = 1, pad: tuple[int, int], gain: float = 1.0
) -> Tensor:
    """Zeros between the samples, padding, true convolution of every channel, every n-th sample."""
    n, c, h, w = x.shape
    y = x.new_zeros(n, c, h * up, w * up)
    y[:, :, ::up, ::up] = x
    y = F.pad(y, (pad[0], pad[1], pad[0], pad[1]))
    y = y.reshape(n * c, 1, *y.shape[2:])
    y = F.conv2d(y, f.to(x.dtype).flip((0, 1))[None, None] * gain)
    return y.reshape(n, c, *y.shape[2:])[:, :, ::down, ::down]


def upsample(x: Tensor, f: Tensor = SMOOTH) -> Tensor:
    """NVlabs' upsample2d: padding 2 before and 1 behind, gain 4."""
    return upfirdn(x, f, up=2, pad=(2, 1), gain=4)


def downsample(x: Tensor, f: Tensor = SMOOTH) -> Tensor:
    """NVlabs' downsample2d: padding 1 on both sides."""
    return upfirdn(x, f, down=2, pad=(1, 1))


def act(x: Tensor, bias: Tensor | None, *, gain: float = 1.0, clamp: float | None = None) -> Tensor:
    """Bias, leaky ReLU of slope 0.2, gain √2, bound; in this order."""
    if bias is not None:
        x = x + bias.reshape(1, -1, *[1] * (x.ndim - 2))
    x = torch.where(x > 0, x, 0.2 * x) * (math.sqrt(2) * gain)
    return x if clamp is None else x.clamp(-clamp * gain, clamp * gain)


def second_moment(x: Tensor) -> Tensor:
    """Every row to a mean square of 1."""
    return x / torch.sqrt((x**2).mean(dim=1, keepdim=True) + 1e-8)


def minibatch_stddev(x: Tensor, group: int | None, channels: int) -> Tensor:
    """The standard deviation over groups of images, as extra maps."""
    n, c, h, w = x.shape
    size = n if group is None else min(group, n)
    extra = x.new_zeros(n, channels, h, w)
    for first in range(n // size):
        members = list(range(first, n, n // size))
        for k in range(channels):
            part = x[members][:, k * (c // channels) : (k + 1) * (c // channels)]
            variance = ((part - part.mean(dim=0)) ** 2).mean(dim=0)
            extra[members, k] = torch.sqrt(variance + 1e-8).mean()
    return torch.cat([x, extra], dim=1)


def lrelu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def blur(x: Tensor) -> Tensor:
    """[1, 2, 1] / 4 along both axes, zeros around."""
    x = F.pad(x, (1, 1, 1, 1))
    x = (x[:, :, :-2] + 2 * x[:, :, 1:-1] + x[:, :, 2:]) / 4
    return (x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]) / 4


def conv(x: Tensor, weight: Tensor, *, gain: float = ROOT2) -> Tensor:
    """Weight [out, in, k, k], equalised, same size."""
    scale = gain / math.sqrt(weight[0].numel())
    return F.conv2d(x, weight * scale, padding=weight.shape[-1] // 2)


def four_shifts(weight: Tensor) -> Tensor:
    """Weight [out, in, 3, 3], equalised: zeros around, the sum of four shifts, [out, in, 4, 4]."""
    w = F.pad(weight * ROOT2 / math.sqrt(weight[0].numel()), (1, 1, 1, 1))
    return w[:, :, 1:, 1:] + w[:, :, :-1, 1:] + w[:, :, 1:, :-1] + w[:, :, :-1, :-1]


def fused_up(x: Tensor, weight: Tensor) -> Tensor:
    """The four shifts transposed, scattered by 2."""
    w = four_shifts(weight)
    n, _, h, v = x.shape
    out = torch.zeros(n, w.shape[0], 2 * h + 2, 2 * v + 2, dtype=x.dtype)
    for a in range(4):
        for b in range(4):
            spread = torch.einsum("nihv,oi->nohv", x, w[:, :, a, b])
            out[:, :, a : a + 2 * h : 2, b : b + 2 * v : 2] += spread
    return out[:, :, 1:-1, 1:-1]


def mean_of_four(x: Tensor) -> Tensor:
    return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4


def double(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A file's tensors in float64."""
    return {name: torch.as_tensor(value).double() for name, value in tensors.items()}
