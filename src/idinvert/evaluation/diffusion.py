"""Task: semantic diffusion of targets into contexts (Sec. 4.3, App. A1; Figs. 6, 16)."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from idinvert.annotations import Count, OnCorrupt, PathString, PositiveFloat, PositiveInt
from idinvert.config.identity import digest_of
from idinvert.data.domain import names_of
from idinvert.data.formats import stems_of
from idinvert.editing.diffusion import DiffusionInverter
from idinvert.editing.masks import paste
from idinvert.errors import ConfigError, DataError
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.inversions import Inversions, predict
from idinvert.evaluation.outputs import measure_sets, partners_of, require_set_metrics, write_csv
from idinvert.evaluation.own_edits import Edit, Row, pairs_of, write_edits
from idinvert.evaluation.own_images import open_own, own_folder
from idinvert.evaluation.pictures import Sheet, write_sheet
from idinvert.metrics.protocol import MetricValues
from idinvert.results.record import Record

PROTOCOL = (
    "n diffused images; target i in the context of its partner by a "
    "stored permutation (seed {seed}); the mask covers {share:.4f} of the image"
)
INSIDE = (
    "ours: mean squared error inside the mask against the target, in [-1, 1], not clamped, mean "
    "over images; {what}"
)


def diffuse(
    context: EvaluationContext,
    *,
    sizes: list[PositiveInt] | None = None,
    images: Sequence[Count] = (0, 1, 2, 3),
    shown: Count = 2,
    pairs: list[list[str]] | None = None,
    out: PathString | None = None,
    on_corrupt: OnCorrupt = "skip",
    allow_upscale: bool = False,
    megapixels: PositiveFloat | None = None,
) -> list[Record]:
    """Diffuse every image into the context of its partner, once for each size of the crop.

    Writes `pairs.csv`; `<k>/parts/` for size k; `pictures.png` and `.pdf` (as Fig. 6: targets
    down, contexts across, for the first size); and, for several sizes, `crop_size.png` and `.pdf`
    (as Fig. 16). There is one record per size: the set metrics, `mse_inside` (error of the pasted
    region against the target), `mse_inside_start` (the same for E's blend alone), `mask_share`.

    With `images=` the given pairs are diffused and not measured; see `write_edits`.

    Args:
        context: with a `DiffusionInverter`; the pairs are drawn from its seed.
        sizes: sides of the crop, pixels; None for the method's own crop or mask.
        images: indices in the split: targets and contexts of the first figure; empty for no figure.
        shown: pairs in the second figure.
        pairs: with `images=`: names of pictures, target and context; None for each with the next.
        out, on_corrupt, allow_upscale, megapixels: with `images=`; see `invert.invert`.

    Raises:
        ConfigError: another method, no metric of sets, or a mask that does not fit.
        DataError: fewer than two images, or no such image for the figure.
    """
    if not isinstance(context.inverter, DiffusionInverter):
        raise ConfigError(
            f"task=diffusion takes inversion=diffusion, not inversion={context.method}."
        )
    own = context.config["images"] is not None
    if own:
        context, known = open_own(context, out, on_corrupt, allow_upscale, megapixels)
        if known is not None:
            raise ConfigError(
                "task=diffusion pastes pictures, which a codes file does not hold: give images= "
                "the pictures themselves."
            )
    else:
        require_set_metrics(context, task="diffusion")
    contexts = [context]
    if sizes is not None:
        contexts = [context.replaced(inverter=context.build_inverter(size=s)) for s in sizes]
    if not contexts:
        raise ConfigError("task.sizes is empty: give one or more sizes, or null")
    for one in contexts:
        mask_of(one)  # refuses a mask that does not fit
    if own:
        places = pairs_of(stems_of(names_of(context.dataset)), pairs, cycle=True)
        return _diffuse_own(contexts, places, out=out, several=sizes is not None, shown=shown)
    partner, _ = partners_of(context)
    held: Any = context.dataset
    outside = [i for i in images if not 0 <= i < len(held)]
    if outside:
        raise DataError(
            f"task.images names image {outside[0]}, but split={context.split} of "
            f"{context.domain.name} has {len(held)}"
        )
    places = [(i, int(j)) for i, j in enumerate(partner)]
    crossed = [(i, j) for i in images for j in images]
    options = {"sizes": sizes, "seed": context.seed, "n": context.count}
    with context.task_folder("diffusion", **options) as folder:
        found = [_diffuse(one, places, out=folder / f"{k}") for k, one in enumerate(contexts)]
        if crossed:
            name = "crossed-" + "-".join(map(str, images))
            table = _diffuse(contexts[0], crossed, out=folder / name)
        done = [(one, made) for one, made in zip(contexts, found, strict=True) if made is not None]
        records = [_measure(one, made) for one, made in done]
        if records:
            columns: dict[str, Any] = {
                "index": range(len(places)),
                "target": range(len(places)),
                "context": partner,
            }
            write_csv(folder / "pairs.csv", columns)
            if crossed:
                write_sheet(_crossed(context, table, images), folder)
            if len(contexts) > 1:
                write_sheet(_sizes(done, places[:shown]), folder, name="crop_size")
        return context.finish(records, folder)


def _diffuse_own(
    contexts: Sequence[EvaluationContext],
    pairs: Sequence[tuple[int, int]],
    *,
    out: str | None,
    several: bool,
    shown: int,
) -> list[Record]:
    """Diffuse pairs of own pictures, target and context, at every size."""
    begin, context, found = time.monotonic(), contexts[0], []
    for one in contexts:
        at = own_folder(one)
        with one.locked(at):
            found.append(_diffuse(one, pairs, out=at / f"pairs-{digest_of(pairs)[:8]}"))
    if found[0] is None:
        return []
    names, images = names_of(context.dataset), context.dataset
    stems = stems_of(names)

    def rows() -> Iterator[Row]:
        for k, (a, b) in enumerate(pairs):
            edits, place = [], torch.tensor([k])
            for one, made in zip(contexts, found, strict=True):
                assert made is not None, "all are of the first rank"
                side = f"{round(mask_of(one).sum().item() ** 0.5)}px"
                edits.append(
                    Edit(
                        stem=f"{stems[a]}_in_{stems[b]}" + (f"_{side}" if several else ""),
                        caption=f"diffused, {side}" if several else "diffused",
                        code=made.codes[k],
                        noise=made.noise(place),
                        picture=made.images(place)[0],
                    )
                )
            inputs = [
                (f"{stems[i]}_input", what, images[i]["image"])
                for i, what in ((a, "target"), (b, "context"))
            ]
            yield Row(names=[names[a], names[b]], joint="in", before=inputs, edits=edits)

    return write_edits(
        context, found[0], rows(), task="diffusion", out=out, shown=max(shown, 4), begin=begin,
        headers=[("Target", 1), ("Context", 1), ("Diffused", len(contexts))],
        options={"pairs": list(pairs), "sizes": [mask_of(o).sum().item() for o in contexts]},
        measured=MetricValues(),
    )  # fmt: skip


def mask_of(context: EvaluationContext) -> Tensor:
    """Return the mask of a context's method, [1, R, R], 1 where the target is."""
    inverter: Any = context.inverter
    return inverter.mask_for(context.generator.resolution)


def _diffuse(
    context: EvaluationContext, pairs: Sequence[tuple[int, int]], *, out: Path
) -> Inversions | None:
    """Invert the pasted images of the pairs."""
    return predict(
        context,
        dataset=PastedDataset(context.dataset, pairs=pairs, mask=mask_of(context)),
        out=out,
        identity={**context.identity, "diffusion": {"pairs": digest_of(pairs)[:16]}},
        paired=False,
        keep_start=True,
        recompute=context.recompute,
        label="diffusion",
    )


def _measure(context: EvaluationContext, found: Inversions) -> Record:
    begin = time.monotonic()
    inverter: Any = context.inverter
    seed, share = context.seed, mask_of(context).mean().item()
    failed = float(found.gather("failed").sum())
    images = (part.images for part in found.parts())
    measured = measure_sets(
        images, context, chunks=found.chunks, device=found.device, failed=failed
    ).with_detail(PROTOCOL.format(seed=seed, share=share))
    pixel = found.gather("term.pixel", dim=1).double()  # [steps + 1, n]
    if inverter.average == "image":
        pixel = pixel / share
    kept = pixel.gather(0, found.gather("best_step")[None])[0]
    start = INSIDE.format(what="of E's blend, where the method starts")
    of_results = INSIDE.format(what="of the results")
    measured.add_mean("mse_inside", kept, seed=seed, text=of_results)
    measured.add_mean("mse_inside_start", pixel[0], seed=seed, text=start)
    measured.add("mask_share", share, "share of the image that the mask covers")
    measured.add("failed_images", failed, "images whose objective left the finite numbers")
    return context.record("diffusion", measured, options={"seed": seed}, **found.work(begin))


def _results(found: Inversions | None) -> Tensor:
    assert found is not None, "only the first rank draws"
    return torch.cat([part.images for part in found.parts()])


def _crossed(context: EvaluationContext, found: Inversions | None, images: Sequence[int]) -> Sheet:
    """Lay out Fig. 6: contexts in the first row, targets in the first column."""
    inputs = [context.dataset[i]["image"] for i in images]
    rows: list[list[Tensor | None]] = [[None, *inputs]]
    for target, row in zip(inputs, _results(found).split(len(images)), strict=True):
        rows.append([target, *row])
    return Sheet(rows=rows, headers=[("Target", 1), ("Context", len(images))])


def _sizes(
    done: Sequence[tuple[EvaluationContext, Inversions]], pairs: Sequence[tuple[int, int]]
) -> Sheet:
    """Lay out Fig. 16: context and copy-paste above target and diffusion, a column per size."""
    images, rows = done[0][0].dataset, list[list[Tensor]]()
    columns = [
        (PastedDataset(images, pairs=pairs, mask=mask_of(one)), _results(found))
        for one, found in done
    ]
    for k, (target, context) in enumerate(pairs):
        rows.append([images[context]["image"], *(pasted[k]["image"] for pasted, _ in columns)])
        rows.append([images[target]["image"], *(results[k] for _, results in columns)])
    sides = [f"{round(mask_of(one).sum().item() ** 0.5)} px" for one, _ in done]
    headers = [("Context, target", 1), *((side, 1) for side in sides)]
    groups = [(f"pair {k + 1}", 2) for k in range(len(pairs))]
    return Sheet(rows=rows, headers=headers, groups=groups)


class PastedDataset(Dataset[dict[str, Any]]):
    """The masked region of a target pasted into the context of another image (Sec. 4.3).

    Args:
        images: items with `image` uint8 [3, R, R] and `name`.
        pairs: indices (target, context).
        mask: [1, R, R], 1 where the target is.
    """

    def __init__(self, images: Dataset, *, pairs: Sequence[tuple[int, int]], mask: Tensor) -> None:
        self.images, self.pairs, self.mask = images, list(pairs), mask

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def names(self) -> list[str]:
        """The names "<target> in <context>", in the order of the pairs."""
        names = names_of(self.images)
        return [f"{names[target]} in {names[context]}" for target, context in self.pairs]

    def __getitem__(self, k: int) -> dict[str, Any]:
        """Return pair k: `image` uint8 [3, R, R], `id` (k), `name` "<target> in <context>"."""
        target, context = (self.images[i] for i in self.pairs[k])
        image = paste(target["image"][None], context["image"][None], self.mask)[0]
        return {"image": image, "id": k, "name": f"{target['name']} in {context['name']}"}
