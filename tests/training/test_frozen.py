"""Frozen networks let gradients through, take none, and stay out of checkpoints."""

import torch
from torch import nn

from idinvert.training.frozen import drop_frozen, freeze, restore_frozen


def test_gradients_flow_through_a_frozen_network_and_not_into_it() -> None:
    network = freeze(nn.Linear(2, 2))
    x = torch.ones(1, 2, requires_grad=True)
    network(x).sum().backward()
    assert x.grad is not None
    assert network.weight.grad is None
    assert not network.training


def test_a_state_dict_without_the_frozen_networks_loads_strictly_again() -> None:
    module = nn.ModuleDict({"generator": nn.Linear(2, 2), "encoder": nn.Linear(2, 2)})
    state = module.state_dict()
    drop_frozen(state, ("generator", "perceptual"))
    assert sorted(state) == ["encoder.bias", "encoder.weight"]
    other = nn.ModuleDict({"generator": nn.Linear(2, 2), "encoder": nn.Linear(2, 2)})
    own = other["generator"].weight.clone()
    restore_frozen(state, other, ("generator", "perceptual"))
    other.load_state_dict(state, strict=True)
    assert torch.equal(other["generator"].weight, own)
    assert torch.equal(other["encoder"].weight, module["encoder"].weight)


def test_a_name_that_only_begins_alike_is_not_frozen() -> None:
    state = {"generator.weight": 0, "generator_ema.weight": 1}
    drop_frozen(state, ("generator",))
    assert list(state) == ["generator_ema.weight"]
