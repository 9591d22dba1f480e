"""Intervals: as wide as figures really spread, from the seed alone, and about the figure."""

import math

import pytest
import torch

from idinvert.metrics.attributes import attribute_agreement, attribute_replicates
from idinvert.metrics.fidelity import InceptionDistance
from idinvert.metrics.frechet import (
    frechet_distance,
    frechet_replicates,
    kernel_distance,
    kernel_replicates,
)
from idinvert.metrics.protocol import MetricValues, counts_of, interval, mean_interval, resampled
from idinvert.metrics.swd import swd_replicates

N = 300


def features(seed: int, *, shift: float = 0.0, n: int = N) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, generator=rng, dtype=torch.float64) + shift


def spread_over_sets(distance, *, repeats: int = 60) -> float:
    """How far a distance between two distributions varies from one pair of sets to the next."""
    values = [distance(features(2 * k), features(2 * k + 1, shift=0.4)) for k in range(repeats)]
    return torch.tensor(values).std().item()


@pytest.mark.parametrize(
    ("distance", "replicates"),
    [(frechet_distance, frechet_replicates), (kernel_distance, kernel_replicates)],
)
def test_intervals_of_distances_are_as_wide_as_the_distances_spread(distance, replicates):
    x, y = features(1000), features(1001, shift=0.4)
    spread = replicates(x, y, seed=0, paired=False)
    assert len(spread) == 200
    assert spread.std().item() == pytest.approx(spread_over_sets(distance), rel=0.4)
    low, high = interval(distance(x, y), spread)
    assert (low + high) / 2 == pytest.approx(distance(x, y), rel=1e-9)


def test_a_resample_is_the_distance_of_the_images_that_were_drawn():
    x, y = features(0, n=40), features(1, shift=0.3, n=40)
    first = resampled(40, seed=3, name="outputs", resamples=200)
    second = resampled(40, seed=3, name="reals", resamples=200)
    found = frechet_replicates(x, y, seed=3, paired=False)
    assert found[7].item() == pytest.approx(frechet_distance(x[first[7]], y[second[7]]), rel=1e-6)
    same = frechet_replicates(x, x, seed=3, paired=True)
    assert same.abs().max() < 1e-8, "paired sets are drawn together"
    found = kernel_replicates(x, y, seed=3, paired=False)
    a, b = first[7], second[7]
    kernel = lambda u, v: (u @ v.T / 4 + 1) ** 3  # noqa: E731
    within = []
    for z, i in ((x, a), (y, b)):
        apart = i[:, None] != i  # an image drawn twice makes no pair with itself
        within.append((kernel(z[i], z[i]) * apart).sum() / apart.sum())
    expected = sum(within) - 2 * kernel(x[a], y[b]).mean()
    assert found[7].item() == pytest.approx(expected.item(), rel=1e-9)


def test_many_features_take_fewer_resamples():
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 12, 300, generator=rng, dtype=torch.float64)
    assert len(frechet_replicates(x, y, seed=0, paired=False)) == 50
    wide = {"2048": torch.cat([x, x], dim=1).float()}
    inception = InceptionDistance(["kid", "isc"], path=None)
    assert list(inception.replicates(wide, wide, paired=True)) == ["kid"]


def test_the_interval_of_a_mean_is_that_of_its_standard_error():
    values = features(5)[:, 0]
    low, high = mean_interval(values, seed=0)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std().item() / N**0.5, rel=0.15)
    assert (low, high) == mean_interval(values, seed=0) != mean_interval(values, seed=1)
    assert mean_interval(torch.tensor([1.0, math.inf]), seed=0) is None
    assert mean_interval(torch.tensor([1.0]), seed=0) is None
    figures = MetricValues()
    figures.add_mean("mse", values, seed=0)
    figures.add_mean("psnr", torch.tensor([1.0, math.inf]), seed=0)
    assert "200 bootstrap resamples" in figures.protocol["mse"]
    assert "psnr" not in figures.intervals and "bootstrap" not in figures.protocol["psnr"]


def test_attributes_are_counted_as_often_as_their_image_was_drawn():
    rng = torch.Generator().manual_seed(2)
    labels = torch.stack([(torch.rand(50, generator=rng) > 0.5).float(), torch.rand(50)], dim=1)
    read = labels + 0.6 * torch.rand(50, 2, generator=rng) - 0.3
    options = {"kinds": ["binary", "continuous"], "names": ["glasses", "pose"]}
    spread = attribute_replicates(read, labels, **options, seed=4)
    drawn = resampled(50, seed=4, name="images")[11]
    expected = attribute_agreement(read[drawn], labels[drawn], **options)
    assert set(spread) == set(expected) == set(attribute_agreement(read, labels, **options))
    for name, value in expected.items():
        assert spread[name][11].item() == pytest.approx(value, rel=1e-9), name


def test_swd_of_resamples_spreads_like_swd_of_sets_and_pairs_stay_together():
    rng = torch.Generator().manual_seed(0)

    def images(n):
        coarse = torch.rand(n, 3, 4, 4, generator=rng)
        return (torch.nn.functional.interpolate(coarse, size=16, mode="bilinear") * 255).byte()

    first, second = images(40), images(40)
    spread = swd_replicates(first, second, seed=1)
    assert set(spread) == {"swd", "swd_16"} and len(spread["swd"]) == 50
    values = torch.tensor(
        [swd_replicates(images(40), images(40), seed=k)["swd"].mean() for k in range(8)]
    )
    assert values.std().item() / 3 < spread["swd"].std().item() < values.std().item() * 3
    assert torch.equal(swd_replicates(first, second, seed=1)["swd"], spread["swd"])
    together = swd_replicates(first, first, seed=1, paired=True)["swd"]
    assert together.mean() < swd_replicates(first, first, seed=1)["swd"].mean()


def test_counts_are_those_of_the_draw():
    places = resampled(30, seed=0, name="images")
    counts = counts_of(places)
    assert torch.equal(counts[3], torch.bincount(places[3], minlength=30).double())
    assert (counts.sum(dim=1) == 30).all() and len({tuple(row) for row in counts.tolist()}) == 200
