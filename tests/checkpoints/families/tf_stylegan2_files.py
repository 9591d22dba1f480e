"""Small random networks in the layout of NVlabs' stylegan2 and stylegan2-ada (TensorFlow).

Variable names and forward passes follow training/networks_stylegan2.py and training/networks.py,
literally: weights [in, out] and [k, k, in, out], styles + 1, `upsample_conv_2d` as what it stands
for, upsampling with the filter and then a convolution ("SAME" correlation in TensorFlow).
"""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from idinvert.checkpoints.formats.archive import Stored

from .reference import SMOOTH, act, downsample, minibatch_stddev, normal, second_moment, upfirdn

Variables = dict[str, np.ndarray]


class TFStyleGAN2:
    """A pair of networks.

    Args:
        arch_g: "skip", "resnet", "orig", or "grown" (configurations B to D).
        arch_d: The same for D.
        c_dim: Width of the labels, embedded as stylegan2-ada does.
        clamp: conv_clamp of stylegan2-ada.
        ada: Whether stylegan2-ada made them, else stylegan2.
        group: mbstd_group_size, or "default".
        channels: Feature maps at 4, 8, …
        depth: Layers of M.
        seed: Of the numbers.
    """

    def __init__(
        self,
        *,
        arch_g: str = "skip",
        arch_d: str = "resnet",
        c_dim: int = 0,
        clamp: float | None = None,
        ada: bool = True,
        group: Any = 2,
        channels: tuple[int, ...] = (5, 4, 3),
        depth: int = 2,
        seed: int = 0,
    ) -> None:
        self.arch_g, self.arch_d, self.c_dim, self.clamp = arch_g, arch_d, c_dim, clamp
        self.ada, self.group, self.channels, self.depth = ada, group, channels, depth
        self.z_dim, self.w_dim, self.hidden, self.embed_dim, self.cmap = 6, 7, 8, 5, 9
        self.sides = [4 << i for i in range(len(channels))]
        self.layers = 2 * len(channels)
        self.g = self._fill(self._generator(), seed=seed)
        self.d = self._fill(self._discriminator(), seed=seed + 1)

    def _fill(self, shapes: dict[str, tuple[int, ...]], seed: int) -> Variables:
        found = {}
        for i, (name, shape) in enumerate(shapes.items()):
            # Stored larger, as lrmul asks: 0.01 in M, 0.1 in D's mapping.
            scale = {"G_mapping/Dense": 100.0, "Mapping": 10.0}
            scale = next((s for prefix, s in scale.items() if name.startswith(prefix)), 1.0)
            value = normal(*shape, seed=1000 * seed + i, scale=scale).numpy()
            found[name] = np.float32(0) if name.endswith("lod") else value
        return found

    def _generator(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {} if self.ada else {"lod": ()}
        shapes["dlatent_avg"] = (self.w_dim,)
        g, m = "G_synthesis/", "G_mapping/"
        if self.arch_g == "grown":
            shapes[f"{g}lod"] = ()
        for i in range(self.layers - 1):
            side = 4 << ((i + 1) // 2)
            shapes[f"{g}noise{i}"] = (1, 1, side, side)
        shapes[f"{g}4x4/Const/const"] = (1, self.channels[0], 4, 4)

        def modulated(name: str, c_in: int, c_out: int, k: int) -> None:
            shapes[f"{g}{name}/weight"] = (k, k, c_in, c_out)
            shapes[f"{g}{name}/mod_weight"] = (self.w_dim, c_in)
            shapes[f"{g}{name}/mod_bias"] = (c_in,)
            if k == 3:
                shapes[f"{g}{name}/noise_strength"] = ()
            shapes[f"{g}{name}/bias"] = (c_out,)

        for b, (side, c) in enumerate(zip(self.sides, self.channels, strict=True)):
            scope = f"{side}x{side}"
            if b > 0:
                modulated(f"{scope}/Conv0_up", self.channels[b - 1], c, 3)
            modulated(f"{scope}/Conv1" if b else f"{scope}/Conv", c, c, 3)
            if b > 0 and self.arch_g == "resnet":
                shapes[f"{g}{scope}/Skip/weight"] = (1, 1, self.channels[b - 1], c)
            if self.arch_g == "grown":
                modulated(f"ToRGB_lod{len(self.sides) - 1 - b}", c, 3, 1)
            elif self.arch_g == "skip" or side == self.sides[-1]:
                modulated(f"{scope}/ToRGB", c, 3, 1)
        widths = [self.z_dim + (self.embed_dim if self.c_dim else 0)]
        widths += [self.hidden] * (self.depth - 1) + [self.w_dim]
        if self.c_dim:
            shapes[f"{m}LabelEmbed/weight"] = (self.c_dim, self.embed_dim)
            shapes[f"{m}LabelEmbed/bias"] = (self.embed_dim,)
        for i in range(self.depth):
            shapes[f"{m}Dense{i}/weight"] = (widths[i], widths[i + 1])
            shapes[f"{m}Dense{i}/bias"] = (widths[i + 1],)
        return shapes

    def _discriminator(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {"lod": ()} if self.arch_d == "grown" else {}
        if self.c_dim:
            shapes["LabelEmbed/weight"] = (self.c_dim, self.cmap)
            shapes["LabelEmbed/bias"] = (self.cmap,)
            shapes["Mapping0/weight"], shapes["Mapping0/bias"] = (
                (self.cmap, self.cmap),
                (self.cmap,),
            )

        def conv(name: str, c_in: int, c_out: int, k: int) -> None:
            shapes[f"{name}/weight"], shapes[f"{name}/bias"] = (k, k, c_in, c_out), (c_out,)

        for b in range(len(self.sides) - 1, -1, -1):
            side, c = self.sides[b], self.channels[b]
            scope = f"{side}x{side}"
            if self.arch_d == "grown":
                conv(f"FromRGB_lod{len(self.sides) - 1 - b}", 3, c, 1)
            elif self.arch_d == "skip" or side == self.sides[-1]:
                conv(f"{scope}/FromRGB", 3, c, 1)
            if b > 0:
                conv(f"{scope}/Conv0", c, c, 3)
                conv(f"{scope}/Conv1_down", c, self.channels[b - 1], 3)
                if self.arch_d == "resnet":
                    shapes[f"{scope}/Skip/weight"] = (1, 1, c, self.channels[b - 1])
        c, out = self.channels[0], self.cmap if self.c_dim else 1
        conv("4x4/Conv", c + 1, c, 3)
        shapes["4x4/Dense0/weight"], shapes["4x4/Dense0/bias"] = (16 * c, c), (c,)
        shapes["Output/weight"], shapes["Output/bias"] = (c, out), (out,)
        return shapes

    # -- as files ---------------------------------------------------------------------------

    def settings(self, architecture: str) -> dict[str, Any]:
        """static_kwargs."""
        found: dict[str, Any] = {
            "num_channels": 3,
            "resolution": self.sides[-1],
            "label_size": self.c_dim,
            "fmap_base": 16384,
            "conv_clamp": self.clamp,
            "nonlinearity": "lrelu",
            "resample_kernel": [1, 3, 3, 1],
        }
        return found if architecture == "grown" else {**found, "architecture": architecture}

    def generator(self, variables: Variables) -> Stored:
        """G as its pickle holds it, with its components."""
        own, parts = [], {"synthesis": [], "mapping": []}
        for name, value in variables.items():
            scope, _, rest = name.partition("/")
            group = parts.get(scope.removeprefix("G_")) if scope.startswith("G_") else own
            group.append((rest if group is not own else name, value))
        made = self.settings(self.arch_g)
        components = {
            name: network(f"G_{name}", f"G_{name}", group, made) for name, group in parts.items()
        }
        return network("G", "G_main", own, made, components)

    def discriminator(self, variables: Variables) -> Stored:
        """D as its pickle holds it."""
        made = self.settings(self.arch_d)
        if self.group != "default":
            made["mbstd_group_size"] = self.group
        function = "D_main" if self.ada else "D_stylegan2"
        return network("D", function, list(variables.items()), made)

    def content(self) -> tuple[Stored, Stored, Stored]:
        """(G, D, Gs), as NVlabs pickle them."""
        other = {name: value + np.float32(name.endswith("const")) for name, value in self.g.items()}
        return self.generator(other), self.discriminator(self.d), self.generator(self.g)

    # -- as networks ------------------------------------------------------------------------

    def mapping(self, p: dict[str, Tensor], z: Tensor, c: Tensor | None = None) -> Tensor:
        """M: [N, z_dim] to [N, w_dim]."""
        x = second_moment(z)
        if self.c_dim:
            weight = p["G_mapping/LabelEmbed/weight"] / math.sqrt(self.c_dim)
            x = torch.cat([x, second_moment(c @ weight + p["G_mapping/LabelEmbed/bias"])], dim=1)
        for i in range(self.depth):
            weight = p[f"G_mapping/Dense{i}/weight"]
            x = x @ (weight / math.sqrt(len(weight)) * 0.01)
            x = act(x, p[f"G_mapping/Dense{i}/bias"] * 0.01)
        return x

    def synthesis(self, p: dict[str, Tensor], w: Tensor) -> Tensor:
        """G: [N, L, w_dim] to images."""
        p = {name.removeprefix("G_synthesis/"): value for name, value in p.items()}
        x = p["4x4/Const/const"].repeat(len(w), 1, 1, 1)
        x = self._layer(p, "4x4/Conv", x, w, 0)
        y = self._to_rgb(p, "4x4/ToRGB", x, w[:, 1]) if self.arch_g == "skip" else None
        for res in range(3, len(self.sides) + 2):
            scope = f"{2**res}x{2**res}"
            t = x
            x = self._layer(p, f"{scope}/Conv0_up", x, w, res * 2 - 5, up=True)
            x = self._layer(p, f"{scope}/Conv1", x, w, res * 2 - 4)
            if self.arch_g == "resnet":
                weight = p[f"{scope}/Skip/weight"].permute(3, 2, 0, 1)
                t = F.conv2d(t, weight / math.sqrt(weight.shape[1]))
                x = (x + upfirdn(t, SMOOTH, up=2, pad=(2, 1), gain=4)) * (1 / math.sqrt(2))
            if self.arch_g == "skip":
                y = upfirdn(y, SMOOTH, up=2, pad=(2, 1), gain=4)
                y = y + self._to_rgb(p, f"{scope}/ToRGB", x, w[:, res * 2 - 3])
        if self.arch_g == "skip":
            return y
        name = "ToRGB_lod0" if self.arch_g == "grown" else f"{scope}/ToRGB"
        return self._to_rgb(p, name, x, w[:, res * 2 - 3])

    def _modulated(
        self, p: dict[str, Tensor], name: str, x: Tensor, w: Tensor, *, up: bool, demodulate: bool
    ) -> Tensor:
        weight = p[f"{name}/weight"]
        weight = weight / math.sqrt(weight[..., 0].numel())
        s = w @ (p[f"{name}/mod_weight"] / math.sqrt(self.w_dim)) + p[f"{name}/mod_bias"] + 1
        images = []
        for image, style in zip(x, s, strict=True):
            ww = weight * style[None, None, :, None]
            if demodulate:
                ww = ww * torch.rsqrt((ww**2).sum(dim=(0, 1, 2)) + 1e-8)
            ww = ww.permute(3, 2, 0, 1)
            if up:
                image = upfirdn(image[None], SMOOTH, up=2, pad=(3, 2), gain=4)
                images.append(F.conv2d(image, ww))
            else:
                images.append(F.conv2d(image[None], ww, padding=ww.shape[-1] // 2))
        return torch.cat(images)

    def _layer(
        self, p: dict[str, Tensor], name: str, x: Tensor, w: Tensor, i: int, *, up: bool = False
    ) -> Tensor:
        x = self._modulated(p, name, x, w[:, i], up=up, demodulate=True)
        x = x + p[f"noise{i}"] * p[f"{name}/noise_strength"]
        return act(x, p[f"{name}/bias"], clamp=self.clamp)

    def _to_rgb(self, p: dict[str, Tensor], name: str, x: Tensor, w: Tensor) -> Tensor:
        x = self._modulated(p, name, x, w, up=False, demodulate=False)
        x = x + p[f"{name}/bias"][:, None, None]
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)

    def judge(self, p: dict[str, Tensor], y: Tensor, c: Tensor | None = None) -> Tensor:
        """D: images to logits [N]."""

        def conv(name: str, x: Tensor, *, down: bool = False) -> Tensor:
            weight = p[f"{name}/weight"].permute(3, 2, 0, 1)
            weight = weight / math.sqrt(weight[0].numel())
            k = weight.shape[-1]
            if not down:
                return F.conv2d(x, weight, padding=k // 2)
            return F.conv2d(upfirdn(x, SMOOTH, pad=(k // 2 + 1, k // 2 + 1)), weight, stride=2)

        def layer(name: str, x: Tensor, *, down: bool = False) -> Tensor:
            return act(conv(name, x, down=down), p[f"{name}/bias"], clamp=self.clamp)

        x = None
        for side in self.sides[:0:-1]:
            scope = f"{side}x{side}"
            if self.arch_d == "skip" or side == self.sides[-1]:
                t = layer("FromRGB_lod0" if self.arch_d == "grown" else f"{scope}/FromRGB", y)
                x = t if x is None else x + t
            t = x
            x = layer(f"{scope}/Conv1_down", layer(f"{scope}/Conv0", x), down=True)
            if self.arch_d == "resnet":
                x = (x + conv(f"{scope}/Skip", t, down=True)) * (1 / math.sqrt(2))
            y = downsample(y)
        if self.arch_d == "skip":
            x = x + layer("4x4/FromRGB", y)
        group = self.group
        if group == "default":
            group = None if self.ada else 4
        x = layer("4x4/Conv", minibatch_stddev(x, group, 1)).flatten(1)
        x = act(x @ (p["4x4/Dense0/weight"] / math.sqrt(x.shape[1])), p["4x4/Dense0/bias"])
        x = x @ (p["Output/weight"] / math.sqrt(x.shape[1])) + p["Output/bias"]
        if not self.c_dim:
            return x[:, 0]
        label = second_moment(
            c @ (p["LabelEmbed/weight"] / math.sqrt(self.c_dim)) + p["LabelEmbed/bias"]
        )
        weight = p["Mapping0/weight"] / math.sqrt(self.cmap) * 0.1
        label = act(label @ weight, p["Mapping0/bias"] * 0.1)
        return (x * label).sum(dim=1) / math.sqrt(self.cmap)


def network(
    name: str,
    function: str,
    variables: list[tuple[str, Any]],
    made: dict[str, Any],
    components: dict[str, Stored] | None = None,
) -> Stored:
    """A dnnlib.tflib.network.Network."""
    state = {
        "version": 4,
        "name": name,
        "static_kwargs": dict(made),
        "components": dict(components or {}),
        "build_func_name": function,
        "variables": list(variables),
    }
    return Stored("dnnlib.tflib.network", "Network", (), {}, state)
