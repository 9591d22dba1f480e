"""The terms of the objectives against their formulas written out."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian

from idinvert.errors import ConfigError
from idinvert.losses.terms import (
    code_loss,
    delta_loss,
    discriminator_adversarial,
    encoder_adversarial,
    feature_loss,
    path_length_penalty,
    path_lengths,
    pixel_loss,
    r1,
)
from idinvert.networks.stylegan import StyleGANGenerator
from idinvert.networks.stylegan2 import StyleGAN2Generator


def numpy_mean_square(x: torch.Tensor, y: torch.Tensor) -> np.ndarray:
    difference = x.numpy().astype(np.float64) - y.numpy().astype(np.float64)
    return np.array([np.sum(d * d) / d.size for d in difference])


@pytest.mark.parametrize(
    ("term", "shape"),
    [
        (pixel_loss, (3, 3, 8, 8)),
        (feature_loss, (2, 5, 4, 4)),
        (code_loss, (4, 6, 16)),
        (code_loss, (4, 16)),
    ],
)
def test_terms_are_means_of_squares_for_each_image(term, shape):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=rng, dtype=torch.float64)
    y = torch.randn(shape, generator=rng, dtype=torch.float64)
    result = term(x, y)
    assert result.shape == shape[:1]
    np.testing.assert_allclose(result.numpy(), numpy_mean_square(x, y), rtol=1e-12)
    # An image's value does not depend on its batch mates.
    torch.testing.assert_close(term(x[1:2], y[1:2]), result[1:2])


@pytest.mark.parametrize("term", [pixel_loss, feature_loss, code_loss])
def test_terms_refuse_to_broadcast(term):
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\) and \(1, 3, 4, 4\)"):
        term(torch.zeros(2, 3, 4, 4), torch.zeros(1, 3, 4, 4))


LOGITS = torch.tensor([-30.0, -2.0, 0.0, 0.7, 30.0], dtype=torch.float64)


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0.0, x)


def test_logistic_values():
    fake = LOGITS.flip(0)
    x, y = LOGITS.numpy(), fake.numpy()
    np.testing.assert_allclose(encoder_adversarial(LOGITS).numpy(), softplus(-x), rtol=1e-9)
    real_term, fake_term = discriminator_adversarial(LOGITS, fake)
    np.testing.assert_allclose(real_term.numpy(), softplus(-x), rtol=1e-9)
    np.testing.assert_allclose(fake_term.numpy(), softplus(y), rtol=1e-9)


def test_wgan_values_as_printed():
    fake = LOGITS.flip(0)
    torch.testing.assert_close(encoder_adversarial(LOGITS, "wgan"), -LOGITS)
    real_term, fake_term = discriminator_adversarial(LOGITS, fake, "wgan")
    # Eq. (3): E[D(G(E(x)))] - E[D(x)]
    torch.testing.assert_close((real_term + fake_term).mean(), fake.mean() - LOGITS.mean())


@pytest.mark.parametrize("kind", ["logistic", "wgan"])
def test_descent_raises_what_each_side_wants_raised(kind):
    real = torch.zeros(3, requires_grad=True)
    fake = torch.zeros(3, requires_grad=True)
    (for_encoder,) = torch.autograd.grad(encoder_adversarial(fake, kind).sum(), fake)
    assert (for_encoder < 0).all(), "a descent step of E raises D of the reconstruction"
    terms = discriminator_adversarial(real, fake, kind)
    on_real, on_fake = torch.autograd.grad(sum(term.sum() for term in terms), (real, fake))
    assert (on_real < 0).all(), "a descent step of D raises D of the real image"
    assert (on_fake > 0).all(), "a descent step of D lowers D of the reconstruction"


@pytest.mark.parametrize("shape", [(), (4,)])
def test_terms_are_per_image(shape):
    logits = torch.zeros(shape)
    assert encoder_adversarial(logits).shape == shape
    assert all(t.shape == shape for t in discriminator_adversarial(logits, logits))


def test_unknown_kind_names_the_key():
    with pytest.raises(ConfigError, match=r"'hinge'.*logistic.*objective\.adversarial"):
        encoder_adversarial(LOGITS, "hinge")
    with pytest.raises(ConfigError, match=r"objective\.adversarial"):
        discriminator_adversarial(LOGITS, LOGITS, "hinge")


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


def test_r1_is_the_squared_gradient_norm_of_each_image():
    network = SmoothDiscriminator()
    rng = torch.Generator().manual_seed(2)
    images = torch.randn(3, 3, 4, 4, generator=rng).double().requires_grad_()
    penalty = r1(network(images), images)
    assert penalty.shape == (3,)
    torch.testing.assert_close(
        penalty.detach(), numeric_r1(network, images.detach()), rtol=1e-6, atol=0
    )


def test_r1_trains_the_discriminator():
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


def test_r1_says_when_the_images_carry_no_gradient():
    network = SmoothDiscriminator()
    images = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match="requires_grad_"):
        r1(network(images), images)


def test_the_sum_of_the_lengths_of_the_differences():
    codes = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)).double()
    expected = []
    for n in range(3):
        lengths = [((codes[n, i] - codes[n, 0]) ** 2).sum() ** 0.5 for i in (1, 2, 3)]
        expected.append(sum(lengths))
    torch.testing.assert_close(delta_loss(codes), torch.stack(expected), rtol=1e-12, atol=0)


def test_one_layer_has_no_differences():
    codes = torch.ones(2, 1, 5, requires_grad=True)
    loss = delta_loss(codes)
    assert loss.tolist() == [0.0, 0.0]
    loss.sum().backward()


def test_the_gradient_of_a_difference_of_zero_is_zero():
    codes = torch.ones(2, 3, 5, requires_grad=True)
    delta_loss(codes).sum().backward()
    assert codes.grad is not None and torch.equal(codes.grad, torch.zeros_like(codes))


SIZES = dict(resolution=8, z_dim=4, w_dim=4, channels=[4, 4], mapping_depth=1)
KINDS = {"stylegan2": StyleGAN2Generator, "stylegan": StyleGANGenerator}
MEAN = 0.37


@pytest.fixture(params=[(kind, multi) for kind in KINDS for multi in (False, True)], ids=str)
def generator(request):
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


def test_a_length_is_the_norm_of_the_jacobian_times_the_direction(generator):
    z, y, make = lengths_of(generator)
    _, noise, _ = inputs(generator)
    w = generator.mapping(z).detach()
    for n, length in enumerate(make()):
        one_noise = [maps[n : n + 1] for maps in noise]
        image = functools.partial(generator.synthesis, noise=one_noise)
        j = jacobian(image, w[n : n + 1], vectorize=True)
        j = j.reshape(3 * 8 * 8, generator.num_layers, 4)  # pixels by layers by dimensions
        step = torch.zeros(generator.num_layers, 4, dtype=torch.float64)
        for pixel, weight in enumerate(y[n].flatten()):
            step += j[pixel] * weight / 8  # y / sqrt(8 * 8)
        expected = (sum((layer**2).sum() for layer in step) / generator.num_layers) ** 0.5
        torch.testing.assert_close(length, expected, rtol=1e-10, atol=0)


def test_the_gradient_of_the_penalty_is_that_of_finite_differences(generator):
    _, _, make = lengths_of(generator)

    def penalty():
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


def test_the_penalty_is_the_squared_distance_from_the_mean():
    lengths = torch.tensor([0.5, 2.0])
    torch.testing.assert_close(path_length_penalty(lengths, 1.0), torch.tensor([0.25, 1.0]))


def test_images_that_do_not_come_from_the_codes_are_refused():
    with pytest.raises(ValueError, match="computed from codes"):
        path_lengths(torch.zeros(1, 3, 8, 8), torch.zeros(1, 4, 4), torch.zeros(1, 3, 8, 8))
