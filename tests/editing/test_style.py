"""Style transfer against statistics written anew, and a style that is known to be reachable."""

import numpy as np
import pytest
import torch

from idinvert.editing.style import StyleTransfer, statistics_of
from idinvert.errors import ConfigError


class Layers(torch.nn.Module):
    """Two linear layers of features."""

    def taps(self, images):
        first = images * 2 + images.flip(1)
        return [first, torch.nn.functional.avg_pool2d(first, 2).square()]


class Painter:
    """G of two layers of codes: the lower moves a square, the upper chooses its colours."""

    resolution = 8

    def synthesis(self, w, noise="const"):
        place = torch.sigmoid(w[:, 0, :1, None] - torch.linspace(-2, 2, 8, dtype=w.dtype))
        shape = place[:, None].expand(-1, 3, 8, 8)
        return shape * w[:, 1, :, None, None] + 0.2


@pytest.fixture
def maps():
    return torch.randn(2, 4, 5, 3, generator=torch.Generator().manual_seed(0)).double()


def test_statistics_are_means_deviations_and_products(maps):
    flat = maps.flatten(2).numpy()
    moments = np.concatenate([flat.mean(2), flat.std(2)], axis=1)
    np.testing.assert_allclose(statistics_of(maps, kind="moments"), moments, atol=1e-7)
    gram = np.einsum("nip,njp->nij", flat, flat) / 15
    np.testing.assert_allclose(statistics_of(maps, kind="gram").view(2, 4, 4), gram, atol=1e-12)


@pytest.mark.parametrize("statistics", ["moments", "gram"])
def test_the_upper_layers_alone_move_and_reach_a_style_that_can_be_reached(statistics):
    rng = torch.Generator().manual_seed(1)
    codes, others = torch.randn(2, 3, 2, 3, generator=rng, dtype=torch.float64)
    others[:, 0] = codes[:, 0]  # the same content, so that its colours are the answer
    others[:, 1], codes[:, 1] = others[:, 1].abs(), codes[:, 1].abs()
    styles = Painter().synthesis(others)
    style = StyleTransfer(perceptual=Layers(), first=1, statistics=statistics, steps=400, lr=0.05)
    made = style.transfer(codes, styles, generator=Painter(), noise="const")
    assert torch.equal(made[:, 0], codes[:, 0])
    torch.testing.assert_close(made[:, 1], others[:, 1], rtol=0, atol=0.02)
    before = style.distance(Painter().synthesis(codes), style.of(styles))
    after = style.distance(Painter().synthesis(made), style.of(styles))
    assert (after < 0.01 * before).all()
    alone = style.transfer(codes[1:2], styles[1:2], generator=Painter(), noise="const")
    torch.testing.assert_close(alone, made[1:2], rtol=1e-8, atol=1e-10)
    style.slots = 1
    turns = style.transfer(codes, styles, generator=Painter(), noise="const")
    torch.testing.assert_close(turns, made, rtol=1e-8, atol=1e-10)


def test_the_loss_is_relative_to_the_target(maps):
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(2)).double()
    style = StyleTransfer(perceptual=Layers(), first=1, statistics="gram")
    targets = style.of(images.flip(0))
    expected = torch.zeros(2, dtype=torch.float64)
    for one, other in zip(Layers().taps(images), Layers().taps(images.flip(0)), strict=True):
        a, b = (
            np.einsum("nip,njp->nij", *[maps.flatten(2).numpy()] * 2) / maps[0, 0].numel()
            for maps in (one, other)
        )
        expected += torch.from_numpy(((a - b) ** 2).sum((1, 2)) / (b**2).sum((1, 2)))
    torch.testing.assert_close(style.distance(images, targets), expected)
    with pytest.raises(ConfigError, match="no perceptual network"):
        StyleTransfer(perceptual=None, first=1, statistics="gram")
