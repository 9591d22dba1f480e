"""VGG16 and SqueezeNet against torchvision's own modules, with random weights."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import squeezenet1_1, vgg

from idinvert.errors import ConfigError
from idinvert.networks.perceptual import SqueezeNetFeatures, VGG16Features


def images(count: int, side: int) -> Tensor:
    rng = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, side, side, generator=rng, dtype=torch.float64) * 2 - 1


def caffe(x: Tensor) -> Tensor:
    """Literally: 0-255, RGB to BGR, minus (103.939, 116.779, 123.68)."""
    array = (x.numpy() + 1) / 2 * 255
    bgr = array[:, ::-1] - np.array([103.939, 116.779, 123.68]).reshape(1, 3, 1, 1)
    return torch.from_numpy(np.ascontiguousarray(bgr))


def torchvision_vgg(state: dict[str, Tensor]) -> nn.Sequential:
    torch.manual_seed(0)
    layers = vgg.make_layers(vgg.cfgs["D"])[:23].double()
    layers.load_state_dict({k.removeprefix("features."): v for k, v in state.items()})
    return layers


@pytest.mark.parametrize("channel_order", ["bgr", "rgb"])
def test_vgg_relu4_3(channel_order):
    torch.manual_seed(0)
    net = VGG16Features(resize=None, channel_order=channel_order).double()
    x = images(2, 32)
    prepared = caffe(x)
    if channel_order == "rgb":
        prepared = prepared.flip(1)
    expected = torchvision_vgg(net.state_dict())(prepared)
    result = net(x)
    assert result.shape == (2, 512, 4, 4) and (result >= 0).all() and (result > 0).any()
    torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(net.embed(x), expected.mean((2, 3)), rtol=1e-6, atol=1e-9)


def test_vgg_resizes_by_nearest_neighbour():
    torch.manual_seed(0)
    resized, plain = VGG16Features(resize=48).double(), VGG16Features(resize=None).double()
    plain.load_state_dict(resized.state_dict())
    x = images(1, 32)
    nearest = torch.arange(48) * 32 // 48
    torch.testing.assert_close(resized(x), plain(x[:, :, nearest][:, :, :, nearest]))
    torch.testing.assert_close(resized(images(1, 48)), plain(images(1, 48)))


@pytest.mark.parametrize("layer", [2, 4, 7, 12])
@pytest.mark.parametrize("input_scale", ["caffe", "torchvision"])
def test_squeezenet(layer, input_scale):
    torch.manual_seed(0)
    net = SqueezeNetFeatures(layer=layer, input_scale=input_scale).double()
    theirs = squeezenet1_1(weights=None).features.double()
    theirs.load_state_dict({k.removeprefix("features."): v for k, v in net.state_dict().items()})
    x = images(2, 40)
    if input_scale == "caffe":
        prepared = caffe(x)
    else:
        mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).view(1, 3, 1, 1)
        std = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).view(1, 3, 1, 1)
        prepared = ((x + 1) / 2 - mean) / std
    with torch.no_grad():
        torch.testing.assert_close(net(x), theirs[: layer + 1](prepared), rtol=1e-5, atol=1e-6)
        expected = theirs(prepared).mean((2, 3))
        assert expected.shape == (2, 512)
        torch.testing.assert_close(net.embed(x), expected, rtol=1e-5, atol=1e-6)


def test_squeezenet_resize():
    torch.manual_seed(0)
    net, plain = SqueezeNetFeatures(resize=64), SqueezeNetFeatures()
    plain.load_state_dict(net.state_dict())
    x = images(1, 32).float()
    twice = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(net(x), plain(twice))


@pytest.mark.parametrize(
    ("kind", "choice"), [(VGG16Features, {"resize": None}), (SqueezeNetFeatures, {"layer": 4})]
)
def test_gradients_reach_the_image_and_the_architecture_rebuilds(kind, choice):
    net = kind(**choice).requires_grad_(False)
    x = images(1, 32).float().requires_grad_()
    net(x).square().mean().backward()
    assert x.grad.abs().sum() > 0
    twin = kind(**net.architecture)
    twin.load_state_dict(net.state_dict())
    torch.testing.assert_close(twin(x), net(x), rtol=0, atol=0)


def test_errors_name_the_key():
    with pytest.raises(ConfigError, match=r"'gbr'.*perceptual\.channel_order"):
        VGG16Features(channel_order="gbr")
    with pytest.raises(ConfigError, match=r"13.*0 to 12.*perceptual\.layer"):
        SqueezeNetFeatures(layer=13)
    with pytest.raises(ConfigError, match=r"'keras'.*perceptual\.input_scale"):
        SqueezeNetFeatures(input_scale="keras")
    with pytest.raises(ConfigError, match=r"\(16, 16\).*17.*perceptual\.resize"):
        SqueezeNetFeatures()(torch.zeros(1, 3, 16, 16))
