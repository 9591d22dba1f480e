"""StyleGAN2 as other projects store it: small random networks, and what they compute.

A subclass says how a project names and shapes its tensors, and what it computes otherwise than the
others, after that project's source. Everything is computed literally and slowly.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .layer_files import LayerFiles, Shapes, layer
from .reference import SMOOTH, act, downsample, minibatch_stddev, second_moment, upfirdn, upsample


class StyleGAN2Files(LayerFiles):
    """A pair of networks.

    Layers of G are ``mean`` (the mean code), ``g_embed``, ``g_dense``, ``const``, ``conv``,
    ``rgb`` and ``g_shortcut``; those of D ``d_embed``, ``d_dense``, ``from_rgb``, ``conv0``,
    ``conv1``, ``d_shortcut``, ``d_conv``, ``fc`` and ``out``, blocks counted from the image on.

    Args:
        arch_g: G's architecture: "skip", "resnet", or another name for a plain one.
        arch_d: D's.
        c_dim: Width of the labels.
        clamp: Bound on the layers' outputs.
        channels: Feature maps at 4, 8, …
        depth: Layers of M.
        cmap_depth: Layers of D's mapping of labels.
        group: Images in a group of the minibatch deviation, None for all.
        noise: Whether the constant noise is in the file.
        repeat_w: Whether M gives one w for all layers.
        fc_width: Width of D's hidden dense layer; None for the feature maps at 4 px.
        seed: Of the numbers.
    """

    z_dim, w_dim, hidden, embed_dim, cmap_dim = 6, 7, 8, 5, 9
    lr, cmap_lr = 0.01, 0.1
    style_shift = 0.0  # added to the styles' biases at run time
    scaled = True  # whether filters are divided by √fan_in before they are demodulated

    def __init__(
        self,
        *,
        arch_g: str = "skip",
        arch_d: str = "resnet",
        c_dim: int = 0,
        clamp: float | None = None,
        channels: tuple[int, ...] = (5, 4, 3),
        depth: int = 2,
        cmap_depth: int = 1,
        group: Any = 4,
        noise: bool = True,
        repeat_w: bool = True,
        fc_width: int | None = None,
        seed: int = 0,
    ) -> None:
        self.arch_g, self.arch_d, self.c_dim, self.clamp = arch_g, arch_d, c_dim, clamp
        self.channels, self.depth, self.cmap_depth = channels, depth, cmap_depth
        self.group, self.noise, self.repeat_w = group, noise, repeat_w
        self.fc_width = fc_width or channels[0]
        self.last = len(channels) - 1
        self.layers = 2 * len(channels)
        self.g = self.fill(self._generator(), seed=seed)
        self.d = self.fill(self._discriminator(), seed=seed + 1)

    def scale(self, kind: str, tensor: str) -> float:
        """Larger where a learning-rate multiplier shrinks it at run time."""
        return {"g_dense": 1 / self.lr, "d_dense": 1 / self.cmap_lr}.get(kind, 1.0)

    def upsampled(self, x: Tensor, weight: Tensor) -> Tensor:
        """The modulated convolution that doubles the side."""
        raise NotImplementedError

    def _generator(self) -> Iterator[tuple[str, int, Shapes]]:
        last = self.w_dim if self.repeat_w else self.w_dim * self.layers
        widths = [self.z_dim + (self.embed_dim if self.c_dim else 0)]
        widths += [self.hidden] * (self.depth - 1) + [last]
        if "mean" in self.names:
            yield "mean", 0, {"": (last,)}
        if self.c_dim:
            yield "g_embed", 0, layer(self.c_dim, self.embed_dim)
        for i in range(self.depth):
            yield "g_dense", i, layer(widths[i], widths[i + 1])
        yield "const", 0, {"": (self.channels[0], 4, 4)}
        for i in range(self.layers - 1):
            b = (i + 1) // 2
            into, out = self.channels[b - i % 2], self.channels[b]
            noise = {"noise": (1, 1, 4 << b, 4 << b), "noise_strength": ()} if self.noise else {}
            yield "conv", i, self._modulated_layer(into, out, 3) | noise
            if i % 2 == 1 and self.arch_g == "resnet":
                yield "g_shortcut", b, {"weight": (out, into, 1, 1)}
            if i % 2 == 0 and (b == self.last or self.arch_g in ("skip", "grown")):
                yield "rgb", b, self._modulated_layer(out, 3, 1)

    def _modulated_layer(self, into: int, out: int, k: int) -> Shapes:
        style = {"affine.weight": (into, self.w_dim), "affine.bias": (into,)}
        return layer(into, out, k, k) | style

    def _discriminator(self) -> Iterator[tuple[str, int, Shapes]]:
        if self.c_dim:
            yield "d_embed", 0, layer(self.c_dim, self.cmap_dim)
            for i in range(self.cmap_depth):
                yield "d_dense", i, layer(self.cmap_dim, self.cmap_dim)
        wide = self.channels[::-1]
        for i, c in enumerate(wide):
            if i == 0 or self.arch_d in ("skip", "grown"):
                yield "from_rgb", i, layer(3, c, 1, 1)
            if i < self.last:
                yield "conv0", i, layer(c, c, 3, 3)
                yield "conv1", i, layer(c, wide[i + 1], 3, 3)
                if self.arch_d == "resnet":
                    yield "d_shortcut", i, {"weight": (wide[i + 1], c, 1, 1)}
        yield "d_conv", self.last, layer(c + 1, c, 3, 3)
        yield "fc", self.last, layer(16 * c, self.fc_width)
        yield "out", self.last, layer(self.fc_width, self.cmap_dim if self.c_dim else 1)

    # -- networks ---------------------------------------------------------------------------

    def mapping(self, p: dict[str, Tensor], z: Tensor, c: Tensor | None = None) -> Tensor:
        """M: z [N, z_dim] and labels to [N, w_dim], or [N, L, w_dim]."""
        x = second_moment(z)
        if c is not None:
            x = torch.cat([x, second_moment(self._dense(p, "g_embed", 0, c))], dim=1)
        for i in range(self.depth):
            x = act(self._dense(p, "g_dense", i, x, lr=self.lr), None)
        return x if self.repeat_w else x.reshape(len(x), self.layers, self.w_dim)

    def synthesis(self, p: dict[str, Tensor], w: Tensor) -> Tensor:
        """G: w [N, L, w_dim] to images."""
        x = self.get(p, "const", tensor="").repeat(len(w), 1, 1, 1)
        image = shortcut = None
        for i in range(self.layers - 1):
            b = (i + 1) // 2
            if self.arch_g == "resnet" and i % 2 == 1:
                weight = self.get(p, "g_shortcut", b)
                shortcut = upsample(F.conv2d(x, weight / math.sqrt(weight.shape[1])))
            x = self._modulated(p, "conv", i, x, w[:, i], up=i % 2 == 1)
            if self.noise:
                strength = self.get(p, "conv", i, "noise_strength")
                x = x + self.get(p, "conv", i, "noise") * strength
            x = act(x, self.get(p, "conv", i, "bias"), clamp=self.clamp)
            if shortcut is not None and i % 2 == 0:
                x = (x + shortcut) / math.sqrt(2)
            if i % 2 == 0 and (self.arch_g == "skip" or b == self.last):
                y = self._modulated(p, "rgb", b, x, w[:, i + 1])
                y = y + self.get(p, "rgb", b, "bias")[:, None, None]
                y = y if self.clamp is None else y.clamp(-self.clamp, self.clamp)
                image = y if image is None else upsample(image) + y
        assert image is not None
        return image

    def judge(self, p: dict[str, Tensor], image: Tensor, c: Tensor | None = None) -> Tensor:
        """D: images and labels to logits [N]."""
        x: Any = 0.0
        for i in range(self.last):
            if i == 0 or self.arch_d == "skip":
                x = x + self._conv(p, "from_rgb", i, image)
            image = downsample(image)
            y = self._conv(p, "conv1", i, self._conv(p, "conv0", i, x), down=True)
            if self.arch_d == "resnet":
                y = (y + self._conv(p, "d_shortcut", i, x, down=True)) / math.sqrt(2)
            x = y
        if self.arch_d == "skip":  # NVlabs leave the last one unbounded
            x = x + self._conv(p, "from_rgb", self.last, image, clamp=False)
        x = self._conv(p, "d_conv", self.last, minibatch_stddev(x, self.group, 1))
        x = act(self._dense(p, "fc", self.last, x.flatten(1)), None)
        x = self._dense(p, "out", self.last, x)
        if c is None:
            return x[:, 0]
        label = second_moment(self._dense(p, "d_embed", 0, c))
        for i in range(self.cmap_depth):
            label = act(self._dense(p, "d_dense", i, label, lr=self.cmap_lr), None)
        return (x * label).sum(dim=1) / math.sqrt(self.cmap_dim)

    def _dense(
        self, p: dict[str, Tensor], kind: str, i: int, x: Tensor, *, lr: float = 1.0
    ) -> Tensor:
        weight = self.get(p, kind, i)
        scaled = weight * (lr / math.sqrt(weight.shape[1]))
        return x @ scaled.T + self.get(p, kind, i, "bias") * lr

    def _modulated(
        self, p: dict[str, Tensor], kind: str, i: int, x: Tensor, w: Tensor, *, up: bool = False
    ) -> Tensor:
        weight = self.get(p, kind, i)
        if self.scaled or kind == "rgb":
            weight = weight / math.sqrt(weight[0].numel())
        affine = self.get(p, kind, i, "affine.weight") / math.sqrt(self.w_dim)
        styles = w @ affine.T + self.get(p, kind, i, "affine.bias") + self.style_shift
        images = []
        for image, style in zip(x, styles, strict=True):
            own = weight * style[None, :, None, None]
            if kind == "conv":
                own = own * torch.rsqrt((own**2).sum(dim=(1, 2, 3), keepdim=True) + 1e-8)
            if up:
                images.append(self.upsampled(image[None], own))
            else:
                images.append(F.conv2d(image[None], own, padding=own.shape[-1] // 2))
        return torch.cat(images)

    def _conv(
        self,
        p: dict[str, Tensor],
        kind: str,
        i: int,
        x: Tensor,
        *,
        down: bool = False,
        clamp: bool = True,
    ) -> Tensor:
        weight = self.get(p, kind, i)
        k, weight = weight.shape[-1], weight / math.sqrt(weight[0].numel())
        if down:
            x = upfirdn(x, SMOOTH, pad=(k // 2 + 1, k // 2 + 1))
        x = F.conv2d(x, weight, stride=2 if down else 1, padding=0 if down else k // 2)
        if kind == "d_shortcut":
            return x
        return act(x, self.get(p, kind, i, "bias"), clamp=self.clamp if clamp else None)
