"""What an encoder says about an image: codes, and for some encoders noise maps."""

from typing import Any, NamedTuple

from torch import Tensor


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
