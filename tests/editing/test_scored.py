"""Sampled codes and their scores: each score belongs to its code's image."""

import pytest
import torch

from idinvert.editing.svm import scored_codes
from idinvert.errors import ConfigError


@pytest.mark.parametrize(("multi_w", "mixing", "shape"), [
    (False, False, (10, 8)), (True, False, (10, 6, 8)), (False, True, (10, 6, 8)),
    (True, True, (10, 6, 8)),
])  # fmt: skip
def test_scores_are_those_of_the_codes_images(world, make, multi_w, mixing, shape):
    generator = make(multi_w=multi_w)
    codes, scores = scored_codes(generator, world.attributes, n=10, batch_size=4, mixing=mixing)
    assert codes.shape == shape and scores.shape == (10, 2)
    w = codes if codes.ndim == 3 else codes[:, None].expand(-1, 6, -1)
    expected = world.attributes(generator.synthesis(w).clamp(-1, 1))
    torch.testing.assert_close(scores, expected)


def test_mixing_joins_two_codes_at_one_layer(world, make):
    codes, _ = scored_codes(make(), world.attributes, n=200, mixing=True)
    changes = (codes[:, 1:] != codes[:, :-1]).any(2)  # [n, L − 1]
    assert changes.sum(1).tolist() == [1] * 200
    assert set(changes.int().argmax(1).tolist()) == set(range(5)), "a cut at every layer"


def test_a_conditional_generator_is_refused(world, make):
    with pytest.raises(ConfigError, match=r"conditional \(labels of 3 numbers\).*generator.path"):
        scored_codes(make(c_dim=3), world.attributes, n=4)
