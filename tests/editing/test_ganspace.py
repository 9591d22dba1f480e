"""GANSpace against scikit-learn's PCA of the same codes, and steps in units of its spread."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from idinvert.editing.edits import manipulate
from idinvert.editing.ganspace import ganspace
from idinvert.errors import ConfigError


def codes(generator, n, seed=0):
    z = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))
    return generator.mapping(z.double())  # [n, L, w]


@pytest.mark.parametrize("kind", ["stylegan", "stylegan2"])
@pytest.mark.parametrize("batch_size", [400, 1000])
def test_equals_scikit_learn(make, kind, batch_size):
    generator = make(kind)
    found = ganspace(generator, samples=400, count=5, seed=0, batch_size=batch_size)
    pca = PCA(svd_solver="full").fit(codes(generator, 400)[:, 0].numpy())
    for rank, direction in enumerate(found):
        own = direction.vector[0].double().numpy()
        assert direction.vector.shape == (1, 8) and direction.name == f"ganspace{rank:02d}"
        assert abs(abs(own @ pca.components_[rank]) - 1) < 1e-6 and own[np.abs(own).argmax()] > 0
        sigma = np.sqrt(pca.explained_variance_[rank])
        assert direction.provenance["sigma"] == pytest.approx([sigma], rel=1e-6)
        ratio = pca.explained_variance_ratio_[rank]
        assert direction.provenance["share"] == pytest.approx(ratio, rel=1e-6)


def test_multi_w_is_one_pca_with_a_row_a_layer(make):
    generator = make(multi_w=True)
    found = ganspace(generator, samples=400, count=3)
    pca = PCA(svd_solver="full").fit(codes(generator, 400).flatten(1).numpy())
    for rank, direction in enumerate(found):
        assert direction.vector.shape == (6, 8)
        sigma = torch.tensor(direction.provenance["sigma"], dtype=torch.float64)[:, None]
        step = (direction.vector.double() * sigma).flatten().numpy()
        expected = pca.components_[rank] * np.sqrt(pca.explained_variance_[rank])
        error = min(np.abs(step - expected).max(), np.abs(step + expected).max())
        assert error < 1e-6


def test_one_sigma_is_one_standard_deviation_of_the_codes(make):
    generator = make()
    first = ganspace(generator, samples=2000, count=1, layers=(1, 2))[0]
    sample = codes(generator, 2000)
    spread = (sample[:, 0] @ first.vector[0].double()).std().item()
    moved = manipulate(sample[:3], first, [-1.0, 2.0], unit="sigma")
    for s, alpha in enumerate((-1.0, 2.0)):
        step = (moved[:, s] - sample[:3]) @ first.vector[0].double()
        expected = torch.zeros(3, 6, dtype=torch.float64)
        expected[:, 1:3] = alpha * spread
        torch.testing.assert_close(step, expected, rtol=1e-6, atol=1e-9)


def test_refusals(make):
    with pytest.raises(ConfigError, match="expected 1 to 8"):
        ganspace(make(), samples=100, count=9)
    with pytest.raises(ConfigError, match="expected 1 to 4"):
        ganspace(make(), samples=5, count=5)
    with pytest.raises(ConfigError, match="conditional"):
        ganspace(make(c_dim=3), samples=5, count=1)
