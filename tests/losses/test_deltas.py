"""e4e's delta regulariser, written out in float64."""

import torch

from idinvert.losses.terms import delta_loss


def test_the_sum_of_the_lengths_of_the_differences() -> None:
    codes = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)).double()
    expected = []
    for n in range(3):
        lengths = [((codes[n, i] - codes[n, 0]) ** 2).sum() ** 0.5 for i in (1, 2, 3)]
        expected.append(sum(lengths))
    torch.testing.assert_close(delta_loss(codes), torch.stack(expected), rtol=1e-12, atol=0)


def test_one_layer_has_no_differences() -> None:
    codes = torch.ones(2, 1, 5, requires_grad=True)
    loss = delta_loss(codes)
    assert loss.tolist() == [0.0, 0.0]
    loss.sum().backward()


def test_the_gradient_of_a_difference_of_zero_is_zero() -> None:
    codes = torch.ones(2, 3, 5, requires_grad=True)
    delta_loss(codes).sum().backward()
    assert codes.grad is not None and torch.equal(codes.grad, torch.zeros_like(codes))
