"""The several layers of F that Image2StyleGAN and the projector compare."""

import pytest
import torch
from torchvision.models import squeezenet1_1, vgg

from idinvert.networks.attributes import AttributeFeatures, AttributeNetwork
from idinvert.networks.perceptual import SqueezeNetFeatures, VGG16Features


def images(side):
    rng = torch.Generator().manual_seed(1)
    return torch.rand(2, 3, side, side, generator=rng, dtype=torch.float64) * 2 - 1


def test_vgg_taps_are_conv1_1_conv1_2_conv3_2_and_conv4_2_after_their_relu():
    torch.manual_seed(0)
    net = VGG16Features(resize=None).double()
    x = images(32)
    found = net.taps(x)
    theirs = vgg.make_layers(vgg.cfgs["D"]).double()
    own = {name.removeprefix("features."): value for name, value in net.state_dict().items()}
    theirs[:23].load_state_dict(own)
    means = torch.tensor([123.68, 116.779, 103.939], dtype=torch.float64).view(1, 3, 1, 1)
    h = (x + 1) / 2 * 255 - means
    convolutions, expected = 0, {}
    for module in theirs[:23]:
        h = module(h)
        convolutions += isinstance(module, torch.nn.Conv2d)
        if isinstance(module, torch.nn.ReLU):
            expected[convolutions] = h
    # The 1st, 2nd, 6th and 9th convolution: blocks of 2, 2, 3 and 3.
    for tap, number in zip(found, (1, 2, 6, 9), strict=True):
        torch.testing.assert_close(tap, expected[number], rtol=1e-5, atol=1e-5)
    assert [tuple(f.shape[1:]) for f in found] == [
        (64, 32, 32), (64, 32, 32), (256, 8, 8), (512, 4, 4),
    ]  # fmt: skip


@pytest.mark.parametrize(("layer", "taps"), [
    (0, [0]), (7, [1, 4, 7]), (8, [1, 4, 7, 8]), (12, [1, 4, 7, 9, 10, 11, 12]),
])  # fmt: skip
def test_squeezenet_taps_end_at_its_layer(layer, taps):
    torch.manual_seed(0)
    net = SqueezeNetFeatures(layer=layer, input_scale="torchvision").double()
    theirs = squeezenet1_1(weights=None).features.double()
    theirs.load_state_dict({k.removeprefix("features."): v for k, v in net.state_dict().items()})
    x = images(40)
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).view(1, 3, 1, 1)
    prepared = ((x + 1) / 2 - mean) / std
    with torch.no_grad():
        for tap, index in zip(net.taps(x), taps, strict=True):
            expected = theirs[: index + 1](prepared)
            torch.testing.assert_close(tap, expected, rtol=1e-5, atol=1e-6)


def test_attribute_taps_are_all_blocks_up_to_f():
    torch.manual_seed(0)
    network = AttributeNetwork(resolution=16, kinds=["binary"], names=["x"], width=8).double()
    features = AttributeFeatures(network=network)
    x = images(16)
    found = features.taps(x)
    assert [tuple(f.shape[1:]) for f in found] == [
        (8, 16, 16), (16, 8, 8), (16, 8, 8), (16, 4, 4), (16, 4, 4),
    ]  # fmt: skip
    assert torch.equal(found[-1], features(x))
    torch.testing.assert_close(found[0], network.stem(x))
    torch.testing.assert_close(found[-1], network.upper(found[0]))
