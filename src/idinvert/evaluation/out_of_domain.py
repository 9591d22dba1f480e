"""Task: images of another domain through a run's networks (Sec. 7, Fig. 15)."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from idinvert.data.domain import Domain
from idinvert.errors import ConfigError
from idinvert.evaluation.chunk_store import limit
from idinvert.evaluation.inverted import Inverted, invert_subject
from idinvert.evaluation.outputs import require_set_metrics
from idinvert.evaluation.reference import measure_sets
from idinvert.evaluation.sheet import Sheet, write_sheet
from idinvert.evaluation.subject import Subject
from idinvert.metrics.figures import Figures
from idinvert.results.record import Record

OWN = (
    "ours: {name} of the reconstructions to as many images of the domain that the networks were "
    "trained on ({domain}): small where they stay in the domain; {text}"
)


@dataclass(frozen=True)
class Entrant:
    """A method that is tried on the foreign images.

    Attributes:
        label: in the picture.
        subject: the method on those images.
        trained_on: name of the data set that its networks were trained on, where it is known.
    """

    label: str
    subject: Subject
    trained_on: str | None


def out_of_domain(
    entrants: Sequence[Entrant], *, out: Path, own: Domain | None = None, shown: int = 3
) -> list[Record]:
    """Invert images of another domain by several methods, and show them side by side.

    A method that stays in its domain makes faces of cats; one that does not paints cats with what
    it learnt of faces. Writes `pictures.png` and `pictures.pdf` (as Fig. 15).

    Args:
        entrants: the methods, all on the same images.
        out: folder of this task.
        own: the domain that the networks were trained on. With it, how far the reconstructions are
            from that domain is measured too (ours: the paper looks at pictures).
        shown: rows of the picture.

    Returns:
        On the first rank a record a method, none on the others: the paired metrics, and
        `own_<metric>` for the metrics of sets where `own` is given.

    Raises:
        ConfigError: no methods, or `own` without a metric of sets.
        DataError: fewer than n images, here or in `own`.
    """
    if not entrants:
        raise ConfigError("task.methods is empty: expected one entry or more")
    for entrant in entrants:
        if own is not None:
            require_set_metrics(entrant.subject.measures, task="out_of_domain with task.own")
            limit(getattr(own, entrant.subject.split), entrant.subject.count)
    inverted = [invert_subject(entrant.subject) for entrant in entrants]
    records = []
    columns: list[list[Tensor]] = []
    for entrant, found in zip(entrants, inverted, strict=True):
        if found is None:
            continue
        records.append(_measure(entrant, found, own=own))
        if shown:
            columns.append(list(found.images(torch.arange(min(shown, len(found))))))
    if records and shown:
        dataset = entrants[0].subject.dataset
        inputs = [dataset[i]["image"] for i in range(len(columns[0]))]
        rows = [list(row) for row in zip(inputs, *columns, strict=True)]
        headers = [("Target", 1), *((entrant.label, 1) for entrant in entrants)]
        write_sheet(Sheet(rows=rows, headers=headers), out)
    return records


def _measure(entrant: Entrant, inverted: Inverted, *, own: Domain | None) -> Record:
    begin = time.monotonic()
    subject, found = entrant.subject, inverted.found
    figures = Figures()
    for name in subject.measures.paired_names:
        figures.add_mean(name, found.gather(f"value.{name}"), seed=subject.measures.seed)
    if own is not None:
        to_own = measure_sets(
            (part.images for part in found.parts()),
            chunks=found.chunks,
            device=found.device,
            **replace(subject, domain=own).reals,  # the real images are its own domain's
        )
        texts = {
            name: OWN.format(name=name, domain=own.name, text=word)
            for name, word in to_own.protocol.items()
        }
        figures = figures | to_own.renamed("own_", texts)
    options = {"trained_on": entrant.trained_on, "own": own.name if own else None}
    return subject.record(
        "out_of_domain",
        n=len(inverted),
        device=found.made_on,
        options=options,
        figures=figures,
        seconds=found.seconds() + time.monotonic() - begin,
    )
