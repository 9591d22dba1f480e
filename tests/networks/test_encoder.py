"""E: shapes, the three kinds of code, the offset of Eq. 6, evaluation mode."""

import pytest
import torch

from idinvert.errors import CheckpointError, ConfigError
from idinvert.networks.encoder import Encoder
from idinvert.networks.encoder_base import BaseBackbone
from idinvert.networks.mapping import MappingNetwork


def encoder(resolution: int = 16, **arguments) -> Encoder:
    torch.manual_seed(0)
    variant = arguments.pop("variant", "v2")
    backbone = BaseBackbone(resolution=resolution, variant=variant, channels=4, channels_max=16)
    return Encoder(backbone=backbone, **({"num_layers": 6, "w_dim": 8} | arguments))


def images(count: int, resolution: int = 16) -> torch.Tensor:
    rng = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, resolution, resolution, generator=rng) * 2 - 1


@pytest.mark.parametrize("variant", ["v1", "v2"])
@pytest.mark.parametrize("resolution", [8, 16, 32, 64])
@pytest.mark.parametrize("latent", ["w_plus", "w"])
def test_shapes(variant, resolution, latent):
    net = encoder(resolution, variant=variant, latent=latent)
    assert net(images(2, resolution)).shape == (2, 6, 8)


def test_one_code_for_all_layers():
    net = encoder(latent="w")
    codes = net(images(3))
    assert net.dense.out_features == 8
    torch.testing.assert_close(codes, codes[:, :1].repeat(1, 6, 1), rtol=0, atol=0)
    assert codes[:, 0].std() > 0.1


def test_w_plus_layers_differ():
    codes = encoder()(images(3))
    assert (codes[:, 0] - codes[:, 1]).abs().max() > 0.1


def test_codes_in_training_have_zero_mean_and_unit_variance():
    codes = encoder().train()(images(16)).flatten(1)
    assert codes.mean(0).abs().max() < 1e-4
    torch.testing.assert_close(codes.var(0, unbiased=False), torch.ones(48), rtol=2e-2, atol=0)


@pytest.mark.parametrize("latent", ["w_plus", "w"])
def test_offset_is_added(latent):
    net, plain = encoder(offset=True, latent=latent), encoder(latent=latent)
    plain.load_state_dict(net.state_dict())
    w_avg = torch.arange(48.0).view(6, 8)
    net.set_offset(w_avg)
    x = images(2)
    torch.testing.assert_close(net(x), plain(x) + w_avg)  # Eq. (6)
    net.set_offset(w_avg[2])
    torch.testing.assert_close(net.w_offset, w_avg[2].repeat(6, 1))


def test_offset_errors():
    with pytest.raises(ConfigError, match=r"latent\.offset=w_avg"):
        encoder().set_offset(torch.zeros(6, 8))
    with pytest.raises(ConfigError, match=r"\(4, 8\).*\(6, 8\)"):
        encoder(offset=True).set_offset(torch.zeros(4, 8))


@pytest.mark.parametrize("norm", ["batch", "sync", "none"])
def test_evaluation_is_deterministic_and_each_image_alone(norm):
    net = encoder(norm=norm).double()
    x = images(4).double()
    net.train()(x)
    net.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    together = net(x)
    torch.testing.assert_close(net(x), together, rtol=0, atol=0)
    torch.testing.assert_close(net(x[1:2]), together[1:2], rtol=1e-10, atol=1e-12)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_the_regulariser_reaches_the_images_in_evaluation_mode():
    net = encoder().eval().requires_grad_(False)
    x = images(2).requires_grad_()
    net(x).square().sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("variant", ["v1", "v2"])
def test_the_architecture_rebuilds_it(variant):
    net = encoder(variant=variant, latent="w", offset=True, norm="sync")
    assert net.architecture["backbone"]["class"] == "BaseBackbone"
    assert net.architecture["head"] == variant
    twin = Encoder(**net.architecture)
    assert twin.architecture == net.architecture
    twin.load_state_dict(net.state_dict())
    x = images(2)
    torch.testing.assert_close(twin.eval()(x), net.eval()(x), rtol=0, atol=0)


def mapping(*, multi_w: bool, seed: int = 5) -> MappingNetwork:
    torch.manual_seed(seed)
    return MappingNetwork(z_dim=5, w_dim=8, num_layers=6, depth=2, multi_w=multi_w)


