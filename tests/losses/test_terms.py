"""The terms of the objectives against plain numpy in float64."""

import numpy as np
import pytest
import torch

from idinvert.losses.terms import code_loss, feature_loss, pixel_loss


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
def test_terms_are_means_of_squares_for_each_image(term, shape) -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=rng, dtype=torch.float64)
    y = torch.randn(shape, generator=rng, dtype=torch.float64)
    result = term(x, y)
    assert result.shape == shape[:1]
    np.testing.assert_allclose(result.numpy(), numpy_mean_square(x, y), rtol=1e-12)
    # An image's value does not depend on its batch mates.
    torch.testing.assert_close(term(x[1:2], y[1:2]), result[1:2])


@pytest.mark.parametrize("term", [pixel_loss, feature_loss, code_loss])
def test_terms_refuse_to_broadcast(term) -> None:
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\) and \(1, 3, 4, 4\)"):
        term(torch.zeros(2, 3, 4, 4), torch.zeros(1, 3, 4, 4))
