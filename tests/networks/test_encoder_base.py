"""The paper's own backbone: layer order, sizes and weights of both versions."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from idinvert.config.compose import compose_plain
from idinvert.config.instantiate import build
from idinvert.errors import ConfigError
from idinvert.networks.encoder_base import NORM, BaseBackbone


def reference_norm(x: Tensor, state: dict[str, Tensor], name: str, *, gamma: bool) -> Tensor:
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
    x = (x - mean) / torch.sqrt(variance + 1e-5)
    if gamma:
        x = x * state[f"{name}.weight"].view(1, -1, 1, 1)
    return x + state[f"{name}.bias"].view(1, -1, 1, 1)


def lrelu(x: Tensor) -> Tensor:
    return torch.maximum(x, 0.2 * x)


def v1(x: Tensor, state: dict[str, Tensor], depth: int) -> Tensor:
    """Stem 3x3; conv, BN (beta), lrelu; the projecting shortcut is activated; a plain sum."""

    def layer(x: Tensor, name: str, pad: int) -> Tensor:
        x = functional.conv2d(x, state[f"{name}.conv.weight"], padding=pad)
        return lrelu(reference_norm(x, state, f"{name}.norm", gamma=False))

    x = layer(x, "stem", 1)
    for i in range(depth):
        x = functional.avg_pool2d(x, 2)
        y = layer(layer(x, f"blocks.{i}.first", 1), f"blocks.{i}.second", 1)
        name = f"blocks.{i}.shortcut"
        x = y + (layer(x, name, 0) if f"{name}.conv.weight" in state else x)
    return x


def v2(x: Tensor, state: dict[str, Tensor], depth: int) -> Tensor:
    """Stem 5x5; conv + bias, lrelu, BN (gamma, beta); the shortcut is not activated."""

    def layer(x: Tensor, name: str, pad: int) -> Tensor:
        weight, bias = state[f"{name}.conv.weight"], state[f"{name}.conv.bias"]
        x = lrelu(functional.conv2d(x, weight, bias, padding=pad))
        return reference_norm(x, state, f"{name}.norm", gamma=True)

    x = layer(x, "stem", 2)
    for i in range(depth):
        x = functional.avg_pool2d(x, 2)
        y = layer(layer(x, f"blocks.{i}.first", 1), f"blocks.{i}.second", 1)
        name = f"blocks.{i}.shortcut"
        if f"{name}.conv.weight" in state:
            x = functional.conv2d(x, state[f"{name}.conv.weight"])
            x = reference_norm(x, state, f"{name}.norm", gamma=True)
        x = y + x
    return x


@pytest.mark.parametrize(("variant", "reference"), [("v1", v1), ("v2", v2)])
def test_layer_order(variant, reference):
    torch.manual_seed(0)
    net = BaseBackbone(resolution=32, variant=variant, channels=4, channels_max=8).double()
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng, dtype=torch.float64))
    x = torch.randn(3, 3, 32, 32, generator=rng, dtype=torch.float64)
    result = net.train()(x)
    assert result.shape == (3, 8, 4, 4)
    torch.testing.assert_close(result, reference(x, net.state_dict(), 3), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("variant", "widths", "conv_millions", "dense_millions"),
    [
        ("v1", [64, 128, 256, 512, 1024, 1024, 1024], 47.8, 117.4),
        ("v2", [64, 128, 256, 512, 512, 512, 512], 16.7, 58.7),
    ],
)
def test_sizes_at_256(variant, widths, conv_millions, dense_millions):
    words = ["scale=full", "encoder=base", f"encoder.backbone.variant={variant}"]
    given = ["data=folder", "data.path=FOLDER"]
    node = compose_plain("train", [*words, *given])["encoder"]
    with torch.device("meta"):
        encoder = build(node, key="encoder", num_layers=14, w_dim=512)
    backbone = encoder.backbone
    assert backbone.architecture["norm"] == encoder.architecture["norm"] == NORM[variant]
    blocks = list(backbone.blocks)
    assert [
        backbone.stem.conv.out_channels,
        *(b.second.conv.out_channels for b in blocks),
    ] == widths
    assert len(blocks) == 6  # 1 stem + 6 x 2 convolutions + 1 dense = the paper's 14 layers
    assert backbone.stem.conv.kernel_size == ((3, 3) if variant == "v1" else (5, 5))
    convolutions = sum(p.numel() for p in backbone.parameters() if p.ndim == 4)
    assert convolutions / 1e6 == pytest.approx(conv_millions, abs=0.1)
    assert encoder.dense.weight.numel() / 1e6 == pytest.approx(dense_millions, abs=0.1)
    assert (encoder.dense.bias is None) == (variant == "v1")
    assert (convolutions + encoder.dense.weight.numel()) / 1e6 == pytest.approx(
        {"v1": 165.3, "v2": 75.4}[variant], abs=0.05
    )


def test_v1_learns_beta_alone_whatever_is_switched_on():
    net = BaseBackbone(resolution=8, variant="v1", channels=4).requires_grad_(True)
    names = [name for name, _ in net.named_parameters() if ".norm." in name]
    assert names and all(name.endswith("bias") for name in names)


@pytest.mark.parametrize("variant", ["v1", "v2"])
def test_without_normalisation_signals_keep_their_size(variant):
    torch.manual_seed(0)
    net = BaseBackbone(resolution=64, variant=variant, channels=16, norm="none")
    assert not [name for name, _ in net.named_parameters() if "norm" in name]
    assert net.stem.conv.bias is not None
    rng = torch.Generator().manual_seed(1)
    deviation = net(torch.randn(4, 3, 64, 64, generator=rng)).std().item()
    assert 0.2 < deviation < 20


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"resolution": 48}, r"48.*power of two.*data\.resolution"),
        ({"resolution": 32, "variant": "v3"}, r"'v3'.*v1.*v2"),
        ({"resolution": 32, "norm": "layer"}, r"'layer'.*encoder\.norm"),
    ],
)
def test_errors_name_the_key(arguments, words):
    with pytest.raises(ConfigError, match=words):
        BaseBackbone(**arguments)
