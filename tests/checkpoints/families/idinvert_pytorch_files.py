"""Small random files in the layout of the authors' PyTorch release: generator, encoder, VGG16."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .stylegan_by_hand import Drawing

KERNEL = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16


def generator_state(
    channels: Sequence[int] = (5, 4, 3),
    *,
    z_dim: int = 6,
    w_dim: int = 5,
    depth: int = 3,
    repeat_w: bool = False,
    fused_from: int = 128,
    seed: int = 0,
) -> dict[str, Tensor]:
    """A generator's state dict; ``channels`` are those at 4, 8, …"""
    draw = Drawing(seed)
    num_layers = 2 * len(channels)
    widths = [z_dim] + [w_dim] * (depth - 1) + [w_dim if repeat_w else w_dim * num_layers]
    state: dict[str, Tensor] = {}
    for i in range(depth):
        state[f"mapping.dense{i}.fc.weight"] = draw(widths[i + 1], widths[i], scale=100)
        state[f"mapping.dense{i}.wscale.bias"] = draw(widths[i + 1], scale=30)
    state["truncation.w_avg"] = draw(w_dim)
    psi = torch.ones(1, num_layers, 1)
    psi[:, :8] = 0.7
    state["truncation.truncation"] = psi
    state["synthesis.lod"] = torch.zeros(())
    for i in range(num_layers):
        name, side = f"synthesis.layer{i}", 4 << (i // 2)
        before, width = channels[max(i - 1, 0) // 2], channels[i // 2]
        if i == 0:
            state[f"{name}.const"] = draw(1, width, 4, 4)
        elif i % 2 == 0 and side >= fused_from:
            state[f"{name}.weight"] = draw(3, 3, before, width)
        else:
            state[f"{name}.conv.weight"] = draw(width, before, 3, 3)
        if i > 0 and i % 2 == 0:
            state[f"{name}.blur.kernel"] = KERNEL.repeat(width, 1, 1, 1)
        state[f"{name}.epilogue.apply_noise.noise"] = draw(1, 1, side, side)
        state[f"{name}.epilogue.apply_noise.weight"] = draw(width, scale=0.3)
        state[f"{name}.epilogue.bias"] = draw(width, scale=0.3)
        state[f"{name}.epilogue.style_mod.dense.fc.weight"] = draw(2 * width, w_dim)
        state[f"{name}.epilogue.style_mod.dense.wscale.bias"] = draw(2 * width, scale=0.3)
        if i % 2 == 1:
            state[f"synthesis.output{i // 2}.conv.weight"] = draw(3, width, 1, 1)
            state[f"synthesis.output{i // 2}.bias"] = draw(3, scale=0.3)
    return state


def encoder_state(
    *,
    resolution: int = 16,
    channels: int = 3,
    channels_max: int = 6,
    w_dim: int = 5,
    seed: int = 5,
) -> dict[str, Tensor]:
    """An encoder's state dict (variant B)."""
    draw = Drawing(seed)
    state: dict[str, Tensor] = {}

    def norm(name: str, width: int) -> None:
        state[f"{name}.bn.weight"] = torch.ones(width)
        state[f"{name}.bn.bias"] = draw(width, scale=0.5)
        state[f"{name}.bn.running_mean"] = draw(width, scale=0.5)
        state[f"{name}.bn.running_var"] = draw(width).abs() + 0.5
        state[f"{name}.bn.num_batches_tracked"] = torch.tensor(9)

    state["block0.conv.weight"] = draw(channels, 3, 3, 3, scale=0.3)
    norm("block0.bn", channels)
    last = resolution.bit_length() - 2
    before = channels
    for i in range(1, last):
        after = min(2 * before, channels_max)
        name = f"block{i}"
        if before != after:
            state[f"{name}.conv.weight"] = draw(after, before, 1, 1, scale=0.3)
            norm(f"{name}.bn", after)
        hidden = min(before, after)
        state[f"{name}.conv1.weight"] = draw(hidden, before, 3, 3, scale=0.3)
        state[f"{name}.wscale1.bias"] = draw(hidden, scale=0.3)
        norm(f"{name}.bn1", hidden)
        state[f"{name}.conv2.weight"] = draw(after, hidden, 3, 3, scale=0.3)
        state[f"{name}.wscale2.bias"] = draw(after, scale=0.3)
        norm(f"{name}.bn2", after)
        before = after
    out = w_dim * 2 * last
    state[f"block{last}.fc.weight"] = draw(out, 16 * before)
    norm(f"block{last}.bn", out)
    return state


def vgg16_state(seed: int = 7) -> dict[str, Tensor]:
    """``vgg16.pth``: the port of Keras' VGG16, all thirteen convolutions, without dense layers."""
    draw = Drawing(seed)
    widths = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256)}
    widths |= {i: (256, 256) for i in (12, 14)} | {17: (256, 512)}
    widths |= {i: (512, 512) for i in (19, 21, 24, 26, 28)}
    state = {}
    for i, (before, after) in widths.items():
        state[f"layer{i}.weight"] = draw(after, before, 3, 3, scale=(2 / (9 * before)) ** 0.5)
        state[f"layer{i}.bias"] = draw(after, scale=0.1)
    return state
