"""Small random encoders of pSp and e4e, with the options that stand beside them in their files."""

from typing import Any

import torch
from torch import Tensor

UNITS = (3, 4, 14, 3)


class Drawing:
    """Draws float32 tensors one after the other, each another one."""

    def __init__(self, seed: int) -> None:
        self.rng = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int, scale: float = 1.0, mean: float = 0.0) -> Tensor:
        return torch.randn(shape, generator=self.rng) * scale + mean


def body_state(draw: Drawing, *, channels: int = 4, reduction: int = 2) -> dict[str, Tensor]:
    """IR-SE50's input layer and body."""
    state: dict[str, Tensor] = {}

    def norm(name: str, width: int) -> None:
        state[f"{name}.weight"] = draw(width, scale=0.2, mean=1.0)
        state[f"{name}.bias"] = draw(width, scale=0.2)
        state[f"{name}.running_mean"] = draw(width, scale=0.2)
        state[f"{name}.running_var"] = draw(width).abs() + 0.7
        state[f"{name}.num_batches_tracked"] = torch.tensor(5)

    def conv(name: str, after: int, before: int, kernel: int) -> None:
        scale = (1 / (before * kernel**2)) ** 0.5
        state[f"{name}.weight"] = draw(after, before, kernel, kernel, scale=scale)

    conv("input_layer.0", channels, 3, 3)
    norm("input_layer.1", channels)
    state["input_layer.2.weight"] = draw(channels, scale=0.1, mean=0.25)
    before, unit = channels, 0
    for stage, units in enumerate(UNITS):
        width = channels * 2**stage
        for _ in range(units):
            name = f"body.{unit}"
            if before != width:
                conv(f"{name}.shortcut_layer.0", width, before, 1)
                norm(f"{name}.shortcut_layer.1", width)
            norm(f"{name}.res_layer.0", before)
            conv(f"{name}.res_layer.1", width, before, 3)
            state[f"{name}.res_layer.2.weight"] = draw(width, scale=0.1, mean=0.25)
            conv(f"{name}.res_layer.3", width, width, 3)
            norm(f"{name}.res_layer.4", width)
            conv(f"{name}.res_layer.5.fc1", width // reduction, width, 1)
            conv(f"{name}.res_layer.5.fc2", width, width // reduction, 1)
            before, unit = width, unit + 1
    return state


def encoder_state(
    kind: str = "Encoder4Editing",
    *,
    num_layers: int = 8,
    w_dim: int = 6,
    channels: int = 4,
    reduction: int = 2,
    input_size: int = 32,
    seed: int = 0,
) -> dict[str, Tensor]:
    """The encoder's tensors, without the prefix ``encoder.``."""
    draw = Drawing(seed)
    state = body_state(draw, channels=channels, reduction=reduction)
    top = 8 * channels
    if kind == "BackboneEncoderUsingLastLayerIntoW":
        state["linear.weight"] = draw(w_dim, top)
        state["linear.bias"] = draw(w_dim, scale=0.3)
        return state
    for i in range(num_layers):
        side = input_size // (16 if i < 3 else 8 if i < 7 else 4)
        for j in range(side.bit_length() - 1):
            before = top if j == 0 else w_dim
            weight = draw(w_dim, before, 3, 3, scale=(1 / (9 * before)) ** 0.5)
            state[f"styles.{i}.convs.{2 * j}.weight"] = weight
            state[f"styles.{i}.convs.{2 * j}.bias"] = draw(w_dim, scale=0.3)
        state[f"styles.{i}.linear.weight"] = draw(w_dim, w_dim)
        state[f"styles.{i}.linear.bias"] = draw(w_dim, scale=0.3)
    for name, width in (("latlayer1", 4 * channels), ("latlayer2", 2 * channels)):
        state[f"{name}.weight"] = draw(top, width, 1, 1, scale=width**-0.5)
        state[f"{name}.bias"] = draw(top, scale=0.3)
    return state


def options(kind: str = "Encoder4Editing", **changes: Any) -> dict[str, Any]:
    """What ``opts`` of a file says, as far as it matters here."""
    found: dict[str, Any] = {
        "encoder_type": kind,
        "start_from_latent_avg": True,
        "dataset_type": "ffhq_encode",
        "device": "cuda:0",
        "lpips_lambda": 0.8,
    }
    if kind == "Encoder4Editing":
        found |= {"stylegan_size": 32, "delta_norm_lambda": 2e-4, "progressive_start": 20000}
    else:
        found |= {"output_size": 32, "n_styles": 8, "input_nc": 3, "label_nc": 0}
        found["learn_in_w"] = kind == "BackboneEncoderUsingLastLayerIntoW"
    return found | changes


def recogniser_state(seed: int = 3) -> dict[str, Tensor]:
    """``model_ir_se50.pth``, the face recogniser whose body encoders start from."""
    draw = Drawing(seed)
    state = body_state(draw)
    state["output_layer.0.weight"] = draw(32)
    state["output_layer.3.weight"] = draw(6, 32 * 49)
    state["output_layer.4.running_mean"] = draw(6)
    return state
