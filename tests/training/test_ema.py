"""The average of a network against its closed form."""

import math

import pytest
import torch
from torch import nn

from idinvert.training.averages import update_ema


def pair() -> tuple[nn.Module, nn.Module]:
    """An average that stands at 0 and a network that stands at 1, in float64."""
    average, network = (nn.BatchNorm1d(3).double() for _ in range(2))
    for parameter in average.parameters():
        nn.init.zeros_(parameter)
    for parameter in network.parameters():
        nn.init.ones_(parameter)
    return average, network


@pytest.mark.parametrize("batch_size", [1, 10, 64])
def test_after_one_half_life_an_old_weight_counts_half(batch_size):
    average, network = pair()
    half_life = 640
    for nimg in range(0, half_life, batch_size):
        update_ema(
            average,
            network,
            batch_size=batch_size,
            nimg=nimg,
            half_life_nimg=half_life,
            rampup=None,
        )
    torch.testing.assert_close(average.weight, torch.full((3,), 0.5).double(), rtol=1e-12, atol=0)


def test_the_ramp_up_keeps_the_half_life_at_a_share_of_the_images_seen():
    average, network = pair()
    expected = 1.0  # distance of the average from the network
    for nimg in range(0, 4000, 20):
        decay = update_ema(
            average, network, batch_size=20, nimg=nimg, half_life_nimg=100.0, rampup=0.05
        )
        half_life = min(100.0, 0.05 * (nimg + 20))
        assert decay == pytest.approx(math.exp(-math.log(2) * 20 / half_life))
        expected *= decay
    assert 1 - average.weight[0].item() == pytest.approx(expected, rel=1e-9)


def test_buffers_are_copied_and_the_network_stays():
    average, network = pair()
    network.running_mean.fill_(7.0)
    update_ema(average, network, batch_size=8, nimg=0, half_life_nimg=1e9, rampup=None)
    assert average.running_mean.tolist() == [7.0] * 3
    assert network.weight.tolist() == [1.0] * 3
    assert not average.weight.grad
