"""The authors' TensorFlow tuples: multi-w images, codes of encoders A and C, in float64."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy import ndarray

from idinvert.checkpoints.checkpoint import Checkpoint
from idinvert.checkpoints.families import idinvert, tf_stylegan
from idinvert.checkpoints.formats.read import read_archive
from idinvert.errors import CheckpointError

from . import stylegan_by_hand as hand
from . import tf_idinvert_files as files
from .test_tf_stylegan import conv2d, lrelu, map_codes, synthesise
from .tf_files import write as write_pickle
from .tf_stylegan_files import arrays
from .tf_stylegan_files import generator as tf_generator


def open_file(path: Path, network: str | None = None) -> Checkpoint:
    archive = read_archive(path, key="my.path")
    assert idinvert.TENSORFLOW.recognise(archive) and not tf_stylegan.recognise(archive)
    return idinvert.TENSORFLOW.read(archive, key="my.path", network=network)


def norm(x: ndarray, v: dict[str, ndarray], name: str) -> ndarray:
    x = (x - v[f"{name}/moving_mean"]) / np.sqrt(v[f"{name}/moving_variance"] + 1e-5)
    return x * v.get(f"{name}/gamma", 1.0) + v[f"{name}/beta"]


def halve(x: ndarray) -> ndarray:
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


def encode_a(v: dict[str, ndarray], x: ndarray) -> ndarray:
    """Images [N, h, w, 3]: convolution, BN, leaky ReLU throughout, the shortcut too."""

    def layer(x: ndarray, name: str, bn: str) -> ndarray:
        return lrelu(norm(conv2d(x, v[f"{name}/weight"]), v, f"{name}/{bn}/BatchNorm"))

    x, i = layer(x, "encoder/input_image_stage", "bn_input_stage"), 0
    while f"encoder/encoder_res_block_{i}/conv1/weight" in v:
        name, x = f"encoder/encoder_res_block_{i}", halve(x)
        y = layer(x, f"{name}/shortcut", "shortcut_bn") if f"{name}/shortcut/weight" in v else x
        x = layer(layer(x, f"{name}/conv1", "bn_1"), f"{name}/conv2", "bn_2") + y
        i += 1
    flat = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
    return norm(flat @ v["encoder/encoder_fc/weight"], v, "encoder/encoder_fc/fc_1/BatchNorm")


def encode_c(v: dict[str, ndarray], x: ndarray) -> ndarray:
    """Images [N, h, w, 3]: convolution, bias, leaky ReLU, BN; the shortcut has BN alone."""

    def layer(x: ndarray, name: str) -> ndarray:
        x = lrelu(conv2d(x, v[f"{name}/weight"]) + v[f"{name}/bias"])
        return norm(x, v, f"{name}/batch_norm")

    x, i = layer(x, "FromImg"), 0
    while f"E_block_{i}/Conva/weight" in v:
        name, x = f"E_block_{i}", halve(x)
        y = x
        if f"{name}/Shortcut/weight" in v:
            y = norm(conv2d(x, v[f"{name}/Shortcut/weight"]), v, f"{name}/Shortcut/batch_norm")
        x = layer(layer(x, f"{name}/Conva"), f"{name}/Convb") + y
        i += 1
    flat = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
    flat = flat @ v["Latent_out/weight"] + v["Latent_out/bias"]
    return norm(flat, v, "Latent_out/batch_norm")


@pytest.mark.parametrize("variant", ["A", "C"])
@pytest.mark.parametrize("settings", [{}, {"resolution": 32, "channels_max": 5}, {"resolution": 8}])
def test_codes(tmp_path: Path, variant: str, settings: dict[str, int]) -> None:
    e, variables = files.encoder(variant, **settings)
    write_pickle(tmp_path / "e.pkl", e)
    networks = open_file(tmp_path / "e.pkl")
    assert networks.generator is None and networks.meta["encoder"] == variant
    encoder: Any = networks.encoder
    side = settings.get("resolution", 16)
    x = hand.normal(2, 3, side, side)
    reference = encode_a if variant == "A" else encode_c
    expected = torch.from_numpy(reference(arrays(variables), x.permute(0, 2, 3, 1).numpy()))
    expected = expected.reshape(2, -1, 5)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x.float()).double(), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(encoder.double()(x), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("variant", [None, "A", "C"])
def test_tuples(tmp_path: Path, variant: str | None) -> None:
    held = files.write(tmp_path / "f.pkl", variant=variant)
    networks = open_file(tmp_path / "f.pkl")
    v = arrays(held["Gs"])
    z = hand.normal(2, 6).numpy()
    w = map_codes(v, z).reshape(2, 6, 5)
    expected = torch.from_numpy(synthesise(v, w, fused_from=128))
    generator: Any = networks.generator
    with torch.no_grad():
        images = generator(torch.from_numpy(z).float()).double()
        torch.testing.assert_close(images, expected, rtol=1e-4, atol=1e-4)
        generator.double()
        codes = generator.mapping(torch.from_numpy(z))
        torch.testing.assert_close(codes, torch.from_numpy(w), rtol=0, atol=1e-9)
        images = generator(torch.from_numpy(z))
        torch.testing.assert_close(images, expected, rtol=0, atol=1e-6)
    assert generator.multi_w and not generator.architecture["final_tanh"]
    assert networks.latent_avg is None  # the file's is layer 0's alone
    assert networks.discriminator is not None
    assert (networks.encoder is None) == (variant is None)
    names = ["G", "D", "Gs"]
    assert networks.meta["networks"] == (names if variant is None else ["E", *names])
    assert open_file(tmp_path / "f.pkl", "g").meta["network"] == "G"


@pytest.mark.parametrize("variant", ["A", "C"])
def test_encoder_and_generator_go_together(tmp_path: Path, variant: str) -> None:
    files.write(tmp_path / "f.pkl", variant=variant)
    networks = open_file(tmp_path / "f.pkl")
    with torch.no_grad():
        codes = networks.encoder(torch.zeros(1, 3, 16, 16))  # type: ignore[misc]
        assert networks.generator.synthesis(codes).shape == (1, 3, 16, 16)  # type: ignore[union-attr]


def test_a_plain_generator_beside_an_encoder(tmp_path: Path) -> None:
    files.write(tmp_path / "f.pkl", variant="C", multi_w=False)
    networks = open_file(tmp_path / "f.pkl")
    assert not networks.generator.multi_w and networks.latent_avg.shape == (5,)  # type: ignore[union-attr]


@pytest.mark.parametrize("variant", ["A", "C"])
def test_every_variable_counts(tmp_path: Path, variant: str) -> None:
    mark = {"A": "encoder/input_image_stage/weight", "C": "FromImg/weight"}[variant]
    for name in files.encoder(variant)[1]:
        e, variables = files.encoder(variant)
        if name != mark:
            e.state["variables"] = [pair for pair in e.state["variables"] if pair[0] != name]
            assert name in error_of(e, tmp_path)
        longer = np.append(variables[name].numpy().ravel(), np.float32(1))
        others = [pair for pair in e.state["variables"] if pair[0] != name]
        e.state["variables"] = [*others, (name, longer)]
        assert name in error_of(e, tmp_path)
    e, _ = files.encoder(variant)
    e.state["variables"].append(("surprise", np.zeros(3, np.float32)))
    assert "extra: surprise" in error_of(e, tmp_path)


def error_of(content: Any, tmp_path: Path) -> str:
    write_pickle(tmp_path / "e.pkl", content)
    with pytest.raises(CheckpointError) as error:
        open_file(tmp_path / "e.pkl")
    assert "e.pkl" in str(error.value) and "my.path" in str(error.value)
    return str(error.value)


def test_what_is_not_one_of_them(tmp_path: Path) -> None:
    e, _ = files.encoder("A")
    g, _ = tf_generator(multi_w=True)
    for content in ((e, g), (e, e, e), [], {}, 3, (g, 4, g), None):
        write_pickle(tmp_path / "e.pkl", content)
        assert not idinvert.TENSORFLOW.recognise(read_archive(tmp_path / "e.pkl", key="k"))
