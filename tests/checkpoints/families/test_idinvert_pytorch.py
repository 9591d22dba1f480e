"""The authors' PyTorch release: every tensor's place, the images and the codes, in float64."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from idinvert.checkpoints.checkpoint import Checkpoint
from idinvert.checkpoints.families import genforce, idinvert
from idinvert.checkpoints.formats.read import read_archive
from idinvert.errors import CheckpointError

from . import stylegan_by_hand as hand
from .idinvert_pytorch_files import encoder_state, generator_state


def open_file(path: Path) -> Checkpoint:
    archive = read_archive(path, key="my.path")
    assert idinvert.PYTORCH.recognise(archive)
    assert not genforce.STYLEGAN.recognise(archive)
    return idinvert.PYTORCH.read(archive, key="my.path", network=None)


def open_state(state: dict[str, Tensor], tmp_path: Path) -> Checkpoint:
    torch.save(state, tmp_path / "file.pth")
    return open_file(tmp_path / "file.pth")


def fused(x: Tensor, weight: Tensor) -> Tensor:
    """Weight [3, 3, in, out], padded in its first two dimensions, four shifts summed."""
    return hand.fused_up(x, weight.permute(3, 2, 0, 1))


def generate(state: dict[str, Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    """The codes before truncation, and the images, of a generator's state dict."""
    p = hand.double(state)
    num_layers = sum(name.endswith(".epilogue.bias") for name in p)
    depth = sum(name.startswith("mapping.") for name in p) // 2
    dense = [
        (p[f"mapping.dense{i}.fc.weight"], p[f"mapping.dense{i}.wscale.bias"]) for i in range(depth)
    ]
    w_dim = len(p["truncation.w_avg"])
    w = hand.mapping(z, dense).reshape(len(z), -1, w_dim).expand(-1, num_layers, -1)
    x = p["synthesis.layer0.const"].repeat(len(z), 1, 1, 1)
    for i in range(num_layers):
        layer = f"synthesis.layer{i}"
        if f"{layer}.weight" in p:
            x = hand.blur(fused(x, p[f"{layer}.weight"]))
        elif i > 0:
            x = hand.conv(hand.nearest_up(x) if i % 2 == 0 else x, p[f"{layer}.conv.weight"])
            x = hand.blur(x) if i % 2 == 0 else x
        noise = f"{layer}.epilogue.apply_noise"
        x = x + p[f"{noise}.noise"] * p[f"{noise}.weight"].view(1, -1, 1, 1)
        x = hand.lrelu(x + p[f"{layer}.epilogue.bias"].view(1, -1, 1, 1))
        style = f"{layer}.epilogue.style_mod.dense"
        x = hand.instance_norm(x)
        x = hand.style(x, w[:, i], p[f"{style}.fc.weight"], p[f"{style}.wscale.bias"])
    top = f"synthesis.output{num_layers // 2 - 1}"
    x = hand.conv(x, p[f"{top}.conv.weight"], gain=1.0) + p[f"{top}.bias"].view(1, -1, 1, 1)
    return w, torch.tanh(x)


def encode(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The codes of an encoder's state dict, with its scales divided out and multiplied back."""
    p = hand.double(state)

    def norm(x: Tensor, name: str) -> Tensor:
        shape = (1, -1) + (1,) * (x.ndim - 2)
        x = (x - p[f"{name}.running_mean"].view(shape)) / torch.sqrt(
            p[f"{name}.running_var"].view(shape) + 1e-5
        )
        return x * p[f"{name}.weight"].view(shape) + p[f"{name}.bias"].view(shape)

    x = hand.lrelu(norm(F.conv2d(x, p["block0.conv.weight"], padding=1), "block0.bn.bn"))
    i = 1
    while f"block{i}.conv1.weight" in p:
        name, x = f"block{i}", hand.mean_of_four(x)
        y = x
        if f"{name}.conv.weight" in p:
            y = hand.lrelu(norm(F.conv2d(x, p[f"{name}.conv.weight"]), f"{name}.bn.bn"))
        for k in (1, 2):
            weight = p[f"{name}.conv{k}.weight"]
            scale = math.sqrt(2) / math.sqrt(weight[0].numel())
            x = F.conv2d(x, weight, padding=1) / scale
            x = x * scale + p[f"{name}.wscale{k}.bias"].view(1, -1, 1, 1)
            x = hand.lrelu(norm(x, f"{name}.bn{k}.bn"))
        x, i = x + y, i + 1
    weight = p[f"block{i}.fc.weight"]
    x = x.reshape(len(x), -1) @ weight.T / math.sqrt(weight.shape[1])
    return norm(x, f"block{i}.bn.bn").reshape(len(x), 2 * i, -1)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"repeat_w": True},
        {"fused_from": 8},
        {"fused_from": 16},
        {"channels": (4, 4, 3, 3, 2, 2), "depth": 1},
        {"channels": (4, 4, 3, 3, 2, 2), "fused_from": 4096},
    ],
    ids=["multi_w", "repeat_w", "fused8", "fused16", "128px", "never_fused"],
)
def test_images(tmp_path: Path, settings: dict[str, Any]) -> None:
    state = generator_state(**settings)
    generator: Any = open_state(state, tmp_path).generator
    z = hand.normal(2, 6)
    codes, images = generate(state, z)
    assert generator.architecture["final_tanh"]
    with torch.no_grad():
        torch.testing.assert_close(generator(z.float()).double(), images, rtol=1e-4, atol=1e-4)
        generator.double()
        torch.testing.assert_close(generator.mapping(z), codes, rtol=0, atol=1e-9)
        torch.testing.assert_close(generator(z), images, rtol=0, atol=1e-6)
    assert images.std() > 0.1


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 128),
        ({"fused_from": 8}, 8),
        ({"fused_from": 16}, 16),
        ({"channels": (4, 4, 3, 3, 2, 2)}, 128),
    ],
)
def test_where_layers_are_fused(tmp_path: Path, settings: dict[str, Any], expected: int) -> None:
    generator: Any = open_state(generator_state(**settings), tmp_path).generator
    assert generator.architecture["fused_from"] == expected


