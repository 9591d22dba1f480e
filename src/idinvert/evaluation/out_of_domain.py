"""Task: invert images of another domain with a run's networks (Sec. 7, Fig. 15)."""

import time
from typing import Any

import torch

from idinvert.annotations import Count
from idinvert.data.domain import Domain, prepare
from idinvert.evaluation import networks as wire
from idinvert.evaluation.chunk_store import limit, split_of
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.inversions import Inversions, invert_images
from idinvert.evaluation.outputs import measure_sets, require_set_metrics
from idinvert.evaluation.pictures import Sheet, write_sheet
from idinvert.metrics.protocol import MetricValues
from idinvert.results.record import Record

OWN = (
    "ours: {name} of the reconstructions to as many images of the domain that the networks were "
    "trained on ({domain}): small where they stay in the domain; {text}"
)


def invert_foreign(
    context: EvaluationContext,
    *,
    methods: list[dict[str, Any]],
    own: str | None = None,
    shown: Count = 3,
) -> list[Record]:
    """Invert images of another domain with several methods, and show them side by side.

    An in-domain method turns cats into faces; other methods reconstruct the cats from features of
    faces. Writes `pictures.png` and `pictures.pdf` (as Fig. 15). There is one record per method:
    the paired metrics, and `own_<metric>` for the metrics of sets if `own` is given.

    Args:
        context: its ``data`` are inverted, whatever the run was trained on.
        methods: entries with the methods' overrides.
        own: overrides that choose the data on which the networks were trained. With them, the
            distance of the reconstructions to that domain is measured, too (not in the paper,
            which only shows images).
        shown: rows of the picture.

    Raises:
        ConfigError: no methods, `own` without a metric of sets, or images of another resolution
            than the generator's.
        DataError: fewer than n images in `own`.
    """
    context.entries.check_methods(methods, key="task.methods")
    domain, home = context.open_images(), None
    if own is not None:
        entry = {"label": "own", "words": own}
        context.entries.check_methods([entry], key="task.own")
        home = context.variant(entry).open_images()
    contexts = []
    for method in methods:
        one = context.variant(method, data=context.config["data"])
        wire.require_resolution(data=domain.resolution, generator=one.generator.resolution)
        contexts.append(one.replaced(domain=domain))
        if home is not None:
            wire.require_resolution(data=home.resolution, generator=one.generator.resolution)
            require_set_metrics(contexts[-1], task="out_of_domain with task.own")
            reals = split_of(home, one.split)
            limit(reals, contexts[-1].count)
            prepare(reals, range(min(2 * contexts[-1].count, len(reals))))  # type: ignore[arg-type]
    labels = [method["label"] for method in methods]
    options = {
        "methods": [[label, one.identity] for label, one in zip(labels, contexts, strict=True)],
        "n": context.n,
        "own": home and home.fingerprint,
    }
    out = contexts[0].folder("out_of_domain", **options)
    with context.locked(out, *(one.inversions.parent for one in contexts)):
        inverted = [invert_images(one) for one in contexts]
        done = [(one, made) for one, made in zip(contexts, inverted, strict=True) if made]
        records = [_measure(one, found, own=home) for one, found in done]
        if records and shown:
            columns = [found.images(torch.arange(min(shown, len(found)))) for _, found in done]
            inputs = [contexts[0].dataset[i]["image"] for i in range(len(columns[0]))]
            rows = [list(row) for row in zip(inputs, *columns, strict=True)]
            headers = [("Target", 1), *((label, 1) for label in labels)]
            write_sheet(Sheet(rows=rows, headers=headers), out)
        return context.finish(records, out)


def _measure(context: EvaluationContext, found: Inversions, *, own: Domain | None) -> Record:
    begin = time.monotonic()
    measured = MetricValues()
    for name in context.paired_names:
        measured.add_mean(name, found.gather(f"value.{name}"), seed=context.seed)
    if own is not None:
        # The real images are those of the networks' own domain.
        there = context.replaced(domain=own, dataset=split_of(own, context.split))
        images = (part.images for part in found.parts())
        failed = float(found.gather("failed").sum())
        place: dict[str, Any] = {"chunks": found.chunks, "device": found.device}
        to_own = measure_sets(images, there, **place, failed=failed)
        texts = {
            name: OWN.format(name=name, domain=own.name, text=text)
            for name, text in to_own.protocol.items()
        }
        measured = measured | to_own.renamed("own_", texts)
    options = {"trained_on": context.provenance.get("data"), "own": own.name if own else None}
    return context.record("out_of_domain", measured, options=options, **found.work(begin))
