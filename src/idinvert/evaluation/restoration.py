"""Task: restore images from observations: grey, small, with a hole, or randomly projected."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor

from idinvert.annotations import Count, OnCorrupt, PathString, PositiveFloat
from idinvert.data.convert import to_float, to_uint8
from idinvert.data.domain import names_of
from idinvert.data.folder import open_without_results
from idinvert.data.formats import stems_of
from idinvert.data.scan import scan
from idinvert.editing.diffusion import DiffusionInverter
from idinvert.editing.restoration import Damage, Plain, SuperResolution
from idinvert.errors import ConfigError
from idinvert.evaluation.attributes import measure_attributes
from idinvert.evaluation.chunk_store import Chunks, Span
from idinvert.evaluation.context import ALWAYS, EvaluationContext
from idinvert.evaluation.default_metrics import ATTRIBUTES
from idinvert.evaluation.inversions import Inversions, make_trainer, predict
from idinvert.evaluation.outputs import images_of, loader, make_outputs
from idinvert.evaluation.own_edits import Edit, Row, write_edits
from idinvert.evaluation.own_images import open_own
from idinvert.evaluation.pictures import Sheet, write_sheet
from idinvert.evaluation.provenance import device_in_words
from idinvert.evaluation.reconstruction import write_per_image
from idinvert.inversion.observation import Observation, Restoring
from idinvert.metrics.paired import mse, psnr, ssim
from idinvert.metrics.protocol import MetricValues
from idinvert.results.record import Record

KEPT = "with what is known put in, x + lifted(y - phi(x)); {text}"
ORIGINAL = "read from the originals themselves; {text}"
OBSERVED = "ours: mean squared difference of phi(restored) and phi(original), uint8 images"
MEANS = (*ALWAYS, "agreement", "correlation")
Images = Callable[[], Iterator[Tensor]]
"""Each call returns an iterator over chunks of outputs, uint8 [m, 3, R, R]."""


def restore(
    context: EvaluationContext,
    *,
    observe: Damage | None = None,
    methods: Sequence[dict[str, Any]] = (),
    shown: Count = 6,
    out: PathString | None = None,
    on_corrupt: OnCorrupt = "skip",
    allow_upscale: bool = False,
    megapixels: PositiveFloat | None = None,
) -> list[Record]:
    """Restore images from observations of them, with one method or several.

    There is one record per method and one per restoration without a generator, under its name. It
    has the paired metrics of G's image, and of that image with the observed part replaced by the
    observation (`kept_…`: the luma for colourisation, the pixels around a hole); attributes read
    from both, if requested; and the distance of the result to the observation. Writes
    `pictures.png` and `.pdf` (rows observed, restored, original), `kept.png` and `.pdf`, and
    `per_image.csv` beside the parts.

    With `images=` the pictures are the observations: low-resolution pictures, grey pictures (of
    colour pictures, the luma is used), or pictures with a hole. The originals are unknown, so only
    the distance to the observation is measured; see `write_edits` for the files.

    Args:
        context: its method is used if there are no `methods`.
        observe: the observation.
        methods: entries with the methods' overrides.
        shown: images in the picture.
        out, on_corrupt, allow_upscale, megapixels: with `images=`; see `invert.invert`.

    Raises:
        ConfigError: no observation, or one that does not fit; a method that cannot restore.
        DataError: no images.

    Source: Gu et al. 2020 (arXiv 1912.07116), Sec. 3.2; with the loss of Eq. (4).
    """
    if observe is None:
        raise ConfigError(
            "task=restoration needs observe=colourisation, compressive, inpainting or "
            "super_resolution."
        )
    labels, contexts, own = [context.method], [context], context.config["images"] is not None
    if methods and own:
        raise ConfigError(
            "task.methods compares methods on data=, and images= takes one: leave task.methods out "
            "and give inversion=NAME."
        )
    if methods:
        context.entries.check_methods(methods, key="task.methods")
        labels = [str(method["label"]) for method in methods]
        contexts = [context.variant(method) for method in methods]
    for one in contexts:
        _check_method(one)
    if not own:
        return _restore_set(contexts, labels, observe, shown=shown)
    reading: dict[str, Any] = {"on_corrupt": on_corrupt, "allow_upscale": allow_upscale}
    reading["megapixels"] = megapixels
    context, observe = _open_observed(context, observe, out, reading)
    return _restore_own(context, observe, shown=shown, out=out)


def _check_method(context: EvaluationContext) -> None:
    """Refuse a method that can only compare whole images.

    Raises:
        ConfigError: names methods that can restore.
    """
    inverter: Any = context.inverter
    if not hasattr(inverter, "restore") or isinstance(inverter, DiffusionInverter):
        raise ConfigError(
            f"inversion={context.method} compares whole images, and task=restoration has what is "
            "observed of them alone: give inversion=in_domain, encoder, image2stylegan, free "
            "or multi_code."
        )


def _options(observe: Damage) -> dict[str, Any]:
    return {"observe": observe.name, **observe.settings}


def _folder(context: EvaluationContext, observe: Damage) -> Path:
    """Return the folder of a method's restorations, shared by all comparisons."""
    return context.folder("restoration", **_options(observe))


