"""The Gauss-Newton matrix of native codes, against the matrix written out."""

import pytest
import torch

from idinvert.inversion.curvature import native, preconditioner
from idinvert.inversion.optimize_codes import InDomainInverter

WEIGHT = 3.0


class Linear:
    """G of one layer of codes: images A w; M is the identity."""

    num_layers, multi_w, z_dim, w_dim = 1, False, 4, 4

    def __init__(self):
        rng = torch.Generator().manual_seed(7)
        self.a = torch.randn(12, 4, generator=rng, dtype=torch.float64)
        self.b = torch.randn(4, 12, generator=rng, dtype=torch.float64)

    def mapping(self, z):
        return z[:, None]

    def synthesis(self, w, noise):
        return (w[:, 0] @ self.a.T).view(-1, 3, 2, 2)


def measured(g, **changes):
    def responses(images, w):
        return [(images, 1.0), (w - (images.flatten(1) @ g.b.T)[:, None], WEIGHT)]

    choices = dict(space="w_plus", noise="const", like=torch.zeros(1, dtype=torch.float64))
    return preconditioner(generator=g, responses=responses, **choices | changes)


def test_probes_average_to_the_gauss_newton_matrix_of_the_objective():
    g = Linear()
    known = measured(g, probes=2_000)
    off = torch.eye(4, dtype=torch.float64) - g.b @ g.a
    expected = g.a.T @ g.a / 12 + WEIGHT * off.T @ off / 4
    # Long probes are cut: what is left points where the matrix points, and is no larger.
    found = known.probes.T @ known.probes / 2_000
    cosine = (found * expected).sum() / found.norm() / expected.norm()
    assert cosine > 0.98 and found.trace() < expected.trace()


def test_woodbury_equals_the_inverse_written_out():
    known = measured(Linear(), probes=3)
    a = known.probes.T @ known.probes / 3 + known.damping * torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(known.damping, 3.0 * (known.probes.square().sum() / (3 * 4)))
    q = torch.randn(5, 4, dtype=torch.float64)
    torch.testing.assert_close(known(q), torch.linalg.solve(2 * a, q.T).T)


@pytest.mark.parametrize("space", ["w_plus", "w", "z"])
def test_probes_are_taken_in_the_space_that_moves(world, space):
    moving = native(torch.zeros(2, 4, dtype=torch.float64), space=space, generator=world.generator)
    assert moving.shape == {"w_plus": (2, 3, 5), "w": (2, 1, 5), "z": (2, 4)}[space]
    responses = lambda images, moving: [(images, 1.0)]  # noqa: E731
    kw = dict(generator=world.generator, space=space, noise="const", like=world.images)
    known = preconditioner(responses=responses, probes=8, **kw)
    assert known.probes.shape == (8, moving[0].numel()) and known.probes.dtype == torch.float64


def test_it_is_measured_once_for_a_generator_and_helps(world):
    calls = []
    world.encoder.register_forward_hook(lambda *_: calls.append(1))
    kw = dict(encoder=world.encoder, perceptual=world.features, lambda_vgg=0.3, steps=6)
    method = InDomainInverter(**kw, optimizer="lbfgs_gn")
    first = method.invert(world.images, generator=world.generator)
    once = len(calls)
    again = method.invert(world.images[:2], generator=world.generator)
    assert len(calls) - once == 1 + 7 and once == 1 + 7 + 256 // 32
    torch.testing.assert_close(again.codes, first.codes[:2], rtol=1e-8, atol=1e-12)
    adam = InDomainInverter(**kw).invert(world.images, generator=world.generator)
    assert (first.losses.min(0).values < adam.losses.min(0).values).all()
