"""NVlabs' StyleGAN for TensorFlow: every variable's place, images and logits, in float64.

The reference computes with numpy, channels last, as TensorFlow's operations are defined.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy import ndarray

from idinvert.checkpoints.checkpoint import Checkpoint
from idinvert.checkpoints.families import genforce, idinvert, tf_stylegan
from idinvert.checkpoints.formats.read import read_archive
from idinvert.errors import CheckpointError

from . import stylegan_by_hand as hand
from . import tf_stylegan_files as files
from .tf_files import write as write_pickle


def open_file(path: Path, network: str | None = None) -> Checkpoint:
    archive = read_archive(path, key="my.path")
    assert tf_stylegan.recognise(archive)
    assert not idinvert.TENSORFLOW.recognise(archive) and not genforce.STYLEGAN.recognise(archive)
    return tf_stylegan.FAMILY.read(archive, key="my.path", network=network)


def lrelu(x: ndarray) -> ndarray:
    return np.maximum(x, 0.2 * x)


def conv2d(x: ndarray, kernel: ndarray) -> ndarray:
    """``tf.nn.conv2d`` with SAME padding: x [N, h, w, in], kernel [k, k, in, out]."""
    k = kernel.shape[0]
    h, w = x.shape[1:3]
    x = np.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    return sum(x[:, a : a + h, b : b + w] @ kernel[a, b] for a in range(k) for b in range(k))  # type: ignore[return-value]


def conv2d_transpose(x: ndarray, kernel: ndarray) -> ndarray:
    """``tf.nn.conv2d_transpose``, stride 2, SAME: kernel [4, 4, out, in]."""
    n, h, w, _ = x.shape
    out = np.zeros((n, 2 * h + 2, 2 * w + 2, kernel.shape[2]))
    for i in range(h):
        for j in range(w):
            for a in range(4):
                for b in range(4):
                    out[:, 2 * i + a, 2 * j + b] += x[:, i, j] @ kernel[a, b].T
    return out[:, 1:-1, 1:-1]


def runtime(kernel: ndarray, gain: float) -> ndarray:
    return kernel * gain / math.sqrt(np.prod(kernel.shape[:-1]))


def blur(x: ndarray) -> ndarray:
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    return conv2d(x, kernel[:, :, None, None] * np.eye(x.shape[3]))


def up(x: ndarray, kernel: ndarray, *, fused: bool) -> ndarray:
    kernel = runtime(kernel, math.sqrt(2))
    if not fused:
        return conv2d(np.repeat(np.repeat(x, 2, axis=1), 2, axis=2), kernel)
    kernel = np.pad(kernel.transpose(0, 1, 3, 2), ((1, 1), (1, 1), (0, 0), (0, 0)))
    kernel = kernel[1:, 1:] + kernel[:-1, 1:] + kernel[1:, :-1] + kernel[:-1, :-1]
    return conv2d_transpose(x, kernel)


def map_codes(v: dict[str, ndarray], z: ndarray) -> ndarray:
    x = z / np.sqrt((z**2).mean(axis=1, keepdims=True) + 1e-8)
    i = 0
    while f"G_mapping/Dense{i}/weight" in v:
        weight = v[f"G_mapping/Dense{i}/weight"]
        x = x @ (weight * 0.01 * math.sqrt(2) / math.sqrt(len(weight)))
        x, i = lrelu(x + 0.01 * v[f"G_mapping/Dense{i}/bias"]), i + 1
    return x


def synthesise(v: dict[str, ndarray], w: ndarray, *, fused_from: int) -> ndarray:
    """Codes [N, L, w_dim] to images [N, 3, R, R]."""
    g = {name.removeprefix("G_synthesis/"): value for name, value in v.items()}

    def epilogue(x: ndarray, name: str, i: int) -> ndarray:
        noise = g[f"noise{i}"].transpose(0, 2, 3, 1)
        x = lrelu(x + noise * g[f"{name}/Noise/weight"] + g[f"{name}/bias"])
        x = x - x.mean(axis=(1, 2), keepdims=True)
        x = x / np.sqrt((x**2).mean(axis=(1, 2), keepdims=True) + 1e-8)
        style = w[:, i] @ g[f"{name}/StyleMod/weight"] / math.sqrt(w.shape[2])
        style = (style + g[f"{name}/StyleMod/bias"]).reshape(len(w), 2, 1, 1, -1)
        return x * (style[:, 0] + 1) + style[:, 1]

    x = np.repeat(g["4x4/Const/const"].transpose(0, 2, 3, 1), len(w), axis=0)
    x = epilogue(x, "4x4/Const", 0)
    x = epilogue(conv2d(x, runtime(g["4x4/Conv/weight"], math.sqrt(2))), "4x4/Conv", 1)
    for i in range(2, w.shape[1], 2):
        side = 2 * x.shape[1]
        name = f"{side}x{side}/Conv0_up"
        x = epilogue(blur(up(x, g[f"{name}/weight"], fused=side >= fused_from)), name, i)
        name = f"{side}x{side}/Conv1"
        x = epilogue(conv2d(x, runtime(g[f"{name}/weight"], math.sqrt(2))), name, i + 1)
    rgb = conv2d(x, runtime(g["ToRGB_lod0/weight"], 1.0)) + g["ToRGB_lod0/bias"]
    return rgb.transpose(0, 3, 1, 2)


def judge(v: dict[str, ndarray], images: ndarray, *, fused: bool, group: int) -> ndarray:
    x = images.transpose(0, 2, 3, 1)

    def layer(x: ndarray, name: str) -> ndarray:
        return conv2d(x, runtime(v[f"{name}/weight"], math.sqrt(2)))

    x = lrelu(layer(x, "FromRGB_lod0") + v["FromRGB_lod0/bias"])
    while x.shape[1] > 4:
        side = x.shape[1]
        name = f"{side}x{side}/Conv0"
        x = blur(lrelu(layer(x, name) + v[f"{name}/bias"]))
        name = f"{side}x{side}/Conv1_down"
        if fused:
            kernel = runtime(v[f"{name}/weight"], math.sqrt(2))
            kernel = np.pad(kernel, ((1, 1), (1, 1), (0, 0), (0, 0)))
            kernel = kernel[1:, 1:] + kernel[:-1, 1:] + kernel[1:, :-1] + kernel[:-1, :-1]
            p = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
            x = sum(
                p[:, a : a + side : 2, b : b + side : 2] @ (0.25 * kernel[a, b])
                for a in range(4)
                for b in range(4)
            )
        else:
            x = layer(x, name)
            x = (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4
        x = lrelu(x + v[f"{name}/bias"])
    if group:
        size = min(group, len(x))
        y = x.transpose(0, 3, 1, 2).reshape(size, -1, 1, x.shape[3], 4, 4)
        y = np.sqrt(((y - y.mean(axis=0)) ** 2).mean(axis=0) + 1e-8)
        y = y.mean(axis=(2, 3, 4), keepdims=True).mean(axis=2)  # [M, 1, 1, 1]
        y = np.tile(y, (size, 1, 4, 4)).transpose(0, 2, 3, 1)
        x = np.concatenate([x, y], axis=3)
    x = lrelu(layer(x, "4x4/Conv") + v["4x4/Conv/bias"])
    x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
    x = lrelu(x @ runtime(v["4x4/Dense0/weight"], math.sqrt(2)) + v["4x4/Dense0/bias"])
    return (x @ runtime(v["4x4/Dense1/weight"], 1.0) + v["4x4/Dense1/bias"])[:, 0]


@pytest.mark.parametrize(
    ("settings", "fused_from"),
    [
        ({}, 128),
        ({"structure": "fixed"}, 128),
        ({"settings": {"fused_scale": True}}, 8),
        ({"settings": {"fused_scale": False}}, 10**6),
        ({"hidden": 7}, 128),
        ({"channels": (3, 3, 2, 2, 2, 2)}, 128),
        ({"channels": (3, 3, 2, 2, 2, 2), "settings": {"fused_scale": False}}, 10**6),
    ],
    ids=["linear", "fixed", "fused", "unfused", "hidden", "128px", "128px-unfused"],
)
def test_images(tmp_path: Path, settings: dict[str, Any], fused_from: int) -> None:
    held = files.write(tmp_path / "g.pkl", **settings)
    networks = open_file(tmp_path / "g.pkl")
    v = files.arrays(held["Gs"])
    z = hand.normal(2, 6).numpy()
    generator: Any = networks.generator
    w = np.repeat(map_codes(v, z)[:, None], generator.num_layers, axis=1)
    expected = torch.from_numpy(synthesise(v, w, fused_from=fused_from))
    with torch.no_grad():
        images = generator(torch.from_numpy(z).float()).double()
        torch.testing.assert_close(images, expected, rtol=1e-4, atol=1e-4)
        images = generator.double()(torch.from_numpy(z))
        torch.testing.assert_close(images, expected, rtol=0, atol=1e-6)
    assert expected.std() > 0.1
    assert torch.equal(networks.latent_avg, held["Gs"]["dlatent_avg"])


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("batch", [2, 8])
def test_logits(tmp_path: Path, fused: bool, batch: int) -> None:
    files.write(tmp_path / "g.pkl")
    d, variables = files.discriminator(settings={"fused_scale": fused})
    write_pickle(tmp_path / "g.pkl", (files.generator()[0], d, files.generator()[0]))
    discriminator: Any = open_file(tmp_path / "g.pkl").discriminator
    x = hand.normal(batch, 3, 16, 16)
    v = files.arrays(variables)
    expected = torch.from_numpy(judge(v, x.numpy(), fused=fused, group=4))
    torch.testing.assert_close(discriminator.double()(x), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("group", [0, 2])
def test_the_group_of_the_minibatch_deviation(tmp_path: Path, group: int) -> None:
    made = {"mbstd_group_size": group}
    d, variables = files.discriminator(settings=made, mbstd=group > 0)
    write_pickle(tmp_path / "g.pkl", (files.generator()[0], d, files.generator()[0]))
    discriminator: Any = open_file(tmp_path / "g.pkl").discriminator
    x = hand.normal(8, 3, 16, 16)
    expected = judge(files.arrays(variables), x.numpy(), fused=False, group=group)
    torch.testing.assert_close(
        discriminator.double()(x), torch.from_numpy(expected), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(("network", "name"), [(None, "Gs"), ("g_ema", "Gs"), ("g", "G")])
def test_which_generator(tmp_path: Path, network: str | None, name: str) -> None:
    held = files.write(tmp_path / "g.pkl")
    networks = open_file(tmp_path / "g.pkl", network)
    assert networks.meta == {"network": name, "networks": ["G", "D", "Gs"]}
    const = held[name]["G_synthesis/4x4/Const/const"][0]
    assert torch.equal(networks.generator.synthesis.const, const)


def test_a_generator_alone(tmp_path: Path) -> None:
    write_pickle(tmp_path / "g.pkl", files.generator()[0])
    networks = open_file(tmp_path / "g.pkl")
    assert networks.discriminator is None and networks.meta["networks"] == ["Gs"]


def test_every_variable_has_its_place(tmp_path: Path) -> None:
    held = files.write(tmp_path / "g.pkl")
    own = open_file(tmp_path / "g.pkl").generator.state_dict()
    v = {name.removeprefix("G_synthesis/"): value for name, value in held["Gs"].items()}
    names = ["4x4/Const", "4x4/Conv", "8x8/Conv0_up", "8x8/Conv1", "16x16/Conv0_up", "16x16/Conv1"]
    for i, name in enumerate(names):
        native = f"synthesis.epilogues.{i}"
        assert torch.equal(own[f"{native}.bias"], v[f"{name}/bias"])
        assert torch.equal(own[f"{native}.noise_weight"], v[f"{name}/Noise/weight"])
        assert torch.equal(own[f"{native}.affine.weight"], v[f"{name}/StyleMod/weight"].T)
        assert torch.equal(own[f"{native}.affine.bias"], v[f"{name}/StyleMod/bias"])
        assert torch.equal(own[f"synthesis.noise_{i}"], v[f"noise{i}"])
        if i:
            weight = own[f"synthesis.convs.{i - 1}.weight"]
            assert torch.equal(weight, v[f"{name}/weight"].permute(3, 2, 0, 1))
    for i in range(3):
        weight = own[f"mapping.layers.{i}.weight"]
        assert torch.equal(weight, v[f"G_mapping/Dense{i}/weight"].T)


def broken(tmp_path: Path, whole: Any) -> str:
    d = files.discriminator()[0]
    write_pickle(tmp_path / "g.pkl", (whole, d, whole))
    with pytest.raises(CheckpointError) as error:
        open_file(tmp_path / "g.pkl")
    assert "g.pkl" in str(error.value) and "my.path" in str(error.value)
    return str(error.value)


def changed(component: str, **changes: Any) -> Any:
    """A generator some of whose component's variables are replaced or taken out."""
    whole, _ = files.generator()
    part = whole.state["components"][component]
    variables = dict(part.state["variables"])
    for name, value in changes.items():
        variables.pop(name, None)
        if value is not None:
            variables[name] = value
    part.state["variables"] = list(variables.items())
    return whole