def _predict(
    context: EvaluationContext, observe: Damage, phi: Observation, *, label: str
) -> Inversions | None:
    """Restore a context's images with its method."""
    return predict(
        context.replaced(inverter=Restoring(context.inverter, phi)),
        out=_folder(context, observe),
        identity={**context.identity, "restoration": _options(observe)},
        recompute=context.recompute,
        label=label,
    )


def _compared(phi: Observation, outputs: Tensor, originals: Tensor) -> tuple[Tensor, Tensor]:
    """Return outputs with the observed part replaced, uint8, and their observation error, [m]."""
    x, g = to_float(originals), to_float(outputs)
    phi = phi.like(x)
    y = phi.seen(x)
    return to_uint8(phi.kept(g, y)), (phi.seen(g) - y).square().flatten(1).mean(1)


def _restore_set(
    contexts: Sequence[EvaluationContext], labels: Sequence[str], observe: Damage, *, shown: int
) -> list[Record]:
    """Restore images of a data set, whose originals are known, and measure the results."""
    context = contexts[0]
    resolution = context.domain.resolution
    phi = observe.observation(resolution, [(resolution, resolution)])
    compared = [[label, one.identity] for label, one in zip(labels, contexts, strict=True)]
    options = {**_options(observe), "n": context.n, "methods": compared}
    folder = context.folder("restoration", **options)
    with context.locked(folder, *(_folder(one, observe) for one in contexts)):
        by_method = list(zip(labels, contexts, strict=True))
        tried = [(_predict(one, observe, phi, label=label), one) for label, one in by_method]
        done = [(found, one) for found, one in tried if found is not None]
        if not done:
            return []
        chunks, names = done[0][0].chunks, [*labels, *observe.plain]
        records = [_measure(one, found, observe, phi) for found, one in done]
        restored: list[Images] = [partial(_images, found) for found, _ in done]
        for name, plain in observe.plain.items():
            record, images = _measure_plain(context, name, plain, observe, phi, chunks)
            records.append(record)
            restored.append(images)
        if shown:
            originals = Chunks(context.dataset, [(0, min(shown, context.count))])[0]["image"]
            rows = [_first(images(), len(originals)) for images in restored]
            first = ("observed", phi.like(x := to_float(originals)).lifted(phi.like(x).seen(x)))
            kept = [_compared(phi, row, originals)[0] for row in rows]
            for name, several in (("pictures", rows), ("kept", kept)):
                lines = [first, *zip(names, several, strict=True), ("original", originals)]
                words = [label.replace("_", " ") for label, _ in lines]
                sheet = Sheet(rows=[list(row) for _, row in lines], labels=words)
                write_sheet(sheet, folder, name=name)
        context.finish(records, folder)
        shown_metrics = ("psnr", "ssim", "kept_psnr", "kept_ssim")
        print(f"  {observe.name:24s}" + "".join(f"{name:>11s}" for name in shown_metrics))
        for name, record in zip(names, records, strict=True):
            values = [record.metrics[key] for key in shown_metrics if key in record.metrics]
            print(f"  {name:24s}" + "".join(f"{value:11.4g}" for value in values))
        return records


