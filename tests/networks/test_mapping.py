"""The mapping network against its formula, single-w and multi-w."""

import math

import pytest
import torch
from torch import Tensor

from idinvert.networks.mapping import MappingNetwork


def by_hand(network: MappingNetwork, z: Tensor, *, lr_mul: float, on_weight: bool) -> Tensor:
    """The layers written out: NVlabs' StyleGAN2 order, or StyleGAN's."""
    x = z / torch.sqrt((z**2).mean(dim=1, keepdim=True) + 1e-8)
    for layer in network.layers:
        weight, bias = layer.weight.detach(), layer.bias.detach() * lr_mul
        scale = lr_mul / math.sqrt(weight.shape[1])
        if on_weight:
            x = x @ (weight * scale * math.sqrt(2)).T + bias
            x = torch.maximum(x, 0.2 * x)
        else:
            x = x @ (weight * scale).T + bias
            x = torch.maximum(x, 0.2 * x) * math.sqrt(2)
    return x


@pytest.mark.parametrize("gain_on", ["activation", "weight"])
@pytest.mark.parametrize("multi_w", [False, True])
def test_mapping_is_its_formula(gain_on, multi_w):
    network = MappingNetwork(
        z_dim=6, w_dim=5, num_layers=4, depth=3, multi_w=multi_w, lr_mul=0.1, gain_on=gain_on
    ).double()
    for layer in network.layers:
        torch.nn.init.normal_(layer.bias, std=5.0)  # a zero bias would hide where the gain stands
    z = torch.randn(3, 6, generator=torch.Generator().manual_seed(0)).double()
    expected = by_hand(network, z, lr_mul=0.1, on_weight=gain_on == "weight")
    w = network(z).detach()
    assert w.shape == (3, 4, 5)
    if multi_w:
        torch.testing.assert_close(w, expected.reshape(3, 4, 5))
        assert not torch.allclose(w[:, 0], w[:, 1])
    else:
        for layer in range(4):
            torch.testing.assert_close(w[:, layer], expected)


def test_multi_w_widens_the_last_layer_only():
    network = MappingNetwork(z_dim=512, w_dim=512, num_layers=14, depth=2, multi_w=True)
    assert [tuple(layer.weight.shape) for layer in network.layers] == [(512, 512), (7168, 512)]
    single = MappingNetwork(z_dim=512, w_dim=512, num_layers=14, depth=2, multi_w=False)
    assert single.layers[-1].weight.shape == (512, 512)


def test_the_repeated_w_can_be_written_to_one_layer_alone():
    network = MappingNetwork(z_dim=2, w_dim=2, num_layers=3, depth=1, multi_w=False)
    with torch.no_grad():
        w = network(torch.ones(1, 2))
        w[:, 0] = 7
    assert (w[:, 1:] != 7).all()


def test_round_trip_of_the_architecture():
    network = MappingNetwork(z_dim=3, w_dim=4, num_layers=2, depth=2, multi_w=True, lr_mul=0.5)
    again = MappingNetwork(**network.architecture)
    again.load_state_dict(network.state_dict())
    z = torch.ones(1, 3)
    assert torch.equal(again(z), network(z))


def test_labels_are_embedded_normalised_and_appended():
    network = MappingNetwork(
        z_dim=6, w_dim=5, num_layers=4, depth=3, multi_w=False, c_dim=3, embed_dim=4, hidden_dim=7
    ).double()
    rng = torch.Generator().manual_seed(0)
    z, c = torch.randn(2, 6, generator=rng).double(), torch.randn(2, 3, generator=rng).double()
    assert [tuple(layer.weight.shape) for layer in network.layers] == [(7, 10), (7, 7), (5, 7)]
    y = c @ network.embed.weight.T / math.sqrt(3) + network.embed.bias
    x = z / torch.sqrt((z**2).mean(dim=1, keepdim=True) + 1e-8)
    x = torch.cat([x, y / torch.sqrt((y**2).mean(dim=1, keepdim=True) + 1e-8)], dim=1)
    for layer in network.layers:
        scale = 0.01 / math.sqrt(layer.weight.shape[1])
        x = torch.nn.functional.leaky_relu(x @ (layer.weight * scale).T + layer.bias * 0.01, 0.2)
        x = x * math.sqrt(2)
    torch.testing.assert_close(network(z, c)[:, 1], x)
    with pytest.raises(ValueError, match=r"conditional: labels c have shape None"):
        network(z)


def test_what_does_not_fit_is_refused():
    network = MappingNetwork(z_dim=3, w_dim=4, num_layers=2, depth=1, multi_w=False)
    with pytest.raises(ValueError, match=r"\[N, 3\]"):
        network(torch.zeros(1, 4))
    with pytest.raises(ValueError, match="depth=0"):
        MappingNetwork(z_dim=3, w_dim=4, num_layers=2, depth=0, multi_w=False)
    with pytest.raises(ValueError, match="gain_on='both'"):
        MappingNetwork(z_dim=3, w_dim=4, num_layers=2, depth=1, multi_w=False, gain_on="both")
