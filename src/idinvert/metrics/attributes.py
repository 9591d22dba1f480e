"""Do the attributes of an output agree with the labels of its input?"""

from collections.abc import Sequence

import torch
from torch import Tensor

from idinvert.errors import DataError


def attribute_agreement(
    predictions: Tensor, labels: Tensor, *, kinds: Sequence[str], names: Sequence[str]
) -> dict[str, float]:
    """Accuracy of the binary attributes, Pearson correlation of the continuous ones.

    Args:
        predictions: float `[N, A]` on the labels' scale (probability in [0, 1], or value); an
            attribute network's `predict` of the outputs.
        labels: float `[N, A]`: 0 or 1 for binary attributes, values for continuous ones.
        kinds: `binary` or `continuous`, one an attribute.
        names: one an attribute.

    Returns:
        `agreement_<name>` (share in [0, 1]) for each binary attribute and `correlation_<name>` (in
        [-1, 1]) for each continuous one; `agreement` and `correlation`, their means. A correlation
        with a constant is not defined and is left out.

    Raises:
        DataError: shapes, kinds and names do not fit together.
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
    results: dict[str, float] = {}
    for index, (kind, name) in enumerate(zip(kinds, names, strict=True)):
        prediction, label = predictions[:, index].double(), labels[:, index].double()
        if kind == "binary":
            results[f"agreement_{name}"] = (
                ((prediction > 0.5) == (label > 0.5)).double().mean().item()
            )
        elif (value := _correlation(prediction, label)) is not None:
            results[f"correlation_{name}"] = value
    for kind in ("agreement", "correlation"):
        values = [value for name, value in results.items() if name.startswith(f"{kind}_")]
        if values:
            results[kind] = sum(values) / len(values)
    return results


def _correlation(a: Tensor, b: Tensor) -> float | None:
    """Pearson correlation of two vectors `[N]`; None if one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    norms = torch.sqrt(a.square().sum() * b.square().sum())
    return None if norms <= 1e-12 else ((a * b).sum() / norms).clamp(-1, 1).item()