def _images(found: Inversions) -> Iterator[Tensor]:
    return (part.images for part in found.parts())


def _first(chunks: Iterator[Tensor], count: int) -> Tensor:
    """Return the first images of chunks."""
    found: list[Tensor] = []
    while len(found) < count:
        found += next(chunks)
    return torch.stack(found[:count])


def _measure(
    context: EvaluationContext, found: Inversions, observe: Damage, phi: Observation
) -> Record:
    """Return the record of a method."""
    begin = time.monotonic()
    place: dict[str, Any] = {"chunks": found.chunks, "device": found.device}

    def compared() -> Iterator[tuple[Tensor, Tensor]]:
        batches = loader(context.dataset, found.chunks, context.num_workers)
        pairs = zip(_images(found), batches, strict=True)
        return (_compared(phi, outputs, batch["image"]) for outputs, batch in pairs)

    def originals() -> Iterator[Tensor]:
        batches = loader(context.dataset, found.chunks, context.num_workers)
        return (batch["image"] for batch in batches)

    measured = MetricValues()
    values = {metric: found.gather(f"value.{metric}") for metric in context.paired_names}
    for metric, column in values.items():
        measured.add_mean(metric, column, seed=context.seed)
    measured = measured | _measured(context, partial(_images, found), paired=False, **place)
    kept = _measured(context, lambda: (images for images, _ in compared()), **place)
    measured = measured | _means(kept, "kept_", KEPT)
    measured = measured | _means(
        _measured(context, originals, paired=False, **place), "original_", ORIGINAL
    )
    values["observed_mse"] = torch.cat([distances for _, distances in compared()])
    measured.add_mean("observed_mse", values["observed_mse"], seed=context.seed, text=OBSERVED)
    failed = int(found.gather("failed").sum())
    measured.add("failed_images", failed, "images whose objective left the finite numbers")
    write_per_image(_folder(context, observe) / "per_image.csv", found, values=values)
    options = _options(observe)
    return context.record("restoration", measured, options=options, **found.work(begin))


def _means(found: MetricValues, prefix: str, text: str) -> MetricValues:
    """Return the metrics in `MEANS` under a prefix."""
    words = {k: text.format(text=said) for k, said in found.protocol.items() if k in MEANS}
    metrics = {name: found.metrics[name] for name in words}
    intervals = {name: pair for name, pair in found.intervals.items() if name in words}
    return replace(found, metrics=metrics, intervals=intervals).renamed(prefix, words)


def _measure_plain(
    context: EvaluationContext,
    name: str,
    plain: Plain,
    observe: Damage,
    phi: Observation,
    chunks: list[Span],
) -> tuple[Record, Images]:
    """Return the record of a restoration without a generator, and its images."""
    begin, options = time.monotonic(), _options(observe)
    device = make_trainer(context.trainer, out=context.run_folder, alone=True).strategy.root_device

    def make(index: Tensor) -> Tensor:
        batch = Chunks(context.dataset, [(int(index[0]), int(index[-1]) + 1)])[0]
        x = to_float(batch["image"]).to(device)
        here = phi.like(x)
        return to_uint8(plain(here, here.seen(x))).cpu()

    paths = make_outputs(
        make,
        chunks=chunks,
        folder=_folder(context, observe) / name,
        identity={"data": context.data, "restoration": options, "by": name},
        label=name,
        device=device,
        recompute=context.recompute,
    )
    images = partial(images_of, paths)
    measured = _measured(context, images, chunks=chunks, device=device)
    by: Any = SimpleNamespace(settings={"method": name})
    work: dict[str, Any] = {"n": context.count, "device": device_in_words(device)}
    context = context.replaced(inverter=by, method=name)
    seconds = time.monotonic() - begin
    return context.record("restoration", measured, options=options, seconds=seconds, **work), images


