"""Perceptual networks with weights from local files of every layout."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import squeezenet1_1

from idinvert.checkpoints import perceptual
from idinvert.checkpoints.formats.read import read_state_dict
from idinvert.checkpoints.perceptual import squeezenet, vgg16
from idinvert.checkpoints.registry import ENTRIES
from idinvert.errors import CheckpointError, MissingWeightsError
from idinvert.networks.perceptual import VGG16Features


@pytest.fixture(autouse=True)
def empty_torch_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.fixture(scope="module")
def squeeze_state():
    torch.manual_seed(0)
    return squeezenet1_1(weights=None).features.state_dict()


def write(state: dict[str, Tensor], path: Path, *, prefix: str = "") -> Path:
    state = {f"{prefix}{key}": value for key, value in state.items()}
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("prefix", ["", "features."])
def test_squeezenet_layouts(squeeze_state, tmp_path, suffix, prefix):
    path = write(squeeze_state, tmp_path / f"squeeze{suffix}", prefix=prefix)
    net = squeezenet(path, layer=4)
    assert not net.training and not any(p.requires_grad for p in net.parameters())
    assert net.input_scale == "caffe" and net.layer == 4
    for key, value in squeeze_state.items():
        assert torch.equal(net.features.state_dict()[key], value)


def test_the_scale_follows_the_published_file(squeeze_state, tmp_path, monkeypatch):
    path = write(squeeze_state, tmp_path / "squeeze.pth")
    published = ENTRIES["squeezenet"].sha256 + "0" * 56
    monkeypatch.setattr(perceptual, "file_hash", lambda file: published)
    assert squeezenet(path).input_scale == "torchvision"
    assert squeezenet(path, input_scale="caffe").input_scale == "caffe"


def test_vgg16_takes_what_it_needs_from_a_whole_network(tmp_path):
    torch.manual_seed(0)
    source = VGG16Features(resize=None)
    state = dict(source.state_dict())
    # Deeper layers and a classifier full of NaN, as the published file has them.
    state["features.24.weight"] = torch.zeros(512, 512, 3, 3)
    state["classifier.0.weight"] = torch.full((4, 4), float("nan"))
    net = vgg16(write(state, tmp_path / "vgg.pth"), resize=None)
    assert not net.training and not any(p.requires_grad for p in net.parameters())
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(net(x), source(x), rtol=0, atol=0)


def keras_state(source: VGG16Features) -> dict[str, Tensor]:
    """The authors' vgg16.pth: layer0 … layer28, deeper ones than F's too."""
    state = {k.replace("features.", "layer"): v for k, v in source.state_dict().items()}
    return state | {"layer24.weight": torch.zeros(512, 512, 3, 3), "layer24.bias": torch.zeros(512)}


def test_the_authors_port_of_keras_vgg16_takes_bgr(tmp_path):
    torch.manual_seed(0)
    source = VGG16Features(resize=None)
    path = write(keras_state(source), tmp_path / "vgg16.pth")
    net = vgg16(path, resize=None)
    assert net.channel_order == "bgr" and not any(p.requires_grad for p in net.parameters())
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    # As their model prepares it: 0 to 255, B before G before R, minus Keras' means.
    y = (x + 1) * 255 / 2
    y = y[:, [2, 1, 0]] - torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
    torch.testing.assert_close(net(x), source.features(y))
    with pytest.raises(CheckpointError, match=r"takes BGR; got channel_order 'rgb'.*my\.key"):
        vgg16(path, channel_order="rgb", key="my.key")


def test_missing_layers_of_the_authors_port_are_named(tmp_path):
    state = keras_state(VGG16Features(resize=None))
    del state["layer21.bias"]
    with pytest.raises(CheckpointError, match=r"missing: .*21\.bias"):
        vgg16(write(state, tmp_path / "vgg16.pth"), resize=None)


def test_vgg16_of_the_wrong_scale_is_refused(tmp_path, monkeypatch):
    path = write({"0.weight": torch.zeros(1)}, tmp_path / "vgg16.pth")
    monkeypatch.setattr(perceptual, "file_hash", lambda file: ENTRIES["vgg16_imagenet"].sha256)
    with pytest.raises(CheckpointError, match=r"IMAGENET1K_V1.*input scale.*my\.key"):
        vgg16(path, key="my.key")


def test_missing_and_misshapen_layers_are_named(squeeze_state, tmp_path):
    state = dict(squeeze_state)
    state["0.weight"] = torch.zeros(96, 3, 7, 7)
    del state["3.squeeze.bias"]
    with pytest.raises(CheckpointError) as caught:
        squeezenet(write(state, tmp_path / "squeeze.pth"), key="my.key")
    message = str(caught.value)
    for word in (
        "0.weight (96, 3, 7, 7) instead of (64, 3, 3, 3)",
        "missing: features.3.squeeze.bias",
    ):
        assert word in message
    assert "my.key" in message


def test_without_a_file_the_registry_speaks():
    with pytest.raises(MissingWeightsError, match=r"88682ab5[\s\S]*my\.key"):
        vgg16(key="my.key")
    with pytest.raises(MissingWeightsError, match=r"squeezenet1_1-b8a52dc0[\s\S]*my\.key"):
        squeezenet(key="my.key")


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


@pytest.mark.parametrize("case", ["garbage", "empty", "truncated", "code", "list", "nested"])
def test_broken_files(squeeze_state, tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    torch.save(
        {"code": Bomb(), "list": [1, 2], "nested": {"epoch": 3}}.get(case, squeeze_state), path
    )
    if case == "garbage":
        path.write_bytes(b"not weights at all" * 50)
    elif case == "empty":
        path.write_bytes(b"")
    elif case == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=r"weights\.pth[\s\S]*my\.key"):
        read_state_dict(path, key="my.key")
    assert not (tmp_path / "exploded").exists()


def test_truncated_safetensors(squeeze_state, tmp_path):
    path = write(squeeze_state, tmp_path / "squeeze.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"squeeze\.safetensors.*my\.key"):
        squeezenet(path, key="my.key")
