"""ResNets and MobileNet as backbones: every resolution ends at 4x4, by the documented policy."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from idinvert.errors import ConfigError
from idinvert.networks.backbone import BatchNorm
from idinvert.networks.encoder import Encoder
from idinvert.networks.encoder_base import BaseBackbone
from idinvert.networks.encoder_mobilenet import MobileNetBackbone
from idinvert.networks.encoder_resnet import ResNetBackbone

KINDS: dict[str, Callable[..., Any]] = {
    "base": BaseBackbone,
    "resnet18": lambda **more: ResNetBackbone(depth=18, **more),
    "resnet34": lambda **more: ResNetBackbone(depth=34, **more),
    "resnet50": lambda **more: ResNetBackbone(depth=50, **more),
    "mobilenet": MobileNetBackbone,
}
TINY = {"base": {"channels": 4, "channels_max": 8}, "mobilenet": {"width": 0.25}}


def tiny(kind: str, *, resolution: int = 16, **more: Any) -> Any:
    torch.manual_seed(0)
    return KINDS[kind](resolution=resolution, **TINY.get(kind, {"width": 4}), **more)


def images(count: int, resolution: int = 16) -> torch.Tensor:
    rng = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, resolution, resolution, generator=rng) * 2 - 1


@pytest.mark.parametrize("resolution", [8, 16, 32, 64, 128, 256, 1024])
@pytest.mark.parametrize("kind", KINDS)
def test_every_resolution_ends_at_four_pixels(kind, resolution):
    with torch.device("meta"):
        net = KINDS[kind](resolution=resolution)
        x = torch.empty(2, 3, resolution, resolution)
        last, features = net(x), net.features(x)
    assert last.shape == (2, net.out_channels, 4, 4) and net.out_size == 4
    assert features[4].shape == last.shape
    assert {side: (f.shape[1], f.shape[2]) for side, f in features.items()} == {
        side: (channels, side) for side, channels in net.channels_at.items()
    }
    assert (resolution in features) is (kind == "base" or resolution < 64 or
                                        (kind == "mobilenet" and resolution == 64))  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_features_are_those_of_forward(kind):
    net = tiny(kind).eval()
    x = images(2)
    torch.testing.assert_close(net.features(x)[4], net(x), rtol=0, atol=0)


STRIDES = {  # stem, pooling, first blocks of the stages: the table in the docstring
    8: (1, 1, [1, 1, 1, 2]),
    16: (1, 1, [1, 1, 2, 2]),
    32: (1, 1, [1, 2, 2, 2]),
    64: (2, 1, [1, 2, 2, 2]),
    128: (2, 2, [1, 2, 2, 2]),
    256: (2, 2, [1, 2, 2, 2, 2]),
    1024: (2, 2, [1, 2, 2, 2, 2, 2, 2]),
}


@pytest.mark.parametrize("resolution", STRIDES)
def test_small_images_drop_the_earliest_halvings_and_large_ones_add_stages(resolution):
    stem, pool, stages = STRIDES[resolution]
    net = tiny("resnet18", resolution=resolution)
    assert net.conv1.stride == (stem, stem) and net.conv1.kernel_size[0] == (7 if stem == 2 else 3)
    assert isinstance(net.maxpool, nn.MaxPool2d) is (pool == 2)
    found = [getattr(net, name)[0].stride for name in net.stages]
    assert found == stages
    assert [len(getattr(net, name)) for name in net.stages] == [2, 2, 2, 2] + [1] * (
        len(stages) - 4
    )


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_a_resnet_at_128_is_torchvisions_up_to_its_pooling(depth):
    """The same numbers come out of the same weights, by the same names."""
    net = ResNetBackbone(resolution=128, depth=depth).eval()
    reference = getattr(torchvision.models, f"resnet{depth}")(weights=None).eval()
    state = {
        name: value
        for name, value in reference.state_dict().items()
        if not name.startswith("fc.") and not name.endswith("num_batches_tracked")
    }
    net.load_state_dict(state)
    reference.avgpool = nn.Identity()
    reference.fc = nn.Identity()
    x = images(1, 128).double()  # in float32 the layout in memory alone moves the last digits
    net, reference = net.double(), reference.double()
    torch.testing.assert_close(net(x).flatten(1), reference(x), rtol=1e-10, atol=1e-10)


def test_a_mobilenet_at_128_is_torchvisions_without_its_classifier():
    net = MobileNetBackbone(resolution=128).eval()
    reference = torchvision.models.mobilenet_v2(weights=None).features[:-1].eval()
    theirs = [
        value
        for name, value in reference.state_dict().items()
        if not name.endswith("num_batches_tracked")
    ]
    ours = net.state_dict()
    assert [tuple(value.shape) for value in ours.values()] == [tuple(v.shape) for v in theirs]
    net.load_state_dict(dict(zip(ours, theirs, strict=True)))
    x = images(1, 128)
    torch.testing.assert_close(net(x), reference(x), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("norm", ["batch", "sync", "none"])
@pytest.mark.parametrize("kind", ["resnet18", "resnet50", "mobilenet"])
def test_the_three_kinds_of_normalisation(kind, norm):
    net = tiny(kind, norm=norm)
    norms = [part for part in net.modules() if isinstance(part, BatchNorm)]
    assert not any(isinstance(part, nn.modules.batchnorm._NormBase) for part in net.modules())
    assert bool(norms) is (norm != "none")
    assert all(part.synchronised is (norm == "sync") for part in norms)
    values = net.train()(images(4))
    assert values.isfinite().all() and 0 < values.abs().max() < 100
    values.square().mean().backward()
    without = [name for name, p in net.named_parameters() if p.grad is None]
    assert not without


@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_of_any_backbone_rebuilds_from_its_architecture(kind):
    net = Encoder(backbone=tiny(kind, norm="sync"), num_layers=6, w_dim=8, norm="sync")
    twin = Encoder(**net.architecture)
    assert twin.architecture == net.architecture and twin.backbone.name == kind
    twin.load_state_dict(net.state_dict())
    x = images(2)
    assert net.eval()(x).shape == (2, 6, 8)
    torch.testing.assert_close(twin.eval()(x), net(x), rtol=0, atol=0)


def test_errors():
    with pytest.raises(ConfigError, match=r"depth 20.*\[18, 34, 50\].*encoder\.backbone\.depth"):
        ResNetBackbone(resolution=16, depth=20)
    for kind in ("resnet18", "mobilenet"):
        with pytest.raises(ConfigError, match=r"resolution 48.*power of two.*data\.resolution"):
            tiny(kind, resolution=48)
        with pytest.raises(ConfigError, match=r"resolution 4,"):
            tiny(kind, resolution=4)
        with pytest.raises(ConfigError, match=r"norm 'layer'"):
            tiny(kind, norm="layer")