def _measured(
    context: EvaluationContext,
    images: Images,
    *,
    chunks: list[Span],
    device: torch.device,
    paired: bool = True,
) -> MetricValues:
    """Measure outputs: MSE, PSNR and SSIM, and attributes if requested.

    Args:
        context: its data set has the originals.
        images: the outputs.
        chunks: the spans of both.
        device: where attributes are predicted.
        paired: whether to measure MSE, PSNR and SSIM.
    """
    found = MetricValues()

    def pairs() -> Iterator[tuple[Tensor, dict[str, Any]]]:
        return zip(images(), loader(context.dataset, chunks, context.num_workers), strict=True)

    for name, metric in {"mse": mse, "psnr": psnr, "ssim": ssim}.items() if paired else ():
        values = [metric(to_float(outputs), to_float(batch["image"])) for outputs, batch in pairs()]
        found.add_mean(name, torch.cat(values), seed=context.seed)
    found = found.with_detail("uint8 outputs")
    if ATTRIBUTES not in context.metric_names:
        return found
    return found | measure_attributes(
        ((outputs, batch["attributes"]) for outputs, batch in pairs()),
        network=context.attributes,
        labels=context.labels,
        device=device,
        seed=context.seed,
    )


def _open_observed(
    context: EvaluationContext, observe: Damage, out: str | None, reading: Any
) -> tuple[EvaluationContext, Damage]:
    """Open own pictures as images of G's size that have the given observation.

    Raises:
        ConfigError: pictures that cannot be such observations, or a codes file.
        DataError: there are no images.
    """
    enlarged = 1
    if isinstance(observe, SuperResolution):
        without = [context.outputs, *([] if out is None else [Path(out).expanduser()])]
        given = Path(context.config["images"]).expanduser()
        found = scan(open_without_results(given, without, key="images"), cache_dir=None)
        sizes = {name: (one.width, one.height) for name, one in found.items() if one.width}
        observe = observe.of_pictures(sizes, context.generator.resolution)
        enlarged = observe.settings["factor"]
    context, known = open_own(context, out, enlarged=enlarged, **reading)
    if known is not None:
        raise ConfigError(
            "task=restoration takes pictures, which a codes file does not hold: give images= the "
            "pictures themselves."
        )
    return context, observe


def _restore_own(
    context: EvaluationContext, observe: Damage, *, shown: int, out: str | None
) -> list[Record]:
    """Restore own pictures, which are themselves the observations."""
    begin, images = time.monotonic(), cast(Any, context.dataset)
    sizes = scan(images.source, cache_dir=None, names=images.names).values()
    phi = observe.observation(context.generator.resolution, [(f.width, f.height) for f in sizes])
    with context.locked(_folder(context, observe)):
        found = _predict(context, observe, phi, label=context.method)
    if found is None:
        return []
    (plain_name, plain), *_ = observe.plain.items()
    names = names_of(images)
    stems, pixels = stems_of(names), Chunks(images, found.chunks)
    batches = zip(found.parts(), (pixels[k]["image"] for k in range(len(pixels))), strict=True)
    compared = [_compared(phi, part.images, x) for part, x in batches]
    kept = torch.cat([of_part for of_part, _ in compared])

    def rows() -> Iterator[Row]:
        for k, stem in enumerate(stems):
            x, place = to_float(images[k]["image"])[None], torch.tensor([k])
            here = phi.like(x)
            y = here.seen(x)
            known: dict[str, Any] = {"code": found.codes[k], "noise": found.noise(place)}
            known |= {"picture": found.images(place)[0], "stem": f"{stem}_restored"}
            yield Row(
                names=[names[k]],
                before=[
                    (f"{stem}_observed", "observed", to_uint8(here.lifted(y))[0]),
                    (f"{stem}_{plain_name}", plain_name, to_uint8(plain(here, y))[0]),
                ],
                edits=[Edit(caption="restored", **known)],
                after=[(f"{stem}_restored_kept", "restored, observed kept", kept[k])],
            )

    measured, columns = MetricValues(), ("Observed", plain_name, "Restored", "Observed kept")
    distances = torch.cat([of_part for _, of_part in compared])
    measured.add_mean("observed_mse", distances, seed=context.seed, text=OBSERVED)
    return write_edits(
        context, found, rows(), task="restoration", out=out, shown=shown, begin=begin,
        headers=[(column.replace("_", " "), 1) for column in columns], measured=measured,
        options=_options(observe),
    )  # fmt: skip
