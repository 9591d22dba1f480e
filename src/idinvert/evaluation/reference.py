"""Sets of outputs against real images: which images, and that none is compared with its copy."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from idinvert.data.convert import to_float
from idinvert.evaluation.chunk_store import Chunks, Span, spans
from idinvert.evaluation.measures import Measures
from idinvert.metrics.figures import Figures


def compared(n: int, *, there: int, reference: str) -> tuple[int, Span | None]:
    """How many outputs are compared, and the other real images.

    Output i is made of image i, or of images among the first n. The other images are those behind
    the ones whose outputs are compared, as many as these. Where more than half of the split is
    inverted, the outputs of its first half are compared with the images of its second.

    Args:
        n: outputs.
        there: images in the split.
        reference: `disjoint` or `same`, see `MetricSuite`.

    Returns:
        Outputs to compare; the span of the other images, None where there are not as many.
    """
    m = min(n, there // 2) if reference == "disjoint" else n
    return m, (m, 2 * m) if 0 < 2 * m <= there else None


def measure_sets(
    outputs: Iterable[Tensor],
    *,
    dataset: Dataset,
    chunks: list[Span],
    measures: Measures,
    device: torch.device,
    num_workers: int = 0,
) -> Figures:
    """The set metrics of n outputs against real images.

    Args:
        outputs: chunks of uint8 images, in the order of `chunks`.
        dataset: the split.
        chunks: spans of the real images with the outputs' places.
        measures: what to measure, and against which real images.
        device: where to compute.
        num_workers: processes that read images.

    Raises:
        DataError: the split has fewer than two images.
    """
    suite = measures.set_suite(device)
    there = len(dataset)  # type: ignore[arg-type]
    n = sum(last - first for first, last in chunks)
    m, others = compared(n, there=there, reference=measures.reference)
    for images, batch in zip(outputs, _loaded(dataset, chunks, num_workers), strict=True):
        suite.update(to_float(images), to_float(batch["image"]))
    if others is not None:
        begin, size = others[0], max(last - first for first, last in chunks)
        behind = [(begin + first, begin + last) for first, last in spans(m, size=size)]
        for batch in _loaded(dataset, behind, num_workers):
            suite.refer(batch["image"])
    return suite.figures()


def _loaded(dataset: Dataset, chunks: list[Span], num_workers: int) -> DataLoader:
    return DataLoader(Chunks(dataset, chunks), batch_size=None, num_workers=num_workers)
