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


def _resnet(draw: Drawing, *, channels: int, after: str) -> dict[str, Tensor]:
    """The first layers of torchvision's ResNet-34, and one block of each width, as ReStyle has."""
    state = {"conv1.weight": draw(4, channels, 7, 7), "bn1.weight": draw(4), "bn1.bias": draw(4)}
    state |= {"bn1.running_mean": draw(4), "bn1.running_var": draw(4).abs()} | {after: draw(4)}
    for i, (before, width) in enumerate(((4, 4), (4, 8), (8, 16))):
        state[f"body.{i}.conv1.weight"] = draw(width, before, 3, 3)
        state[f"body.{i}.bn1.weight"] = draw(width)
        if before != width:
            state[f"body.{i}.downsample.0.weight"] = draw(width, before, 1, 1)
    return state


def others() -> dict[str, tuple[dict[str, Tensor], dict[str, Any], tuple[str, ...]]]:
    """Encoders that are not read, by the originals' names of tensors; with opts, and what is said.

    Sources: pixel2style2pixel and restyle-encoder (models/encoders), hyperstyle (models).
    """
    draw = Drawing(7)
    pool = body_state(draw) | {
        **{f"output_layer_2.0.{n}": draw(32) for n in ("weight", "bias", "running_mean")},
        **{"output_layer_2.0.running_var": draw(32).abs(), "output_layer_2.3.bias": draw(6)},
        **{"output_layer_2.3.weight": draw(6, 32 * 49), "linear.bias": draw(48)},
        **{"linear.weight": draw(48, 6)},
    }
    gradual = encoder_state("GradualStyleEncoder", num_layers=6)
    stepwise = {n: v for n, v in gradual.items() if "latlayer" not in n}
    first = "input_layer.0.weight"
    styles = {n: v for n, v in gradual.items() if n.startswith("styles")}
    residual = _resnet(draw, channels=6, after="relu.weight") | styles
    hyper = _resnet(draw, channels=6, after="relu.weight")
    hyper = {f"hypernet.{n}": v for n, v in hyper.items()}
    hyper |= {"hypernet.refinement_blocks.0.convs.0.weight": draw(4, 16, 3, 3)}
    hyper |= {f"w_encoder.{n}": v for n, v in encoder_state(E4E_W).items()}

    def inside(state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {f"encoder.{name}": value for name, value in state.items()}

    into = "BackboneEncoderUsingLastLayerIntoWPlus"
    found = {
        into: (pool, {}, (into, "layers (output_layer_2)")),
        "GradualStyleEncoder": (
            gradual | {first: draw(4, 19, 3, 3)}, {"label_nc": 19}, ("19 channels", "segmentation")
        ),
    }  # fmt: skip
    sketch = (gradual | {first: draw(4, 1, 3, 3)}, {"label_nc": 1}, ("1 channel", "sketches"))
    steps = ("ReStyle", "6 channels, the image and its reconstruction")
    for kind in ("BackboneEncoder", "ProgressiveBackboneEncoder"):
        state = stepwise | {first: draw(4, 6, 3, 3)}
        found[kind] = (state, {"input_nc": 6, "n_iters_per_batch": 5}, (*steps, kind))
        found[f"ResNet{kind}"] = (residual, {"input_nc": 6}, (*steps, f"ResNet{kind}"))
    named = {kind: (inside(state), {"encoder_type": kind} | opts, words)
             for kind, (state, opts, words) in found.items()}  # fmt: skip
    sketched = {"encoder_type": "GradualStyleEncoder"} | sketch[1]
    return named | {
        "sketches": (inside(sketch[0]), sketched, sketch[2]),
        "HyperStyle": (hyper, {"encoder_type": None}, ("HyperStyle", "hypernetwork")),
        "untold": (inside(gradual), {}, ("do not name its encoder_type",)),
    }


E4E_W = "BackboneEncoderUsingLastLayerIntoW"
