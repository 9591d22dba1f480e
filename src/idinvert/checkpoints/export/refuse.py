"""What a foreign layout cannot hold, told before anything is written."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from idinvert.errors import CheckpointError
from idinvert.networks.stylegan2 import StyleGAN2Generator
from idinvert.networks.stylegan2_discriminator import StyleGAN2Discriminator


def check_generator(
    generator: nn.Module, *, target: str, only: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Gives the architecture of a generator that a layout can hold.

    Args:
        generator: The network.
        target: The layout, for messages.
        only: Arguments of which the layout knows one value, beside the single w.

    Raises:
        CheckpointError: It is no StyleGAN2, or an argument has another value.
    """
    if not isinstance(generator, StyleGAN2Generator):
        raise CheckpointError(
            f"{target} holds StyleGAN2, got a {type(generator).__name__}; export another generator"
        )
    return _check(generator.architecture, {"multi_w": False, **(only or {})}, target=target)


def check_discriminator(
    discriminator: nn.Module, *, target: str, only: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Gives the architecture of a discriminator that a layout can hold.

    Args:
        discriminator: The network.
        target: The layout, for messages.
        only: Arguments of which the layout knows one value.

    Raises:
        CheckpointError: It is no StyleGAN2, or an argument has another value.
    """
    if not isinstance(discriminator, StyleGAN2Discriminator):
        raise CheckpointError(
            f"{target} holds StyleGAN2, got a {type(discriminator).__name__}; leave the "
            "discriminator out"
        )
    return _check(discriminator.architecture, only or {}, target=target)


def _check(made: dict[str, Any], only: Mapping[str, Any], *, target: str) -> dict[str, Any]:
    wrong = [
        f"{name}={made[name]!r} (expected {value!r})"
        for name, value in only.items()
        if made[name] != value
    ]
    if wrong:
        raise CheckpointError(
            f"the {target} layout cannot hold this network: {', '.join(wrong)}; write the "
            "project's own format instead, a .safetensors file"
        )
    return made
