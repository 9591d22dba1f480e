"""Converts one class of a conditional network to an unconditional network."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from idinvert.errors import ConfigError
from idinvert.networks.layers import pixel_norm
from idinvert.networks.mapping import one_hot


@torch.no_grad()
def generator_of_class(generator: Any, label: int) -> Any:
    """Returns G with a fixed label: an M(z) with the same codes as M(z, c).

    The embedded label is then constant; its contribution to M's first layer is added to the bias.

    Args:
        generator: A conditional StyleGAN2; it is not changed.
        label: The class, 0 to c_dim − 1.

    Returns:
        An unconditional G in `eval()`. Its `w_avg` is still the mean over all classes.

    Raises:
        ConfigError: G is not conditional, or does not have the class.
    """
    row = _label(generator, label, what="the generator", like=generator.w_avg)
    made = _unconditional(generator, embed_dim=None)
    state, first = generator.state_dict(), generator.mapping.layers[0]
    embedded = pixel_norm(generator.mapping.embed(row))[0]  # [embed_dim]
    weight = first.weight * first.weight_gain  # [out, z_dim + embed_dim]
    of_z, of_label = weight.split([generator.z_dim, len(embedded)], dim=1)
    state["mapping.layers.0.weight"] = of_z / made.mapping.layers[0].weight_gain
    state["mapping.layers.0.bias"] = first.bias + of_label @ embedded / first.bias_gain
    return _loaded(made, state, without="mapping.embed.")


@torch.no_grad()
def discriminator_of_class(discriminator: Any, label: int) -> Any:
    """Returns D with a fixed label: the projection on the embedded label goes into the last layer.

    Args:
        discriminator: A conditional StyleGAN2 discriminator; it is not changed.
        label: The class, 0 to c_dim − 1.

    Raises:
        ConfigError: D is not conditional, or does not have the class.
    """
    out = discriminator.out
    row = _label(discriminator, label, what="the discriminator", like=out.weight)
    made = _unconditional(discriminator, cmap_dim=None)
    state, embedded = discriminator.state_dict(), discriminator.cmap(row)  # [1, cmap_dim]
    share = embedded / math.sqrt(embedded.shape[1])
    state["out.weight"] = share @ (out.weight * out.weight_gain) / made.out.weight_gain
    state["out.bias"] = share[0] @ out.bias[:, None]
    return _loaded(made, state, without="cmap.")


def _label(network: Any, label: int, *, what: str, like: Tensor) -> Tensor:
    """Returns the label as input of M and D, ``[1, c_dim]``."""
    classes = getattr(network, "c_dim", 0)
    if not classes:
        raise ConfigError(
            f"generator.label={label} chooses a class, and {what} is unconditional: leave "
            "generator.label out"
        )
    if label >= classes:
        raise ConfigError(
            f"generator.label={label}: {what} has the classes 0 to {classes - 1}; change "
            "generator.label"
        )
    return one_hot(torch.tensor([label], device=like.device), classes).to(like)


def _unconditional(network: Any, **changed: Any) -> Any:
    """Builds a network of the same architecture without labels; its weights are not yet set."""
    build: Callable[..., Any] = type(network)
    with torch.random.fork_rng(devices=[]):  # initial weights draw from torch's generator
        return build(**network.architecture | changed | {"c_dim": 0})


def _loaded(made: Any, state: dict[str, Tensor], *, without: str) -> Any:
    made.load_state_dict({k: v for k, v in state.items() if not k.startswith(without)})
    return made.eval().requires_grad_(False)
