"""Task: targets diffused into contexts, and the crop's size (Sec. 4.3, App. A1; Figs. 6, 16)."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from idinvert.config.identity import digest_of
from idinvert.data.domain import names_of
from idinvert.editing.diffusion import DiffusionInverter
from idinvert.editing.masks import paste
from idinvert.errors import ConfigError, DataError
from idinvert.evaluation.outputs import require_set_metrics
from idinvert.evaluation.pairs import write_pairs
from idinvert.evaluation.predict import Predictions, predict
from idinvert.evaluation.reference import measure_sets
from idinvert.evaluation.sheet import Sheet, write_sheet
from idinvert.evaluation.subject import Subject
from idinvert.results.record import Record

PROTOCOL = (
    "n diffused images; target i in the context of its partner by a "
    "stored permutation (seed {seed}); the mask covers {share:.4f} of the image"
)
INSIDE = (
    "ours: mean squared error inside the mask against the target, in [-1, 1], not clamped, mean "
    "over images; {what}"
)


def diffusion(
    subject: Subject,
    *,
    inverters: Sequence[DiffusionInverter],
    out: Path,
    seed: int = 0,
    images: Sequence[int] = (0, 1, 2, 3),
    shown: int = 2,
    recompute: bool = False,
) -> list[Record]:
    """Diffuse every image into the context of its partner, once for each inverter.

    Writes `pairs.csv`; `<k>/parts/` for inverter k (a killed task goes on from there);
    `pictures.png` and `.pdf` (as Fig. 6: targets down, contexts across, by the first inverter);
    and, of several inverters, `crop_size.png` and `.pdf` (as Fig. 16).

    Args:
        subject: images, metrics and G; its method is not used.
        inverters: of one crop size each, or of any masks.
        out: folder of this task.
        seed: of the pairs.
        images: places in the split: targets and contexts of the first picture; none for no picture.
        shown: pairs in the second picture.
        recompute: forget what is there.

    Returns:
        On the first rank a record an inverter, none on the others: the set metrics, `mse_inside`
        (how far the pasted part is from the target), `mse_inside_start` (the same of E's blend
        alone), `mask_share`.

    Raises:
        ConfigError: no metric of sets is asked for, or a mask that does not fit.
        DataError: fewer than two images, fewer than n, or no such image for the picture.
    """
    require_set_metrics(subject.measures, task="diffusion")
    if not inverters:
        raise ConfigError("task.sizes is empty: give one or more sizes, or null")
    partner = subject.partners(seed=seed)
    held: Any = subject.dataset
    outside = [i for i in images if not 0 <= i < len(held)]
    if outside:
        raise DataError(
            f"task.images names image {outside[0]}, but split={subject.split} of "
            f"{subject.domain.name} has {len(held)}"
        )
    pairs = [(i, int(j)) for i, j in enumerate(partner)]
    found = []
    for k, inverter in enumerate(inverters):
        one = _diffuse(subject, inverter, pairs, out=out / f"{k}", recompute=recompute)
        found.append(one)
    crossed = [(i, j) for i in images for j in images]
    if crossed:
        name = "crossed-" + "-".join(map(str, images))
        table = _diffuse(subject, inverters[0], crossed, out=out / name, recompute=recompute)
    records = []
    for inverter, one in zip(inverters, found, strict=True):
        if one is not None:
            records.append(_measure(subject, inverter, one, seed=seed))
    if records:
        columns: dict[str, Any] = {
            "index": range(len(pairs)),
            "target": range(len(pairs)),
            "context": partner,
        }
        write_pairs(out / "pairs.csv", columns)
        if crossed:
            write_sheet(_crossed(subject, table, images), out)
        if len(inverters) > 1:
            sheet = _sizes(subject, inverters, found, pairs[:shown])
            write_sheet(sheet, out, name="crop_size")
    return records


def _diffuse(
    subject: Subject,
    inverter: DiffusionInverter,
    pairs: Sequence[tuple[int, int]],
    *,
    out: Path,
    recompute: bool,
) -> Predictions | None:
    """Invert the pasted images of the pairs."""
    mask = inverter.mask_for(subject.generator.resolution)
    identity = replace(subject, inverter=inverter).identity
    return predict(
        inverter=inverter,
        generator=subject.generator,
        dataset=PastedDataset(subject.dataset, pairs=pairs, mask=mask),
        out=out,
        identity={**identity, "diffusion": {"pairs": digest_of(pairs)[:16]}},
        batch_size=subject.batch_size,
        keep_start=True,
        trainer=subject.trainer,
        num_workers=subject.num_workers,
        recompute=recompute,
        label="diffusion",
    )


def _measure(
    subject: Subject, inverter: DiffusionInverter, found: Predictions, *, seed: int
) -> Record:
    begin = time.monotonic()
    share = inverter.mask_for(subject.generator.resolution).mean().item()
    figures = measure_sets(
        (part.images for part in found.parts()),
        chunks=found.chunks,
        device=found.device,
        **subject.reals,
    ).with_detail(PROTOCOL.format(seed=seed, share=share))
    pixel = found.gather("term.pixel", dim=1).double()  # [steps + 1, n]
    if inverter.average == "image":
        pixel = pixel / share
    kept = pixel.gather(0, found.gather("best_step")[None])[0]
    start = INSIDE.format(what="of E's blend, where the method starts")
    of_results = INSIDE.format(what="of the results")
    figures.add_mean("mse_inside", kept, seed=subject.measures.seed, text=of_results)
    figures.add_mean("mse_inside_start", pixel[0], seed=subject.measures.seed, text=start)
    figures.add("mask_share", share, "share of the image that the mask covers")
    failed = float(found.gather("failed").sum())
    figures.add("failed_images", failed, "images whose objective left the finite numbers")
    return replace(subject, inverter=inverter, name="diffusion").record(
        "diffusion",
        n=len(found),
        device=found.made_on,
        options={"seed": seed},
        figures=figures,
        seconds=found.seconds() + time.monotonic() - begin,
    )


def _crossed(subject: Subject, found: Predictions | None, images: Sequence[int]) -> Sheet:
    """Fig. 6: contexts in the first row, targets in the first column."""
    assert found is not None, "only the first rank draws"
    results = torch.cat([part.images for part in found.parts()])
    inputs, few = [subject.dataset[i]["image"] for i in images], len(images)
    rows: list[list[Tensor | None]] = [[None, *inputs]]
    rows += [[inputs[i], *results[i * few : (i + 1) * few]] for i in range(few)]
    return Sheet(rows=rows, headers=[("Target", 1), ("Context", few)])


def _sizes(
    subject: Subject,
    inverters: Sequence[DiffusionInverter],
    found: Sequence[Predictions | None],
    pairs: Sequence[tuple[int, int]],
) -> Sheet:
    """Fig. 16: context and copy-paste above, target and diffusion below, a column a size."""
    rows: list[list[Any]] = []
    for k, (target, context) in enumerate(pairs):
        above, below = [subject.dataset[context]["image"]], [subject.dataset[target]["image"]]
        for inverter, one in zip(inverters, found, strict=True):
            assert one is not None, "only the first rank draws"
            mask = inverter.mask_for(subject.generator.resolution)
            above.append(
                PastedDataset(subject.dataset, pairs=[(target, context)], mask=mask)[0]["image"]
            )
            below.append(torch.cat([part.images for part in one.parts()])[k])
        rows += [above, below]
    words: Mapping[int, str] = {
        k: f"{round(inverter.mask_for(subject.generator.resolution).sum().item() ** 0.5)} px"
        for k, inverter in enumerate(inverters)
    }
    headers = [("Context, target", 1), *((words[k], 1) for k in range(len(inverters)))]
    groups = [(f"pair {k + 1}", 2) for k in range(len(pairs))]
    return Sheet(rows=rows, headers=headers, groups=groups)


class PastedDataset(Dataset[dict[str, Any]]):
    """The part of a target that a mask shows, in the context of another image (Sec. 4.3).

    Args:
        images: items with `image` uint8 [3, R, R] and `name`.
        pairs: places (target, context).
        mask: [1, R, R], 1 where the target is.
    """

    def __init__(self, images: Dataset, *, pairs: Sequence[tuple[int, int]], mask: Tensor) -> None:
        self.images, self.pairs, self.mask = images, list(pairs), mask

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def names(self) -> list[str]:
        """ "<target> in <context>", in the order of the pairs."""
        names = names_of(self.images)
        return [f"{names[target]} in {names[context]}" for target, context in self.pairs]

    def __getitem__(self, k: int) -> dict[str, Any]:
        """Pair k: `image` uint8 [3, R, R], `id` (its place), `name` "<target> in <context>"."""
        target, context = (self.images[i] for i in self.pairs[k])
        image = paste(target["image"][None], context["image"][None], self.mask)[0]
        return {"image": image, "id": k, "name": f"{target['name']} in {context['name']}"}
