"""R1 against finite differences in float64."""

import pytest
import torch
from torch import Tensor, nn

from idinvert.losses.terms import r1


class SmoothDiscriminator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(1)
        self.kernel = nn.Parameter(0.3 * torch.randn(2, 3, 3, 3, generator=rng).double())
        self.head = nn.Parameter(torch.randn(2 * 16, generator=rng).double())

    def forward(self, images: Tensor) -> Tensor:
        x = torch.tanh(nn.functional.conv2d(images, self.kernel, padding=1))
        return (x * x + x).flatten(1) @ self.head


def numeric_r1(network: nn.Module, images: Tensor, step: float = 1e-5) -> Tensor:
    """Central differences, one pixel at a time."""
    total = torch.zeros(len(images), dtype=torch.float64)
    for position in range(images[0].numel()):
        bump = torch.zeros_like(images).flatten(1)
        bump[:, position] = step
        bump = bump.view_as(images)
        slope = (network(images + bump) - network(images - bump)) / (2 * step)
        total += slope.detach() ** 2
    return total


def test_r1_is_the_squared_gradient_norm_of_each_image() -> None:
    network = SmoothDiscriminator()
    rng = torch.Generator().manual_seed(2)
    images = torch.randn(3, 3, 4, 4, generator=rng).double().requires_grad_()
    penalty = r1(network(images), images)
    assert penalty.shape == (3,)
    torch.testing.assert_close(
        penalty.detach(), numeric_r1(network, images.detach()), rtol=1e-6, atol=0
    )


def test_r1_trains_the_discriminator() -> None:
    """Its gradient with respect to D's weights agrees with finite differences of r1 itself."""
    network = SmoothDiscriminator()
    rng = torch.Generator().manual_seed(3)
    images = torch.randn(2, 3, 4, 4, generator=rng).double().requires_grad_()
    r1(network(images), images).sum().backward()
    step = 1e-6
    for index in (0, 17, 40):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                network.kernel.view(-1)[index] += sign * step
            values.append(r1(network(images), images).sum().item())
            with torch.no_grad():
                network.kernel.view(-1)[index] -= sign * step
        slope = (values[0] - values[1]) / (2 * step)
        assert network.kernel.grad.view(-1)[index].item() == pytest.approx(slope, rel=1e-5)


def test_r1_says_when_the_images_carry_no_gradient() -> None:
    network = SmoothDiscriminator()
    images = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match="requires_grad_"):
        r1(network(images), images)
