"""Frozen networks let gradients through, take none, and stay out of checkpoints."""

import torch
from torch import nn

from idinvert.training.encoder_training import EncoderTraining, freeze, is_frozen
from idinvert.training.schedules import Constant


def training() -> EncoderTraining:
    networks = {role: nn.Linear(2, 2) for role in ("generator", "encoder", "perceptual")}
    return EncoderTraining(**networks, lr=0.1, betas=(0.9, 0.99), schedule=Constant(), seed=0)


def test_gradients_flow_through_a_frozen_network_and_not_into_it():
    network = freeze(nn.Linear(2, 2))
    x = torch.ones(1, 2, requires_grad=True)
    network(x).sum().backward()
    assert x.grad is not None
    assert network.weight.grad is None
    assert not network.training


def test_a_checkpoint_without_the_frozen_networks_loads_strictly_again():
    module, other = training(), training()
    checkpoint = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    kept = [key for key in checkpoint["state_dict"] if not key.startswith("clock")]
    assert sorted(kept) == ["encoder.bias", "encoder.weight"]
    own = {role: getattr(other, role).weight.clone() for role in ("generator", "perceptual")}
    other.on_load_checkpoint(checkpoint)
    other.load_state_dict(checkpoint["state_dict"], strict=True)
    assert all(torch.equal(getattr(other, role).weight, own[role]) for role in own)
    assert torch.equal(other.encoder.weight, module.encoder.weight)


def test_a_name_that_only_begins_alike_is_not_frozen():
    assert is_frozen("generator.weight") and not is_frozen("generator_ema.weight")


def test_frozen_networks_stay_in_evaluation_mode():
    module = training().train()
    assert module.encoder.training
    assert not module.generator.training and not module.perceptual.training
