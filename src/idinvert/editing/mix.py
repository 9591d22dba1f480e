"""Style mixing: the upper layers of one image's code with those of another."""

import torch
from torch import Tensor

from idinvert.errors import ConfigError

AUTHORS_FIRST = 10 / 14
"""The authors replace layers 10 to 13 of 14."""


def first_style_layer(num_layers: int) -> int:
    """The first layer that is replaced, where the authors' share of the layers is: 10 of 14."""
    return round(AUTHORS_FIRST * num_layers)


def mix_styles(content: Tensor, style: Tensor, *, first: int | None = None) -> Tensor:
    """Every content with every style: layers `first` and above come from the style.

    Args:
        content: codes float [N, L, w_dim].
        style: codes float [M, L, w_dim].
        first: the first layer replaced, 0 … L; None for `first_style_layer`.

    Returns:
        [N, M, L, w_dim].

    Raises:
        ConfigError: the codes are not of one generator, or there is no such layer.
    """
    if content.shape[1:] != style.shape[1:]:
        raise ConfigError(
            f"cannot mix codes {list(content.shape)} and {list(style.shape)}: expected equal "
            "shapes, from the same generator"
        )
    layers = content.shape[1]
    first = first_style_layer(layers) if first is None else first
    if not 0 <= first <= layers:
        raise ConfigError(f"the first mixed layer is {first}: expected 0 to {layers}")
    upper = torch.arange(layers, device=content.device) >= first  # [L]
    return torch.where(upper[:, None], style[None], content[:, None])  # [N, M, L, w]
