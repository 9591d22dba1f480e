"""Noise belongs to the image, not to its place in a batch."""

import pytest
import torch

from idinvert.errors import ConfigError
from idinvert.inversion.noise import draw_noise, noise_for

CPU = torch.device("cpu")


def draw(ids, seed=0):
    return draw_noise(
        shapes=[(4, 4), (16, 16)], ids=torch.tensor(ids), seed=seed, dtype=torch.float32, device=CPU
    )


def test_depends_on_seed_and_id_only():
    together, reversed_, other = draw([7, 8, 9]), draw([9, 8]), draw([8], seed=1)
    assert [tuple(m.shape) for m in together] == [(3, 1, 4, 4), (3, 1, 16, 16)]
    for a, b, c in zip(together, reversed_, other, strict=True):
        assert torch.equal(a[1], b[1]) and torch.equal(a[2], b[0])
        assert not torch.equal(a[1], c[0]) and not torch.equal(a[0], a[1])


def test_is_standard_normal():
    maps = draw(list(range(400)))[1]
    assert abs(maps.mean().item()) < 0.02 and abs(maps.std().item() - 1) < 0.02


def test_random_needs_ids_and_unknown_kinds_are_refused(world):
    kw = dict(generator=world.generator, seed=0, like=world.images)
    with pytest.raises(ConfigError, match=r"inversion\.noise=random"):
        noise_for("random", ids=None, **kw)
    with pytest.raises(ConfigError, match="expected const, random or none"):
        noise_for("randm", ids=None, **kw)
    assert noise_for("const", ids=None, **kw) == ("const", None)