def test_the_mean_of_layer_0_is_no_mean_of_the_others(tmp_path: Path) -> None:
    state = generator_state()
    networks = open_state(state, tmp_path)
    assert networks.generator.multi_w and networks.latent_avg is None  # it is computed then
    assert torch.equal(networks.generator.w_avg, state["truncation.w_avg"].expand(6, 5))
    state = generator_state(repeat_w=True)
    networks = open_state(state, tmp_path)
    assert torch.equal(networks.latent_avg, state["truncation.w_avg"])


@pytest.mark.parametrize("settings", [{}, {"resolution": 32, "channels_max": 5}, {"resolution": 8}])
def test_codes(tmp_path: Path, settings: dict[str, int]) -> None:
    state = encoder_state(**settings)
    networks = open_state(state, tmp_path)
    encoder: Any = networks.encoder
    assert networks.generator is None and networks.meta["encoder"] == "B"
    side = settings.get("resolution", 16)
    x = hand.normal(2, 3, side, side)
    expected = encode(state, x)
    assert expected.shape == (2, 2 * (side.bit_length() - 2), 5)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x.float()).double(), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(encoder.double()(x), expected, rtol=0, atol=1e-6)


def test_the_bias_before_batch_normalisation_counts(tmp_path: Path) -> None:
    state = encoder_state()
    x = hand.normal(1, 3, 16, 16)
    with_bias = encode(state, x)
    for name in state:
        if ".wscale" in name:
            state[name] = torch.zeros_like(state[name])
    assert (encode(state, x) - with_bias).abs().max() > 1e-2


def broken(state: dict[str, Tensor], tmp_path: Path, **changes: Tensor | None) -> str:
    state = dict(state)
    for name, value in changes.items():
        state.pop(name, None)
        if value is not None:
            state[name] = value
    with pytest.raises(CheckpointError) as error:
        open_state(state, tmp_path)
    assert "file.pth" in str(error.value) and "my.path" in str(error.value)
    return str(error.value)


GENERATOR_UNUSED = ("synthesis.output0", "synthesis.output1", "truncation.truncation")


@pytest.mark.parametrize("state", [generator_state(), encoder_state()], ids=["G", "E"])
def test_every_key_counts(tmp_path: Path, state: dict[str, Tensor]) -> None:
    marks = (idinvert._GENERATOR, idinvert._ENCODER)
    for name in state:
        if name.startswith(GENERATOR_UNUSED) or name.endswith("num_batches_tracked"):
            continue
        if name not in marks:
            assert name in broken(state, tmp_path, **{name: None})
        longer = torch.cat([state[name].reshape(-1), torch.ones(1)])
        assert name in broken(state, tmp_path, **{name: longer})


def test_whatever_does_not_fit_is_named(tmp_path: Path) -> None:
    message = broken(
        generator_state(),
        tmp_path,
        **{
            "synthesis.layer3.conv.weight": None,
            "synthesis.layer2.epilogue.bias.surprise": torch.zeros(2),
            "mapping.dense1.wscale.bias": torch.zeros(4),
        },
    )
    assert "missing: synthesis.layer3.conv.weight" in message
    assert "extra: synthesis.layer2.epilogue.bias.surprise" in message
    assert "mapping.dense1.wscale.bias (4,) instead of (5,)" in message


def test_oddities_are_refused(tmp_path: Path) -> None:
    state = generator_state(fused_from=8)
    state["synthesis.layer4.conv.weight"] = state.pop("synthesis.layer4.weight").permute(3, 2, 0, 1)
    assert "fuses its layer of 8 px and not that of 16 px" in broken(state, tmp_path)
    growing = {"synthesis.lod": torch.tensor(1.0)}
    assert "growing" in broken(generator_state(), tmp_path, **growing)
    gamma = {"block1.bn1.bn.weight": torch.full((3,), 1.5)}
    assert "block1.bn1.bn.weight has other values" in broken(encoder_state(), tmp_path, **gamma)
