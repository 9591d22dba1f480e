"""BatchNorm statistics of whole batches: right numbers, and a network that is left as it was."""

from typing import Any

import torch
from torch import nn

from idinvert.networks.backbone import batch_norm
from idinvert.networks.batch_norm import (
    batch_norms,
    batches,
    mean_of,
    running_statistics,
    set_statistics,
    sum_of_statistics,
)


def network() -> nn.Module:
    """Our norm and torch's, one behind the other, after some training."""
    torch.manual_seed(0)
    ours = batch_norm(channels=3, norm="sync", scale=True)
    net = nn.Sequential(ours, nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()
    net(torch.randn(8, 3, 2, 2))
    net[1].eval()  # a part that is held in another mode
    return net


def snapshot(net: Any) -> tuple[Any, ...]:
    state = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    return state, modes, [norm.momentum for norm in batch_norms(net)], net[0].synchronised


def test_they_are_means_and_unbiased_variances_of_batches_in_one_go():
    net: Any = network()
    inputs = [5 + 3 * torch.randn(n, 3, 2, 2) for n in (6, 10)]
    found = mean_of(sum_of_statistics(net, net, inputs), 2)

    def of(values, name):
        flat = [value.double().transpose(0, 1).flatten(1) for value in values]  # [C, N h w]
        mean = sum(value.mean(1) for value in flat) / 2
        variance = sum(value.var(1, unbiased=True) for value in flat) / 2
        torch.testing.assert_close(found[f"{name}.running_mean"], mean, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found[f"{name}.running_var"], variance, rtol=1e-5, atol=1e-6)

    of(inputs, "0")
    norm = net[0]
    normalised = []
    for x in inputs:  # the next layer sees what the batch's own statistics make of it
        y = (x - x.mean((0, 2, 3), keepdim=True)) / (
            x.var((0, 2, 3), keepdim=True, unbiased=False) + norm.eps
        ).sqrt()
        normalised.append(net[1](y * norm.weight.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1)))
    of([value.detach() for value in normalised], "2")
    set_statistics(net, found)
    for name, value in running_statistics(net).items():
        assert torch.equal(value, found[name].float())


def test_the_network_is_left_as_it_was_even_by_an_error():
    net = network()
    before = snapshot(net)

    def fails(_):
        net(torch.randn(4, 3, 2, 2))
        raise RuntimeError

    sum_of_statistics(net, net, [torch.randn(4, 3, 2, 2)])
    for attempt in range(2):
        after = snapshot(net)
        assert after[1:] == before[1:]
        assert all(torch.equal(after[0][name], value) for name, value in before[0].items())
        try:
            sum_of_statistics(net, fails, [torch.randn(4, 3, 2, 2)])
        except RuntimeError:
            assert attempt in (0, 1)


def test_batches_are_equal_parts_and_none_is_too_small():
    assert [len(part) for part in batches(1000)] == [125] * 8
    for count in range(2, 1200):
        parts = [len(part) for part in batches(count)]
        assert sum(parts) == count and max(parts) - min(parts) <= 1
        assert min(parts) >= min(count, 83) and max(parts) < 190


def test_no_batches_sum_up_to_zero():
    net = network()
    sums = sum_of_statistics(net, net, [])
    assert set(sums) == {f"{n}.running_{kind}" for n in (0, 2) for kind in ("mean", "var")}
    assert not any(value.any() for value in sums.values())
