"""What an encoder says about an image, how G shows it, and the mean code that E adds."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from idinvert.errors import ConfigError


class Encoding(NamedTuple):
    """Everything that the generator needs to show an encoded image again.

    Args:
        codes: ``[N, L, w_dim]``.
        noise: One map ``[N, 1, h, w]`` for every noise input of G, in order; None for G's own.
        z: What M made the codes of, ``[N, z_dim]`` (``latent=z``); None where E gives codes itself.
    """

    codes: Tensor
    noise: list[Tensor] | None = None
    z: Tensor | None = None


def decode(generator: Any, encoding: Encoding) -> Tensor:
    """G(E(x)), with the encoding's noise maps where it has them and G's own where it has none.

    Args:
        generator: G (`networks.generator.Generator`).
        encoding: What ``encoder.encode(images)`` gave.

    Returns:
        Images ``[N, 3, R, R]``, in [-1, 1] but for outliers.
    """
    noise = "const" if encoding.noise is None else encoding.noise
    return generator.synthesis(encoding.codes, noise=noise)


@torch.no_grad()
def adopt_offset(encoder: Any, w_avg: Tensor) -> None:
    """Copies a generator's average code into an encoder's buffer ``w_offset`` (Eq. 6).

    Args:
        encoder: With ``offset`` and ``w_offset``, ``[L, w_dim]``.
        w_avg: ``[L, w_dim]``, or ``[w_dim]`` for all layers.

    Raises:
        ConfigError: The encoder adds no offset, or the shape does not fit.
    """
    if not encoder.offset:
        raise ConfigError(
            "encoder: got an average code, but this encoder adds no offset; set latent.offset=w_avg"
        )
    shape = tuple(encoder.w_offset.shape)
    if tuple(w_avg.shape) not in (shape, shape[1:]):
        raise ConfigError(
            f"encoder: got an average code {tuple(w_avg.shape)}, expected {shape}; encoder and "
            "generator do not belong together, change encoder or generator"
        )
    encoder.w_offset.copy_(w_avg.expand(shape))
