"""The mapping network M: z → w, one w for all layers or one per layer (the paper's multi-w)."""

from typing import Any

import torch
from torch import Tensor, nn

from idinvert.networks.layers import (
    LRELU_GAIN,
    EqualLinear,
    constructor_arguments,
    lrelu,
    pixel_norm,
)


class MappingNetwork(nn.Module):
    """Maps latent codes z to style codes w, one for every layer of the generator.

    Applies pixel normalisation to z, then `depth` fully connected layers with leaky ReLU and lr_mul
    0.01. With `multi_w` the last layer has w_dim · num_layers outputs, so that every layer of the
    generator gets its own w; otherwise one w is repeated. A conditional M embeds the label c,
    normalises the embedding separately and appends it to z, as in StyleGAN2-ADA.

    Args:
        z_dim: Width of z.
        w_dim: Width of w.
        num_layers: L, the number of w that the generator takes.
        depth: Number of fully connected layers (8 in the paper).
        multi_w: Whether M yields L different w (Sec. 5.1: 14 × 512 = 7,168 numbers at 256 px).
        lr_mul: Learning-rate multiplier of all layers.
        gain_on: Where the gain √2 is applied: "activation" scales the output of the leaky ReLU,
            bias included, as in StyleGAN2; "weight" excludes the bias, as in StyleGAN.
        c_dim: Width of the label c; 0 for an unconditional M.
        embed_dim: Width of the label's embedding; None for w_dim.
        hidden_dim: Width of the hidden layers; None for w_dim.

    Raises:
        ValueError: depth or gain_on is invalid.

    Source: Karras et al. 2019, Sec. 2; multi-w: the authors' G_mapping.
    """

    def __init__(
        self,
        *,
        z_dim: int,
        w_dim: int,
        num_layers: int,
        depth: int,
        multi_w: bool,
        lr_mul: float = 0.01,
        gain_on: str = "activation",
        c_dim: int = 0,
        embed_dim: int | None = None,
        hidden_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.architecture = constructor_arguments(locals(), MappingNetwork)
        if depth < 1:
            raise ValueError(f"the mapping network needs at least one layer, got depth={depth}")
        if gain_on not in ("activation", "weight"):
            raise ValueError(f'gain_on={gain_on!r}, expected "activation" or "weight"')
        self.z_dim, self.w_dim, self.num_layers = z_dim, w_dim, num_layers
        self.multi_w = multi_w
        self.activation_gain = LRELU_GAIN if gain_on == "activation" else 1.0
        weight_gain = LRELU_GAIN if gain_on == "weight" else 1.0
        self.c_dim = c_dim
        embed_dim = embed_dim or w_dim
        if c_dim > 0:
            self.embed = EqualLinear(c_dim, embed_dim)
        first = z_dim + (embed_dim if c_dim > 0 else 0)
        last = w_dim * num_layers if multi_w else w_dim
        hidden = hidden_dim or w_dim  # no list of widths: a hostile file may ask for any depth
        self.layers = nn.ModuleList(
            EqualLinear(
                hidden if i else first,
                hidden if i < depth - 1 else last,
                lr_mul=lr_mul,
                gain=weight_gain,
            )
            for i in range(depth)
        )

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Maps z to w.

        Args:
            z: Latent codes [N, z_dim], drawn from N(0, I).
            c: Labels [N, c_dim] of a conditional M, such as one-hot classes.

        Returns:
            Style codes [N, L, w_dim]; without multi_w all L are equal.

        Raises:
            ValueError: z or c has the wrong shape, or c is missing.
        """
        if z.ndim != 2 or z.shape[1] != self.z_dim:
            raise ValueError(f"z has shape {tuple(z.shape)}, expected [N, {self.z_dim}]")
        x = pixel_norm(z)
        if self.c_dim > 0:
            x = torch.cat([x, pixel_norm(self.embed(check_labels(c, len(z), self.c_dim)))], dim=1)
        for layer in self.layers:
            x = lrelu(layer(x), gain=self.activation_gain)
        if self.multi_w:
            return x.reshape(-1, self.num_layers, self.w_dim)  # [N, L, w_dim]
        return x[:, None, :].repeat(1, self.num_layers, 1)  # [N, L, w_dim]


def check_labels(c: Tensor | None, batch: int, c_dim: int) -> Tensor:
    """Returns the labels after checking their shape.

    Args:
        c: Labels [N, c_dim], or None.
        batch: N.
        c_dim: Width of the labels of a conditional network.

    Raises:
        ValueError: The labels are missing or have the wrong shape.
    """
    found = None if c is None else tuple(c.shape)
    if c is None or found != (batch, c_dim):
        raise ValueError(
            f"this network is conditional: labels c have shape {found}, expected [{batch}, {c_dim}]"
        )
    return c


def one_hot(classes: Tensor, width: int) -> Tensor:
    """Returns one-hot labels, int64 [N] to float32 [N, width]; [N, 0] for a width of 0."""
    if not width:
        return torch.zeros(len(classes), 0, device=classes.device)
    return nn.functional.one_hot(classes, width).float()


def with_labels(network: Any, x: Tensor, c: Tensor | None) -> Tensor:
    """Applies M or D to x, with labels c [N, c_dim] only if the network is conditional."""
    return network(x, c) if getattr(network, "c_dim", 0) else network(x)