def test_whatever_does_not_fit_is_named(tmp_path: Path) -> None:
    changes = {
        "8x8/Conv1/weight": None,
        "surprise": np.zeros(2, np.float32),
        "16x16/Conv1/Noise/weight": np.zeros(2, np.float32),
    }
    message = broken(tmp_path, changed("synthesis", **changes))
    assert "network Gs" in message
    assert "missing: G_synthesis/8x8/Conv1/weight" in message
    assert "extra: G_synthesis/surprise" in message
    assert "G_synthesis/16x16/Conv1/Noise/weight (2,) instead of (3,)" in message


def test_every_variable_counts(tmp_path: Path) -> None:
    unused = ("ToRGB_lod1", "ToRGB_lod2", "lod", "4x4/Const/StyleMod/weight")
    whole, _ = files.generator()
    for component in ("mapping", "synthesis"):
        for name, _ in whole.state["components"][component].state["variables"]:
            if not name.startswith(unused):
                assert name in broken(tmp_path, changed(component, **{name: None}))


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"lod": 3.5}, "growing"),
        ({"settings": {"label_size": 4}}, "labels"),
        ({"settings": {"use_pixel_norm": True}}, "use_pixel_norm=True, expected False"),
        ({"settings": {"blur_filter": [1, 3, 3, 1]}}, "blur_filter"),
        ({"settings": {"mapping_lrmul": 1.0}}, "mapping_lrmul=1.0, expected 0.01"),
        ({"settings": {"fused_scale": "sometimes"}}, "fused_scale"),
    ],
)
def test_what_the_native_network_does_not_compute(
    tmp_path: Path, choices: dict[str, Any], words: str
) -> None:
    assert words in broken(tmp_path, files.generator(**choices)[0])
