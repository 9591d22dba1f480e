"""The fixed filter against torch's grouped convolutions, up to the second order of gradients."""

import collections
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from idinvert.losses.terms import r1
from idinvert.networks import stylegan2_discriminator, stylegan_discriminator
from idinvert.networks.resample import depthwise, fir_kernel

WAYS = [
    {"stride": 1, "padding": 2},
    {"stride": 2, "padding": 1},
]


class Counting(TorchDispatchMode):
    """Counts the operations that run."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: collections.Counter[str] = collections.Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen[str(func)] += 1
        return func(*args, **(kwargs or {}))


def lopsided() -> Tensor:
    """A 4 × 4 filter without any symmetry, which would hide a flip."""
    return torch.arange(1.0, 17.0).view(4, 4) / 10


def images(dtype: torch.dtype = torch.float32, *, channels_last: bool = False) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 6, 6, generator=rng, dtype=dtype)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return x.contiguous(memory_format=layout).requires_grad_()


def torchs(x: Tensor, kernel: Tensor, *, stride: int, padding: int) -> Tensor:
    return F.conv2d(x, kernel.expand(3, 1, 4, 4), stride=stride, padding=padding, groups=3)


def penalty(function: Any, x: Tensor, kernel: Tensor, **how: Any) -> tuple[Tensor, ...]:
    """Result, gradient, and the gradient of the gradient's norm, as R1 has it."""
    y = function(x, kernel, **how)
    (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    return y.detach(), first.detach(), second


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("how", WAYS, ids=str)
def test_it_equals_torchs_bit_for_bit(how, channels_last):
    x = images(channels_last=channels_last)
    ours = penalty(depthwise, x, lopsided(), **how)
    theirs = penalty(torchs, x, lopsided(), **how)
    for mine, expected in zip(ours, theirs, strict=True):
        assert torch.equal(mine, expected)
        assert mine.stride() == expected.stride()


@pytest.mark.parametrize("how", WAYS, ids=str)
def test_gradients_are_those_of_differences(how):
    x, kernel = images(torch.float64), lopsided().double()
    assert torch.autograd.gradcheck(lambda x: depthwise(x, kernel, **how), (x,))
    assert torch.autograd.gradgradcheck(lambda x: depthwise(x, kernel, **how), (x,))


def test_the_second_order_convolves_no_channel_by_itself():
    x = images()
    y = depthwise(x, fir_kernel((1, 3, 3, 1)), padding=2)
    (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with Counting() as counting:
        first.square().sum().backward()
    # The gradient of the gradient, and what it sends on through the two passes before it.
    assert counting.seen["aten.convolution.default"] == 1
    assert counting.seen["aten.convolution_backward.default"] <= 2


def test_mixed_precision_leaves_the_second_order_of_full_precision_alone():
    x, kernel = images(), lopsided()
    _, _, expected = penalty(depthwise, x, kernel, **WAYS[0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert depthwise(x, kernel, padding=2).dtype == torch.bfloat16
        with torch.autocast("cpu", enabled=False):
            y = depthwise(x, kernel, padding=2)
            (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x)
    assert torch.equal(second, expected)


def test_mixed_precision_gives_a_gradient_of_the_inputs_type():
    x = images()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = depthwise(x, lopsided(), padding=2)
    y.float().sum().backward()
    assert x.grad is not None and x.grad.dtype == torch.float32
    expected = torch.autograd.grad(torchs(x, lopsided(), **WAYS[0]).sum(), x)[0]
    torch.testing.assert_close(x.grad, expected, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (stylegan_discriminator, "StyleGANDiscriminator"),
        (stylegan2_discriminator, "StyleGAN2Discriminator"),
    ],
)
def test_r1_of_a_discriminator_is_the_same_and_costs_less(module, name, monkeypatch):
    torch.manual_seed(0)
    discriminator = getattr(module, name)(resolution=16, channels=[8, 8, 8])
    real = torch.randn(4, 3, 16, 16).requires_grad_()

    def gradients():
        logits = discriminator(real)
        with Counting() as counting:
            found = torch.autograd.grad(
                r1(logits, real).mean(), list(discriminator.parameters()), allow_unused=True
            )
        return [g for g in found if g is not None], counting.seen["aten.convolution.default"]

    ours, few = gradients()
    monkeypatch.setattr(module, "may_be_differentiated_twice", lambda *_: False)
    theirs, many = gradients()
    assert len(ours) > 5 and few < many / 2
    for mine, expected in zip(ours, theirs, strict=True):
        assert torch.equal(mine, expected)


def test_a_discriminator_takes_the_plain_way_where_no_r1_can_come(monkeypatch):
    discriminator = stylegan2_discriminator.StyleGAN2Discriminator(resolution=8, channels=[4, 4])
    images = torch.zeros(2, 3, 8, 8)

    def refuse(*_, **__):
        raise AssertionError("no gradient of this pass can be differentiated for R1")

    monkeypatch.setattr("idinvert.networks.resample.depthwise", refuse)
    discriminator(images)  # D's own step on images without a penalty
    discriminator.requires_grad_(False)
    discriminator(images.requires_grad_())  # what E pays
