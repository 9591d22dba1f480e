"""The metric of codes against float64 numpy, and where the truth is planted."""

import numpy as np
import pytest
import torch

from idinvert.errors import DataError
from idinvert.metrics.codes import native_codes


def drawn(count: int, layers: int = 3, width: int = 6, *, seed: int = 0) -> torch.Tensor:
    """Correlated codes with a scale of their own in each layer."""
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(count, layers, width, generator=rng, dtype=torch.float64)
    mix = torch.randn(layers, width, width, generator=torch.Generator().manual_seed(9)).double()
    return torch.einsum("nli,lij->nlj", z, mix) + 50.0 * torch.arange(1.0, layers + 1)[:, None]


def fitted(layers: int = 3):
    return native_codes(drawn(4000, layers).split(500), blocks=4)


def test_distance_radius_and_error_are_those_of_numpy():
    native, codes = fitted(), 50 + drawn(40, seed=1)
    first, held = drawn(4000).numpy()[:2000], drawn(4000).numpy()[2000:]

    def by_hand(w):
        squares, radii = [], []
        for layer in range(3):
            off = w[:, layer] - first[:, layer].mean(axis=0)
            inverse = np.linalg.inv(np.cov(first[:, layer].T))
            squares.append(np.einsum("ni,ij,nj->n", off, inverse, off) / 6)
            radii.append((off**2).sum(axis=1))
        return np.mean(squares, axis=0), np.sqrt(np.mean(radii, axis=0))

    distances, radii = by_hand(codes.numpy())
    held_distances, held_radii = by_hand(held)
    np.testing.assert_allclose(native.distance(codes), distances, rtol=1e-9)
    np.testing.assert_allclose(native.distances, held_distances, rtol=1e-9)
    # torch's median is the lower of the two in the middle
    middle = np.sort(held_radii)[(len(held_radii) - 1) // 2]
    np.testing.assert_allclose(native.radius(codes), radii / middle, rtol=1e-9)
    spread = np.mean([np.trace(np.cov(first[:, layer].T)) for layer in range(3)])
    known = drawn(40, seed=2)
    error = ((codes - known).numpy() ** 2).sum(axis=2).mean(axis=1) / spread
    np.testing.assert_allclose(native.error(codes, known), error, rtol=1e-9)


def test_planted_truths():
    native, codes = fitted(), drawn(4000, seed=3)
    assert native.distance(codes).mean().item() == pytest.approx(1, abs=0.03)
    assert native.distances.mean().item() == pytest.approx(1, abs=0.03)
    assert native.radius(codes).median().item() == pytest.approx(1, abs=0.03)
    far = native.mean + 20 * (codes[:5] - native.mean)
    assert (native.distance(far) > native.distances.max()).all()
    assert (native.radius(far) > 1).all()
    mean = native.mean.expand_as(codes)
    assert native.distance(mean).max() == 0
    assert native.error(codes, codes).max() == 0
    assert native.error(mean, codes).mean().item() == pytest.approx(1, abs=0.03)
    assert native.error(codes, drawn(4000, seed=4)).mean().item() == pytest.approx(2, abs=0.06)
    broken = codes[:2].clone()
    broken[0, 0, 0] = torch.nan
    assert native.distance(broken).isinf().tolist() == [True, False]
    assert native.radius(broken).isinf().tolist() == [True, False]


def test_one_w_for_all_layers_is_compared_layer_by_layer():
    native, codes = fitted(layers=1), drawn(10, layers=1, seed=5)
    wide = codes.expand(-1, 4, -1)
    assert torch.allclose(native.distance(wide), native.distance(codes))
    assert torch.allclose(native.radius(wide), native.radius(codes))
    one = wide.clone()
    one[:, 2] = 2 * one[:, 2] - native.mean  # one layer of four is twice as far
    assert torch.allclose(native.distance(one), native.distance(codes) * (3 + 4) / 4)


def test_directions_without_native_variance_count_as_far():
    flat = drawn(4000, layers=1)
    flat[..., 0] = 7.0
    native = native_codes(flat.split(500), blocks=4)
    assert native.distances.mean().item() == pytest.approx(5 / 6, abs=0.03), "of 5 of 6 dimensions"
    beside = flat[:3].clone()
    beside[..., 0] += 1.0
    found = native.distance(beside)
    assert found.isfinite().all() and (found > native.distances.max()).all()


def test_the_size_of_blocks_does_not_matter_and_bad_samples_are_refused():
    small = native_codes(drawn(4000).split(250), blocks=8)
    torch.testing.assert_close(small.distances, fitted().distances)
    with pytest.raises(DataError, match="6 native codes are too few"):
        native_codes(drawn(12).split(6), blocks=1)
    with pytest.raises(DataError, match="all the same"):
        native_codes([torch.ones(9, 1, 3)] * 2, blocks=1)
    with pytest.raises(DataError, match="held out"):
        native_codes(drawn(40).split(40), blocks=1)
