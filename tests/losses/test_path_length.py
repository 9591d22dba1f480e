"""Path lengths against a literal Jacobian in float64, and their gradient by finite differences."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.functional import jacobian

from idinvert.losses.terms import path_length_penalty, path_lengths
from idinvert.networks.stylegan import StyleGANGenerator
from idinvert.networks.stylegan2 import StyleGAN2Generator

SIZES = dict(resolution=8, z_dim=4, w_dim=4, channels=[4, 4], mapping_depth=1)
KINDS = {"stylegan2": StyleGAN2Generator, "stylegan": StyleGANGenerator}
MEAN = 0.37


@pytest.fixture(params=[(kind, multi) for kind in KINDS for multi in (False, True)], ids=str)
def generator(request: pytest.FixtureRequest) -> Any:
    kind, multi_w = request.param
    torch.manual_seed(0)
    made = KINDS[kind](**SIZES, multi_w=multi_w).double()
    with torch.no_grad():  # as after some training: StyleGAN's first layer starts without variance
        for parameter in made.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, dtype=torch.float64)
    return made


def inputs(generator: Any, count: int = 2) -> tuple[Tensor, list[Tensor], Tensor]:
    """z, noise and directions."""
    rng = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    noise = [draw(count, 1, *size) for size in generator.noise_shapes]
    return draw(count, 4), noise, draw(count, 3, 8, 8)


def lengths_of(generator: Any) -> tuple[Tensor, Tensor, Callable[[], Tensor]]:
    z, noise, y = inputs(generator)

    def make() -> Tensor:
        w = generator.mapping(z)
        return path_lengths(generator.synthesis(w, noise=noise), w, y)

    return z, y, make


def test_a_length_is_the_norm_of_the_jacobian_times_the_direction(generator: Any) -> None:
    z, y, make = lengths_of(generator)
    _, noise, _ = inputs(generator)
    w = generator.mapping(z).detach()
    for n, length in enumerate(make()):
        one_noise = [maps[n : n + 1] for maps in noise]
        j = jacobian(lambda code, m=one_noise: generator.synthesis(code, noise=m), w[n : n + 1])
        j = j.reshape(3 * 8 * 8, generator.num_layers, 4)  # pixels by layers by dimensions
        step = torch.zeros(generator.num_layers, 4, dtype=torch.float64)
        for pixel, weight in enumerate(y[n].flatten()):
            step += j[pixel] * weight / 8  # y / sqrt(8 * 8)
        expected = (sum((layer**2).sum() for layer in step) / generator.num_layers) ** 0.5
        torch.testing.assert_close(length, expected, rtol=1e-10, atol=0)


def test_the_gradient_of_the_penalty_is_that_of_finite_differences(generator: Any) -> None:
    _, _, make = lengths_of(generator)

    def penalty() -> Tensor:
        return path_length_penalty(make(), MEAN).mean()

    parameters = dict(generator.named_parameters())
    got = torch.autograd.grad(penalty(), list(parameters.values()), allow_unused=True)
    rng = torch.Generator().manual_seed(2)
    reached = 0
    for (name, parameter), gradient in zip(parameters.items(), got, strict=True):
        along = torch.randn(parameter.shape, generator=rng, dtype=torch.float64)
        values, step = [], 1e-6
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(along, alpha=sign * step)
            values.append(penalty().detach())
            with torch.no_grad():
                parameter.sub_(along, alpha=sign * step)
        numeric = (values[0] - values[1]) / (2 * step)
        mine = torch.zeros(()).double() if gradient is None else (gradient * along).sum()
        torch.testing.assert_close(mine, numeric, rtol=1e-4, atol=1e-8, msg=name)
        reached += int(gradient is not None and bool(gradient.abs().max() > 0))
    assert reached > len(parameters) / 2


def test_the_penalty_is_the_squared_distance_from_the_mean() -> None:
    lengths = torch.tensor([0.5, 2.0])
    torch.testing.assert_close(path_length_penalty(lengths, 1.0), torch.tensor([0.25, 1.0]))


def test_images_that_do_not_come_from_the_codes_are_refused() -> None:
    with pytest.raises(ValueError, match="computed from codes"):
        path_lengths(torch.zeros(1, 3, 8, 8), torch.zeros(1, 4, 4), torch.zeros(1, 3, 8, 8))
