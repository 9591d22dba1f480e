"""Agreement of read attributes with labels."""

import numpy as np
import pytest
import torch

from idinvert.errors import DataError
from idinvert.metrics.attributes import attribute_agreement, attribute_replicates

KINDS = ["binary", "continuous", "continuous", "binary"]
NAMES = ["glasses", "pose", "age", "beard"]


def test_accuracy_and_pearson_correlation():
    rng = np.random.default_rng(0)
    labels = np.stack([rng.integers(0, 2, 40), *rng.uniform(-1, 1, (2, 40)), np.ones(40)], axis=1)
    predictions = labels + rng.normal(0, 0.4, labels.shape)
    got = attribute_agreement(
        torch.from_numpy(predictions), torch.from_numpy(labels), kinds=KINDS, names=NAMES
    )
    glasses = np.mean(
        [(p > 0.5) == (t == 1) for p, t in zip(predictions[:, 0], labels[:, 0], strict=True)]
    )
    assert got["agreement_glasses"] == pytest.approx(glasses)
    for index, name in ((1, "pose"), (2, "age")):
        expected = np.corrcoef(predictions[:, index], labels[:, index])[0, 1]
        assert got[f"correlation_{name}"] == pytest.approx(expected, rel=1e-9)
    assert got["agreement"] == pytest.approx(
        (got["agreement_glasses"] + got["agreement_beard"]) / 2
    )
    assert got["correlation"] == pytest.approx(
        (got["correlation_pose"] + got["correlation_age"]) / 2
    )


def test_labels_that_an_image_does_not_have_do_not_count():
    rng = torch.Generator().manual_seed(0)
    labels = torch.rand(30, 4, generator=rng).round(decimals=2)
    labels[:, [0, 3]] = labels[:, [0, 3]].round()
    predictions = torch.rand(30, 4, generator=rng)
    options = {"kinds": KINDS, "names": NAMES}
    expected = attribute_agreement(predictions[:20], labels[:20], **options)
    some = labels.clone()
    some[20:] = torch.nan
    assert attribute_agreement(predictions, some, **options) == pytest.approx(expected)
    spread = attribute_replicates(predictions, some, **options, seed=0)
    assert spread["correlation_pose"].isfinite().all()
    some[:, 0] = torch.nan
    found = attribute_agreement(predictions, some, **options)
    assert "agreement_glasses" not in found and found["agreement"] == found["agreement_beard"]


def test_a_correlation_with_a_constant_is_left_out():
    labels = torch.tensor([[0.3], [0.3], [0.3]])
    assert attribute_agreement(torch.rand(3, 1), labels, kinds=["continuous"], names=["pose"]) == {}


def test_errors_say_what_does_not_fit():
    with pytest.raises(DataError, match=r"\[3, 2\].*\[3, 1\]"):
        attribute_agreement(torch.zeros(3, 2), torch.zeros(3, 1), kinds=["binary"], names=["a"])
    with pytest.raises(DataError, match="'bool'"):
        attribute_agreement(torch.zeros(3, 1), torch.zeros(3, 1), kinds=["bool"], names=["a"])
