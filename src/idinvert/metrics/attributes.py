"""Agreement between the attributes of an output and the labels of its input."""

from collections.abc import Sequence

import torch
from torch import Tensor

from idinvert.errors import DataError
from idinvert.metrics.protocol import counts_of, resampled


def attribute_agreement(
    predictions: Tensor, labels: Tensor, *, kinds: Sequence[str], names: Sequence[str]
) -> dict[str, float]:
    """Return the accuracy of binary attributes and the Pearson correlation of continuous ones.

    Args:
        predictions: float `[N, A]` on the labels' scale (probability in [0, 1], or value): an
            attribute network's `predict` for the outputs.
        labels: float `[N, A]`: 0 or 1 for binary attributes, values for continuous ones; NaN for a
            missing label, which is ignored.
        kinds: `binary` or `continuous` for each attribute.
        names: name of each attribute.

    Returns:
        `agreement_<name>` (fraction in [0, 1]) for each binary attribute and `correlation_<name>`
        (in [-1, 1]) for each continuous one; `agreement` and `correlation`, their means. A
        correlation with a constant is undefined and is left out.

    Raises:
        DataError: the shapes, kinds and names do not match.
    """
    expected = (len(labels), len(names))
    if (
        predictions.shape != expected
        or labels.shape != expected
        or len(kinds) != len(names)
        or len(labels) < 1
    ):
        raise DataError(
            f"attribute_agreement: predictions {list(predictions.shape)}, labels "
            f"{list(labels.shape)}, "
            f"{len(kinds)} kinds and {len(names)} names do not fit together"
        )
    unknown = sorted(set(kinds) - {"binary", "continuous"})
    if unknown:
        raise DataError(
            f"attribute_agreement: unknown kind {unknown[0]!r}; expected binary or continuous"
        )
    ones = torch.ones(1, len(labels), dtype=torch.float64)
    found = _weighted(predictions, labels, ones, kinds=kinds, names=names)
    return {name: values.item() for name, values in found.items()}


def attribute_replicates(
    predictions: Tensor, labels: Tensor, *, kinds: Sequence[str], names: Sequence[str], seed: int
) -> dict[str, Tensor]:
    """Return the values of `attribute_agreement` for resampled images, float64 `[B]` each."""
    counts = counts_of(resampled(len(labels), seed=seed, name="images"))
    return _weighted(predictions, labels, counts, kinds=kinds, names=names)


def _weighted(
    predictions: Tensor,
    labels: Tensor,
    counts: Tensor,
    *,
    kinds: Sequence[str],
    names: Sequence[str],
) -> dict[str, Tensor]:
    """Return the values [B] with each image counted `counts` [B, N] times."""
    results: dict[str, Tensor] = {}
    for index, (kind, name) in enumerate(zip(kinds, names, strict=True)):
        known = ~labels[:, index].isnan()
        prediction, label = predictions[known, index].double(), labels[known, index].double()
        mine = counts[:, known]
        if not len(label):
            continue
        if kind == "binary":
            agree = ((prediction > 0.5) == (label > 0.5)).double()
            results[f"agreement_{name}"] = mine @ agree / mine.sum(dim=1)
        elif (values := _correlation(prediction, label, mine)) is not None:
            results[f"correlation_{name}"] = values
    for kind in ("agreement", "correlation"):
        rows = [values for name, values in results.items() if name.startswith(f"{kind}_")]
        if rows:
            results[kind] = torch.stack(rows).mean(dim=0)
    return results


def _correlation(a: Tensor, b: Tensor, counts: Tensor) -> Tensor | None:
    """Return the weighted Pearson correlation [B] of two vectors `[N]`; None if one is constant."""
    a, b = a - a.mean(), b - b.mean()
    if torch.sqrt(a.square().sum() * b.square().sum()) <= 1e-12:
        return None
    total = counts.sum(dim=1)

    def covariance(u: Tensor, v: Tensor) -> Tensor:
        return counts @ (u * v) / total - (counts @ u) * (counts @ v) / total**2

    return (covariance(a, b) / torch.sqrt(covariance(a, a) * covariance(b, b))).clamp(-1, 1)
