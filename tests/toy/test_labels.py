"""Counter-based numbers against an implementation with Python's integers."""

import torch

from idinvert.toy.labels import uniform

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


def mix(x: int) -> int:
    x &= MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def reference(index: int, channel: int, seed: int) -> float:
    row = mix(mix(index * GOLDEN + mix(seed * GOLDEN + 1)))
    return (mix(row + (channel + 1) * GOLDEN) >> 11) * 2.0**-53


def test_equals_the_reference() -> None:
    indices = torch.tensor([0, 1, 2, 69_999, 2**40])
    for seed in (0, 1, 12345, -7):
        drawn = uniform(indices, channels=3, seed=seed)
        expected = [[reference(int(i), c, seed) for c in range(3)] for i in indices]
        assert drawn.tolist() == expected


def test_is_uniform_and_uncorrelated() -> None:
    drawn = uniform(torch.arange(20_000), channels=4, seed=0)
    assert drawn.min() >= 0 and drawn.max() < 1
    assert (drawn.mean(0) - 0.5).abs().max() < 0.01
    assert (drawn.var(0) - 1 / 12).abs().max() < 0.005
    neighbours = torch.cat([drawn[:-1], drawn[1:]], dim=1)
    correlation = torch.corrcoef(neighbours.T) - torch.eye(8, dtype=torch.float64)
    assert correlation.abs().max() < 0.035


def test_seeds_and_indices_do_not_shift_into_one_another() -> None:
    a = uniform(torch.arange(100), channels=2, seed=0)
    b = uniform(torch.arange(100), channels=2, seed=1)
    assert len({*a.flatten().tolist(), *b.flatten().tolist()}) == 400