@pytest.mark.parametrize("multi_w", [False, True])
def test_z_goes_through_the_generators_mapping(multi_w):
    m = mapping(multi_w=multi_w)
    net = encoder(latent="z", mapping=m.architecture).eval()
    assert net.dense.out_features == 5
    net.set_mapping(m)
    x = images(3)
    z = net.norm(net.dense(net.backbone(x).flatten(1)))
    torch.testing.assert_close(net(x), m(z), rtol=0, atol=0)
    assert net.code_space == "z" and net.encode(x).noise is None
    for found in (net.z(x), net.encode(x).z):
        torch.testing.assert_close(found, z, rtol=0, atol=0)
    with pytest.raises(ConfigError, match="latent=z"):
        encoder().z(x)


def test_the_mapping_is_a_frozen_copy_that_travels_with_the_encoder():
    m = mapping(multi_w=True)
    net = encoder(latent="z", mapping=m.architecture)
    net.set_mapping(m)
    before = {name: value.clone() for name, value in m.state_dict().items()}
    trained = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1.0)
    net(images(4)).square().mean().backward()
    optimizer.step()
    assert all(torch.equal(net.mapping.state_dict()[k], v) for k, v in before.items())
    assert all(p is not q for p in m.parameters() for q in net.parameters())
    twin = Encoder(**net.architecture)
    twin.load_state_dict(net.state_dict())
    torch.testing.assert_close(twin.eval()(images(2)), net.eval()(images(2)), rtol=0, atol=0)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_deltas_start_at_zero_and_are_let_go_one_by_one(norm):
    net = encoder(deltas=True, norm=norm).eval()
    x = images(3)
    codes = net(x)
    torch.testing.assert_close(codes, codes[:, :1].repeat(1, 6, 1), rtol=0, atol=0)
    with torch.no_grad():  # as if they had learned
        (net.dense if norm == "none" else net.norm).weight[8:] += 0.3
    numbers = net.norm(net.dense(net.backbone(x).flatten(1))).view(3, 6, 8)
    for stage in range(6):
        net.set_stage(stage)
        for i, layer in enumerate(net(x).unbind(1)):
            expected = numbers[:, 0] + (numbers[:, i] if 0 < i <= stage else 0)
            torch.testing.assert_close(layer, expected)
    twin = Encoder(**net.architecture)
    net.set_stage(2)
    twin.load_state_dict(net.state_dict())
    torch.testing.assert_close(twin.eval()(x), net(x), rtol=0, atol=0)


def test_held_back_deltas_get_no_gradient_and_the_first_step_lets_them_leave_zero():
    net = encoder(deltas=True)
    net.set_stage(2)
    target = torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(0))
    (net(images(3)) - target).square().mean().backward()
    of_layer = net.norm.weight.grad.view(6, 8).abs().sum(1)
    assert (of_layer[:3] > 0).all() and (of_layer[3:] == 0).all()


def test_errors():
    with pytest.raises(ConfigError, match=r"'v'.*w_plus.*change latent"):
        encoder(latent="v")
    with pytest.raises(ConfigError, match=r"'z' without a mapping"):
        encoder(latent="z")
    with pytest.raises(ConfigError, match=r"latent\.offset=none"):
        encoder(latent="z", mapping=mapping(multi_w=False).architecture, offset=True)
    with pytest.raises(ConfigError, match="do not belong together"):
        encoder(latent="z", mapping=mapping(multi_w=True).architecture).set_mapping(
            mapping(multi_w=False)
        )
    for wrong in ({"latent": "w"}, {"variant": "v1"}):
        with pytest.raises(ConfigError, match="deltas with latent"):
            encoder(deltas=True, **wrong)
    with pytest.raises(ConfigError, match="latent=deltas"):
        encoder().set_stage(1)
    with pytest.raises(ConfigError, match=r"\(32, 32\).*16x16.*data\.resolution"):
        encoder()(images(1, 32))
    with pytest.raises(ConfigError, match=r"one image a rank.*batch_size"):
        encoder().train()(images(1))
    with pytest.raises(CheckpointError, match=r"'Evil'.*BaseBackbone"):
        Encoder(backbone={"class": "Evil"}, num_layers=6, w_dim=8)
