"""The segmenter: shapes, independence of batch mates, smooth areas, sizes it refuses."""

from typing import Any

import pytest
import torch

from idinvert.errors import ConfigError
from idinvert.networks.segmenter import Segmenter

CLASSES = ("sky", "hills", "tower")


def network(**changes: Any) -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(**({"resolution": 16, "classes": CLASSES, "width": 8, "deep": 8} | changes))


def test_a_logit_a_class_and_pixel_whatever_the_batch():
    net, x = network(), torch.rand(3, 3, 16, 16) * 2 - 1
    logits = net(x)
    assert logits.shape == (3, 3, 16, 16)
    torch.testing.assert_close(net(x[1:2])[0], logits[1], rtol=1e-5, atol=1e-6)
    read = net.segment(x)
    assert read.dtype == torch.uint8 and torch.equal(read.long(), logits.argmax(1))
    torch.testing.assert_close(net.train()(x), net.eval()(x), rtol=0, atol=0)


def test_every_parameter_moves_a_class_s_area_and_every_pixel_can():
    net, x = network(), (torch.rand(2, 3, 16, 16) * 2 - 1).requires_grad_()
    net(x).softmax(1)[:, 1].mean().backward()
    assert x.grad is not None and (x.grad.abs().sum(1) > 0).all()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_it_is_rebuilt_from_its_architecture_and_small():
    net = network()
    twin = Segmenter(**net.architecture)
    assert twin.load_state_dict(net.state_dict()).missing_keys == []
    shipped = Segmenter(resolution=32, classes=[str(k) for k in range(12)])
    assert sum(p.numel() for p in shipped.parameters()) * 2 < 90_000, "bytes in float16"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 20}, "multiple of 8; change data.resolution"),
        ({"width": 12}, "change segmenter.width"),
        ({"deep": 12}, "change segmenter.deep"),
        ({"classes": ("sky",)}, "two or more different names"),
        ({"classes": ("sky", "sky")}, "two or more different names"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        network(**changes)


def test_images_of_another_size_are_refused():
    with pytest.raises(ConfigError, match=r"expected\s+16x16.*segmenter\.path"):
        network()(torch.zeros(1, 3, 32, 32))
