"""What a family's reader hands back: native networks, ready to use."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor, nn

from idinvert.errors import CheckpointError

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Networks:
    """The networks of one foreign checkpoint; all in ``eval()``, none asks for gradients.

    Args:
        generator: StyleGAN or StyleGAN2; None where the file holds an encoder alone.
        discriminator: D, where the file holds it.
        encoder: E, where the file holds it.
        latent_avg: Mean code that the file holds, ``[L, w_dim]`` or ``[w_dim]``, float32; None
            where it holds none. A generator's `w_avg` carries it already.
        meta: JSON-able facts for people: which network was taken, what else the file holds.
    """

    generator: nn.Module | None
    discriminator: nn.Module | None = None
    encoder: nn.Module | None = None
    latent_avg: Tensor | None = None
    meta: dict[str, Any] = field(default_factory=dict)


def settle(network: Network) -> Network:
    """Puts a network into evaluation mode, without gradients, and returns it."""
    return network.eval().requires_grad_(False)


def choose_generator(
    found: Collection[str], *, ema: str, live: str, network: str | None, what: str, key: str
) -> str | None:
    """Picks the generator: the averaged one, unless told otherwise or it is not there.

    Args:
        found: Names of the networks in the file.
        ema: The family's name of the averaged generator; ``"g_ema"`` means it in every family.
        live: The family's name of the one that was trained; ``"g"`` means it in every family.
        network: What the user asked for, in any case; None leaves the choice.
        what: The file and its family, for messages.
        key: The config key that named the file, for messages.

    Returns:
        A name of `found`, or None where there is no generator and none was asked for.

    Raises:
        CheckpointError: The one asked for is not there, or is not known.
    """
    there = [name for name in (ema, live) if name in found]
    if network is None:
        return there[0] if there else None
    names = {"g_ema": ema, ema.lower(): ema, "g": live, live.lower(): live}
    wanted = names.get(network.lower())
    if wanted is None or wanted not in there:
        raise CheckpointError(
            f"{what}: has no generator {network!r}, expected one of {there}; change the network "
            f"asked for, or {key}"
        )
    return wanted
