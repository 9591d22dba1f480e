"""The attribute network: labels, features, embedding; no surprises as a perceptual loss."""

import pytest
import torch

from idinvert.errors import ConfigError
from idinvert.networks.attributes import AttributeFeatures, AttributeNetwork

KINDS = ["continuous", "binary", "continuous"]
NAMES = ["pose", "eyeglasses", "age"]


def network(resolution: int = 32, width: int = 8) -> AttributeNetwork:
    torch.manual_seed(0)
    return AttributeNetwork(resolution=resolution, kinds=KINDS, names=NAMES, width=width)


def images(count: int, resolution: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, resolution, resolution, generator=rng) * 2 - 1


@pytest.mark.parametrize("resolution", [8, 16, 32, 64, 128])
def test_shapes(resolution):
    net, x = network(resolution), images(2, resolution)
    side = max(resolution // 4, 4)
    assert net(x).shape == (2, 3)
    assert net.features(x).shape == (2, 16, side, side)
    assert net.embed(x).shape == (2, 96)


def test_predict_is_on_the_scale_of_the_labels():
    net, x = network(), images(4, 32)
    raw, labels = net(x), net.predict(x)
    torch.testing.assert_close(labels[:, [0, 2]], raw[:, [0, 2]])
    torch.testing.assert_close(labels[:, 1], 1 / (1 + torch.exp(-raw[:, 1])))


def test_training_and_evaluation_agree_and_images_are_independent():
    net, x = network().double(), images(4, 32).double()
    together = net.train().features(x)
    torch.testing.assert_close(net.eval().features(x), together, rtol=0, atol=0)
    torch.testing.assert_close(net.features(x[2:3]), together[2:3], rtol=1e-12, atol=1e-14)


def test_the_gradient_is_smooth():
    """Second differences along a line shrink with the square of the step: no kinks."""
    net, x = network().double().eval(), images(1, 32).double()
    direction = images(2, 32).double()[1:]
    with torch.no_grad():

        def bend(step):
            values = [net.features(x + s * direction) for s in (-step, 0.0, step)]
            return (values[0] - 2 * values[1] + values[2]).norm()

        assert bend(1e-3) / bend(5e-4) == pytest.approx(4.0, rel=1e-2)


def test_every_parameter_learns_and_the_features_reach_the_image():
    net, x = network(), images(2, 32).requires_grad_()
    net(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    assert x.grad.abs().amin(dim=(0, 1)).gt(0).all()


def test_the_default_is_small():
    net = AttributeNetwork(resolution=32, kinds=["binary"] * 16, names=list("abcdefghijklmnop"))
    assert sum(p.numel() for p in net.parameters()) * 4 < 1_000_000
    assert net.features(images(1, 32)).shape == (1, 64, 8, 8)


def test_the_architecture_rebuilds_it():
    net = network(16)
    twin = AttributeNetwork(**net.architecture)
    twin.load_state_dict(net.state_dict())
    x = images(2, 16)
    torch.testing.assert_close(twin(x), net(x), rtol=0, atol=0)
    assert twin.names == ("pose", "eyeglasses", "age") and twin.kinds == tuple(KINDS)


def test_as_a_perceptual_network():
    net, x = network(), images(2, 32)
    f = AttributeFeatures(network=net)
    torch.testing.assert_close(f(x), net.features(x))
    torch.testing.assert_close(f.embed(x), net.embed(x))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"resolution": 24}, r"24.*power of two.*data\.resolution"),
        ({"width": 12}, r"12.*multiple of 8.*attributes\.width"),
        ({"kinds": ["binary"]}, r"3 names and 1 kinds"),
        ({"kinds": ["binary", "ordinal", "binary"]}, r"ordinal.*continuous"),
    ],
)
def test_errors_name_the_key(arguments, words):
    sound = {"resolution": 32, "kinds": KINDS, "names": NAMES, "width": 8}
    with pytest.raises(ConfigError, match=words):
        AttributeNetwork(**(sound | arguments))


def test_images_of_another_size_are_refused():
    with pytest.raises(ConfigError, match=r"\(64, 64\).*32x32.*data\.resolution"):
        network(32)(images(1, 64))
