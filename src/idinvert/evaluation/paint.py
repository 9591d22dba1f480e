"""Task: paint a class into a region of an image, or remove it, by its units (GANPaint)."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from idinvert.annotations import (
    Count,
    Name,
    OnCorrupt,
    PathString,
    PositiveFloat,
    PositiveInt,
    Share,
    Weight,
)
from idinvert.data.convert import to_float, to_uint8
from idinvert.data.formats import stems_of
from idinvert.editing.masks import fit_mask, read_mask
from idinvert.editing.units import forced, only, region_of
from idinvert.errors import ConfigError
from idinvert.evaluation import pictures
from idinvert.evaluation.chunk_store import spans
from idinvert.evaluation.context import WITHOUT_ENCODER, EvaluationContext
from idinvert.evaluation.intervention import Search, causes_of, layer_of
from idinvert.evaluation.inversions import require_codes
from idinvert.evaluation.own_images import KnownCodes, invert_own, open_own
from idinvert.evaluation.provenance import device_in_words
from idinvert.evaluation.segmentation import named
from idinvert.evaluation.units import Seen, states, subject_of
from idinvert.metrics.protocol import MetricValues
from idinvert.results.record import Record
from idinvert.tracking.pictures import save_picture

MARK = (230, 30, 60)


def paint(
    context: EvaluationContext,
    *,
    object: Name | None = None,
    mask: PathString | None = None,
    action: Literal["add", "remove"] = "add",
    strength: Share = 1.0,
    sample: Count = 0,
    layer: PositiveInt | None = None,
    units: PositiveInt = 8,
    samples: PositiveInt = 128,
    steps: PositiveInt = 60,
    lr: PositiveFloat = 0.02,
    penalty: Weight = 0.005,
    out: PathString | None = None,
    on_corrupt: OnCorrupt = "skip",
    allow_upscale: bool = False,
    megapixels: PositiveFloat | None = None,
) -> list[Record]:
    """Set or zero the units that cause a class in the region of a mask, and run the rest of G.

    The units are those that `intervention` finds. Writes `<name>_{input,inverted,region,painted}`
    as PNG, `pictures.png` and `.pdf`, and `index.html`.

    Args:
        context: its seed determines the samples; with `images=`, its method inverts them.
        object: the class.
        mask: a square picture, white in the region to paint.
        action: "add" sets the units to their mean value within the class, "remove" to zero.
        strength: how far their values are moved, 0 to 1.
        sample: index of the sample of G that is painted, without `images=`.
        layer: counted from 1; None for the layer after a third of them.
        units: how many are set.
        samples, steps, lr, penalty: see `intervention.Search`.
        out, on_corrupt, allow_upscale, megapixels: see `invert.invert`.

    Raises:
        ConfigError: no mask, or one that is not square or entirely black; no such class, layer or
            unit; no segmenter; a method without codes.
        DataError: the mask or the pictures cannot be read.
    """
    begin = time.monotonic()
    own = context.config["images"] is not None
    if own:
        require_codes(context, task="paint")
    layer = layer_of(context.generator, layer)
    area = mask_of(mask, resolution=context.generator.resolution)
    prior = context.variant(WITHOUT_ENCODER, images=None).replaced(method="prior")
    subject, device = subject_of(prior, source="samples")
    found = None
    if own:
        context, known = open_own(context, out, on_corrupt, allow_upscale, megapixels)
        found = invert_own(context, known)
    else:
        context = prior
    if subject is None or (own and found is None):
        return []
    place = named(subject.classes, object, key="task.object", what="class")
    search = Search(samples, steps, lr, penalty)
    networks = {role: prior.checkpoints.get(role) for role in ("generator", "segmenter")}
    made = {"object": object, "layer": layer, **vars(search)}
    with prior.task_folder("units", seed=context.seed, **made, **networks) as kept:
        causes = causes_of(
            prior, subject, layer=layer, place=place, search=search, units=units, out=kept
        )
    chosen = causes.best(units)
    made |= {"action": action, "strength": strength, "units": chosen.tolist(), "sample": sample}
    marks = {"mask": area.flatten().nonzero().flatten().tolist(), **networks}
    folder = context.folder("paint", **made, **marks) if out is None else Path(out).expanduser()
    with context.locked(folder):
        if found is None:
            index, names = torch.tensor([sample]), [f"sample {sample}"]
            stems, seen = [f"sample_{sample}"], subject.look(index)
            inputs: list[Tensor | None] = [None]
        else:
            index, names = torch.arange(len(found)), found.names()
            noise = found.noise(index)
            given = found.plain_noise if noise is None else [one.to(device) for one in noise]
            images = found.images(index)
            read = _segmented(subject, images, device=device, size=context.batch_size)
            stems, seen = stems_of(names), Seen(found.codes.to(device), given, images, read)
            dataset: Any = context.dataset
            codes_only = isinstance(found, KnownCodes)
            inputs = [None if codes_only else dataset[i]["image"] for i in range(len(found))]
        parts = [_part(seen, *span) for span in spans(len(index), size=context.batch_size)]
        painted = torch.cat([
            _painted(subject, part, area, causes, chosen, action, strength, layer) for part in parts
        ])  # fmt: skip
        after = _segmented(subject, painted, device=device, size=context.batch_size)
        _write(folder, names, stems, inputs, seen.images, painted, area, title=f"{action} {object}")
        measured = _measured(seen, painted, after, area, place=place, seed=context.seed)
        record = context.record(
            "paint", measured, options={**made, "images": "own" if own else "sample"},
            seconds=time.monotonic() - begin, n=len(index), device=device_in_words(device),
        )  # fmt: skip
    records = context.finish([record], folder, pictures=False)
    print(f"look at {folder / 'index.html'} and {folder / 'pictures.png'}")
    return records


def mask_of(path: str | None, *, resolution: int) -> Tensor:
    """Return the region to paint, float [1, 1, R, R].

    Raises:
        ConfigError: there is no mask, or it is not square, or entirely black.
        DataError: it cannot be read.
    """
    if path is None:
        raise ConfigError(
            "task=paint needs a mask: task.mask=FILE, a square picture that is white where the "
            "image is painted."
        )
    found = read_mask(path, key="task.mask")
    height, width = found.shape[-2:]
    if height != width:
        raise ConfigError(
            f"task.mask={path} has {width} x {height} pixels, expected a square like the images, "
            f"such as {resolution} x {resolution}"
        )
    return fit_mask(found, resolution=resolution, key="task.mask")[None]


def _part(seen: Seen, first: int, last: int) -> Seen:
    """Return the images `first` to `last` - 1; a plain noise argument is that of all images."""
    noise: Any = seen.noise
    if isinstance(noise, list):
        noise = [one if len(one) == 1 else one[first:last] for one in noise]
    here = slice(first, last)
    return Seen(seen.codes[here], noise, seen.images[here], seen.masks[here])


def _segmented(subject: Any, images: Tensor, *, device: torch.device, size: int) -> Tensor:
    """Return the predicted masks of uint8 images, integers [m, R, R], on the CPU."""
    parts = [to_float(part.to(device)) for part in images.split(size)]
    return torch.cat([subject.segmenter.segment(part).cpu() for part in parts])


@torch.no_grad()
def _painted(
    subject: Any,
    seen: Seen,
    area: Tensor,
    causes: Any,
    chosen: Tensor,
    action: str,
    strength: float,
    layer: int,
) -> Tensor:
    ((_, state),) = states(subject.generator, seen, [layer])
    value = causes.value.to(state.features)
    state = forced(
        state,
        alpha=strength * only(chosen.to(value.device), len(value)),
        value=value if action == "add" else torch.zeros_like(value),
        region=region_of(area.to(value), state),
    )
    images = subject.generator.synthesis(seen.codes, noise=seen.noise, resume=state)
    return to_uint8(images.float(), finite="the generator").cpu()


def _write(
    folder: Path,
    names: Sequence[str],
    stems: Sequence[str],
    inputs: Sequence[Tensor | None],
    before: Tensor,
    after: Tensor,
    area: Tensor,
    *,
    title: str,
) -> None:
    """Write files, sheet and page."""
    edge = area[0, 0].bool()
    inner = torch.nn.functional.max_pool2d(1 - area, 3, stride=1, padding=1)[0, 0] < 0.5
    line = edge & ~inner
    entries, rows = list[pictures.Entry](), list[list[Tensor | None]]()
    for name, stem, image, one, painted in zip(names, stems, inputs, before, after, strict=True):
        region = one.clone()
        region[:, line] = torch.tensor(MARK, dtype=torch.uint8)[:, None]
        first = "sample" if image is None and len(names) == 1 else "inverted"
        made = {"input": image, first: one, "region": region, "painted": painted}
        files = []
        for what, picture in made.items():
            if picture is not None:
                file = folder / f"{stem}_{what}.png"
                save_picture(file, pictures.to_image(picture))
                files.append((what, file))
        entries.append(pictures.Entry(name, "", files))
        rows.append([picture for picture in made.values() if picture is not None])
    labels = [pictures.label_of(name) for name in names[:8]]
    headers = [(what.capitalize(), 1) for what, _ in entries[0].pictures]
    pictures.write_sheet(pictures.Sheet(rows=rows[:8], headers=headers, labels=labels), folder)
    pictures.write_contact_sheet(
        folder, entries, title=title, facts="before and after, with the region"
    )


def _measured(
    seen: Seen, painted: Tensor, after: Tensor, area: Tensor, *, place: int, seed: int
) -> MetricValues:
    """Measure the share of the class in the region before and after, and changes in and outside."""
    found, weight = MetricValues(), area[0]

    def inside(masks: Tensor) -> Tensor:
        return ((masks == place).float() * weight).sum((1, 2)) / weight.sum()

    text = "share of the region's pixels of the class, read by the segmenter, {}"
    found.add_mean("region_before", inside(seen.masks), seed=seed, text=text.format("before"))
    found.add_mean("region_after", inside(after), seed=seed, text=text.format("after"))
    error = (to_float(painted) - to_float(seen.images)).square().mean(1)  # [n, R, R]
    for name, mask in (("inside", weight), ("outside", 1 - weight)):
        values = (error * mask).sum((1, 2)) / mask.sum().clamp(min=1)
        words = f"mean squared change {name} the region, in [-1, 1]"
        found.add_mean(f"changed_{name}", values, seed=seed, text=words)
    return found
