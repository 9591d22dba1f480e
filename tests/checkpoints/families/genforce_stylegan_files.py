"""Small random StyleGAN checkpoints in the layouts of genforce and of Hammer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .stylegan_by_hand import Drawing

KERNEL = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16


def generator_state(
    channels: Sequence[int] = (5, 4, 3),
    *,
    z_dim: int = 6,
    w_dim: int = 5,
    hidden: int | None = None,
    depth: int = 3,
    repeat_w: bool = True,
    hammer: bool = False,
    seed: int = 0,
) -> dict[str, Tensor]:
    """A generator's state dict; ``channels`` are those at 4, 8, …"""
    draw = Drawing(seed)
    num_layers = 2 * len(channels)
    out = w_dim if repeat_w else w_dim * num_layers
    widths = [z_dim] + [hidden or w_dim] * (depth - 1) + [out]
    state: dict[str, Tensor] = {}
    for i in range(depth):
        state[f"mapping.dense{i}.weight"] = draw(widths[i + 1], widths[i], scale=100)
        state[f"mapping.dense{i}.bias"] = draw(widths[i + 1], scale=30)
    state["w_avg" if hammer else "truncation.w_avg"] = draw(out)
    state["synthesis.lod"] = torch.zeros(())
    for i in range(num_layers):
        name, side = f"synthesis.layer{i}", 4 << (i // 2)
        before, width = channels[max(i - 1, 0) // 2], channels[i // 2]
        state[f"{name}.bias"] = draw(width, scale=0.3)
        if hammer:
            state[f"{name}.noise"] = draw(1, 1, side, side)
            state[f"{name}.noise_strength"] = draw(1, width, 1, 1, scale=0.3)
        else:
            state[f"{name}.apply_noise.noise"] = draw(1, 1, side, side)
            state[f"{name}.apply_noise.weight"] = draw(width, scale=0.3)
        state[f"{name}.style.weight"] = draw(2 * width, w_dim)
        state[f"{name}.style.bias"] = draw(2 * width, scale=0.3)
        if i == 0:
            state[f"{name}.const"] = draw(1, width, 4, 4)
        else:
            state[f"{name}.weight"] = draw(width, before, 3, 3)
        if i > 0 and i % 2 == 0:
            state |= _filter(name, width, hammer=hammer)
        if i % 2 == 1:
            state[f"synthesis.output{i // 2}.weight"] = draw(3, width, 1, 1)
            state[f"synthesis.output{i // 2}.bias"] = draw(3, scale=0.3)
    return state


def discriminator_state(
    channels: Sequence[int] = (5, 4, 3),
    *,
    fc_width: int = 5,
    hammer: bool = False,
    seed: int = 1,
) -> dict[str, Tensor]:
    """A discriminator's state dict; ``channels`` are those at 4, 8, …"""
    draw = Drawing(seed)
    state: dict[str, Tensor] = {"lod": torch.zeros(())}
    last = len(channels) - 1

    def layer(name: str, *shape: int) -> None:
        state[f"{name}.weight"] = draw(*shape)
        state[f"{name}.bias"] = draw(shape[0], scale=0.3)

    for b, width in enumerate(reversed(channels)):
        layer(f"input{b}", width, 3, 1, 1)
        if b < last:
            after = channels[last - b - 1]
            layer(f"layer{2 * b}", width, width, 3, 3)
            layer(f"layer{2 * b + 1}", after, width, 3, 3)
            state |= _filter(f"layer{2 * b + 1}", width, hammer=hammer)
    layer(f"layer{2 * last}", channels[0], channels[0] + 1, 3, 3)
    layer(f"layer{2 * last + 1}", fc_width, 16 * channels[0])
    layer("output" if hammer else f"layer{2 * last + 2}", 1, fc_width)
    return state


def write(
    path: Path,
    *,
    nested: bool = False,
    wrapped: bool = False,
    hammer: bool = False,
    discriminator: bool = True,
    **settings: Any,
) -> dict[str, dict[str, Tensor]]:
    """Writes a file of all three networks.

    Args:
        path: Where to.
        nested: Below ``models``, beside what a training run keeps.
        wrapped: With the names of DistributedDataParallel.
        hammer: Hammer's names.
        discriminator: Whether D is in it.
        settings: As in `generator_state`.

    Returns:
        The state dicts.
    """
    held = {
        "generator": generator_state(hammer=hammer, seed=3, **settings),
        "generator_smooth": generator_state(hammer=hammer, seed=4, **settings),
    }
    if discriminator:
        channels = settings.get("channels", (5, 4, 3))
        held["discriminator"] = discriminator_state(channels, hammer=hammer)
    content: dict[str, Any] = dict(held)
    if wrapped:
        content = {n: {f"module.{k}": v for k, v in s.items()} for n, s in held.items()}
    if nested:
        content = {"models": content, "running_metadata": {"iter": 7, "seen_img": 448}}
    torch.save(content, path)
    return held


def _filter(name: str, width: int, *, hammer: bool) -> dict[str, Tensor]:
    if hammer:
        return {f"{name}.filter": KERNEL[None, None].clone()}
    return {f"{name}.blur.kernel": KERNEL.repeat(width, 1, 1, 1)}
