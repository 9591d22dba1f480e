"""Task: GAN dissection: which units of G's layers follow which class, colour or edge."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import interpolate, pad

from idinvert.annotations import Count, PositiveInt, Share
from idinvert.data.progress import Progress
from idinvert.durable import write, written_whole
from idinvert.errors import DataError
from idinvert.evaluation import chunk_store
from idinvert.evaluation.context import WITHOUT_ENCODER, EvaluationContext
from idinvert.evaluation.pictures import DPI, Entry, to_image, write_contact_sheet
from idinvert.evaluation.provenance import device_in_words
from idinvert.evaluation.units import KINDS, Subject, checked_layers, states, subject_of
from idinvert.metrics.dissection import (
    SHARES,
    information_quality,
    overlaps,
    thresholds,
    unit_iou,
)
from idinvert.metrics.protocol import RESAMPLES, WORDS, MetricValues, counts_of, interval, resampled
from idinvert.results.record import Record

LEAST = {"quantile": 0.05, "iqr": 0.01}
"""Smallest score at which a unit follows a concept, as published (Bau et al. 2019)."""
POSITIONS = 2**15  # how many of a unit's activations determine its thresholds
TILES, THUMBNAIL = 3, 64  # top images per side of a unit's picture; their largest side in pixels
INK = {"object": "#3b6fb6", "colour": "#d9822b", "edge": "#6a9f58"}


def dissect(
    context: EvaluationContext,
    *,
    source: Literal["samples", "inverted"] = "samples",
    layers: list[PositiveInt] | None = None,
    threshold: Literal["quantile", "iqr"] = "iqr",
    least: Annotated[float, Share] | None = None,
    shown: Count = 32,
) -> list[Record]:
    """Score every unit of every layer against every class, colour and edge.

    Thresholds are chosen on the first half of the images, scores are measured on the second.
    Writes `dissect.json` (every unit), `layers.png` and `.pdf` (what units follow, by layer) and
    `index.html` (the best units of each layer with their top images).

    Args:
        context: for samples, its seed determines codes and noise; otherwise its method inverts.
        source: samples of G with the segmenter's masks, or inverted real images with exact masks.
        layers: counted from 1, in G's order; None for all.
        threshold: a unit is active in its top 0.5 % ("quantile"), or above the level with the
            highest information quality for a concept ("iqr").
        least: smallest score at which a unit follows a concept; None for the published 0.05 (IoU,
            for "quantile") or 0.01 (for "iqr").
        shown: units per layer on the page.

    Raises:
        ConfigError: no such layer, no segmenter, or images without masks.
        DataError: fewer than two images.
    """
    begin = time.monotonic()
    if source == "samples":
        context = context.variant(WITHOUT_ENCODER).replaced(method="prior")
    asked = checked_layers(context.generator, layers)
    count = context.n if source == "samples" and context.n else context.count
    if count < 2:
        raise DataError(f"got n={count}, expected 2 or more images; change n")
    subject, device = subject_of(context, source=source)
    if subject is None:
        return []
    least = LEAST[threshold] if least is None else least
    made: dict[str, Any] = {"source": source, "layers": asked, "seed": context.seed}
    networks = {role: context.checkpoints.get(role) for role in ("generator", "segmenter")}
    with context.task_folder("dissection", n=count, **made, **networks) as folder:
        half = count // 2
        size = context.batch_size
        chunks = [*chunk_store.spans(half, size=size), *(
            (half + a, half + b) for a, b in chunk_store.spans(count - half, size=size)
        )]  # fmt: skip
        identity = {"networks": networks, "dissection": made, "n": count}
        identity |= {} if source == "samples" else {"inversions": context.identity}
        paths = _counted(
            subject, asked, chunks, half=half, folder=folder / "parts", identity=identity,
            device=device, recompute=context.recompute,
        )  # fmt: skip
        table = {k: _scored(paths, k, half=half, threshold=threshold) for k in asked}
        units = _described(subject, table, least=least, threshold=threshold)
        facts = {**made, "n": count, "threshold": threshold, "least": least}
        out = folder / threshold
        write(out / "dissect.json", json.dumps({**facts, "units": units}, indent=1))
        _draw(units, asked, out)
        _write_page(context, subject, units, asked, out, shown=shown, chunks=chunks)
        measured, series = _summary(
            units, asked, threshold=threshold, least=least, seed=context.seed
        )
        record = context.record(
            "dissection",
            measured,
            n=count,
            device=device_in_words(device),
            seconds=time.monotonic() - begin,
            options={**made, "threshold": threshold, "least": least},
            series=series,
        )
        if source == "samples":
            choices = {key: value for key, value in record.choices.items() if key != "inversion"}
            record = replace(record, choices=choices)
        records = context.finish([record], out)
        print(f"look at {out / 'index.html'}")
        return records


@torch.no_grad()
def _counted(
    subject: Subject,
    layers: Sequence[int],
    chunks: Sequence[chunk_store.Span],
    *,
    half: int,
    folder: Path,
    identity: dict[str, Any],
    device: torch.device,
    recompute: bool,
) -> list[Path]:
    """Write the thresholds of all units and the overlaps of each chunk; reuse existing files."""
    for path in folder.glob("*part-*" if recompute else ".part-*"):
        path.unlink()
    total = chunks[-1][1]
    places: dict[str, Any] = {"names": [], "identity": identity, "device": device_in_words(device)}
    at = folder / "part-levels.safetensors"
    with Progress("thresholds of units", half) as line:
        if not chunk_store.has_part(at, identity=identity, needs=set()):
            begin, values = time.monotonic(), dict[int, list[Tensor]]()
            for first, last in [span for span in chunks if span[1] <= half]:
                seen = subject.look(torch.arange(first, last))
                for k, state in states(subject.generator, seen, layers):
                    flat = state.features.flatten(2)  # [m, U, h w]
                    some = min(flat.shape[2], max(1, POSITIONS // half))
                    where = torch.linspace(0, flat.shape[2] - 1, some).round().long().to(device)
                    values.setdefault(k, []).append(flat[:, :, where].transpose(0, 1).flatten(1))
                line.update(last)
            found = {f"levels.{k}": thresholds(torch.cat(v, 1).float()) for k, v in values.items()}
            chunk_store.write_part(at, found, seconds=time.monotonic() - begin, **places)
    levels = {k: chunk_store.read_tensor(at, f"levels.{k}") for k in layers}
    paths = [chunk_store.part_path(folder, *chunk) for chunk in chunks]
    with Progress("dissecting", total) as line:
        for (first, last), path in zip(chunks, paths, strict=True):
            if not chunk_store.has_part(path, identity=identity, needs={"there"}):
                begin, seen = time.monotonic(), subject.look(torch.arange(first, last))
                concepts = subject.shown(seen).to(device)
                found = {"there": concepts.sum((0, 2, 3)).double()}
                found["pixels"] = torch.tensor([concepts[:, 0].numel()], dtype=torch.float64)
                for k, state in states(subject.generator, seen, layers):
                    both, active = overlaps(state.features, levels[k].to(device), concepts)
                    found |= {f"both.{k}": both, f"active.{k}": active}
                    found[f"peak.{k}"] = state.features.float().amax((2, 3))
                chunk_store.write_part(path, found, seconds=time.monotonic() - begin, **places)
            line.update(last)
    return paths


def _scored(paths: Sequence[Path], layer: int, *, half: int, threshold: str) -> dict[str, Tensor]:
    """Score a layer's units: thresholds from the first half of the images, scores on the second."""
    names = (f"both.{layer}", f"active.{layer}", "there", "pixels")
    sums: list[list[Tensor]] = []
    firsts = [int(path.stem.split("-")[1]) for path in paths]
    for side in (False, True):
        some = [path for path, first in zip(paths, firsts, strict=True) if (first >= half) is side]
        sums.append([sum(chunk_store.read_tensor(path, name) for path in some) for name in names])  # type: ignore[misc]
    chosen = torch.zeros(sums[0][0].shape[1:], dtype=torch.int64)  # [U, K]
    if threshold == "iqr":
        both, active, there, pixels = sums[0]
        chosen = information_quality(both, active, there, pixels=int(pixels)).argmax(0)
    both, active, there, pixels = sums[1]
    scores = {
        "iou": unit_iou(both, active, there),
        "iqr": information_quality(both, active, there, pixels=int(pixels)),
    }
    at = {name: each.gather(0, chosen[None])[0] for name, each in scores.items()}  # [U, K]
    peaks = torch.cat([chunk_store.read_tensor(path, f"peak.{layer}") for path in paths])  # [n, U]
    levels = chunk_store.read_tensor(
        paths[0].with_name("part-levels.safetensors"), f"levels.{layer}"
    )
    return {**at, "area": there / pixels, "chosen": chosen, "peaks": peaks, "levels": levels}


def _described(
    subject: Subject, table: dict[int, dict[str, Tensor]], *, least: float, threshold: str
) -> list[dict[str, Any]]:
    """Describe every unit with the concept that it follows best, JSON-able."""
    found = []
    for layer, scores in table.items():
        score = scores["iqr" if threshold == "iqr" else "iou"]
        best = score.argmax(1)
        tops = scores["peaks"].topk(min(TILES**2, len(scores["peaks"])), dim=0).indices.T
        for unit, (k, top) in enumerate(zip(best.tolist(), tops.tolist(), strict=True)):
            place = int(scores["chosen"][unit, k])
            follows = score[unit, k].item() >= least
            found.append(
                {
                    "layer": layer,
                    "unit": unit,
                    "concept": subject.concepts[k],
                    "kind": subject.kind(k),
                    "follows": follows,
                    "iou": scores["iou"][unit, k].item(),
                    "iqr": scores["iqr"][unit, k].item(),
                    "area": scores["area"][k].item(),
                    "share": SHARES[place],
                    "level": scores["levels"][place, unit].item(),
                    "top": top,
                }
            )
    return found


def _summary(
    units: Sequence[dict[str, Any]],
    layers: Sequence[int],
    *,
    threshold: str,
    least: float,
    seed: int,
) -> tuple[MetricValues, dict[str, list[float]]]:
    """Return shares of units by layer, and differences between early and late layers."""
    found, words = MetricValues(), f"{'IoU' if threshold == 'quantile' else 'iqr'} >= {least:g}"
    series: dict[str, list[float]] = {"layer": [float(k) for k in layers]}
    middle = (len(layers) + 1) // 2
    halves = layers[:middle], layers[middle:]

    def shares(kind: str | None, some: Sequence[int], *, follows: bool = False) -> Tensor:
        here = [u for u in units if u["layer"] in some and (u["follows"] or not follows)]
        of_kind = [u["follows"] and kind in (None, u["kind"]) for u in here]
        return torch.tensor(of_kind, dtype=torch.float64)

    def differ(name: str, sets: Sequence[Tensor], text: str) -> None:
        if not all(map(len, sets)):
            return
        spread = [
            counts_of(resampled(len(x), seed=seed, name=half)) @ x / len(x)
            for half, x in zip(("early", "late"), sets, strict=True)
        ]
        value = (sets[0].mean() - sets[1].mean()).item()
        text += f"; mean over layers {halves[0][0]} to {halves[0][-1]} less that over "
        text += f"{halves[1][0]} to {halves[1][-1]}; {WORDS.format(resamples=RESAMPLES)}"
        pair = interval(value, spread[0] - spread[1])
        found.add(f"{name}_early_less_late", value, text.replace("images", "units"), pair)

    found.add_mean("follows", shares(None, layers), seed=seed, text=f"share of units with {words}")
    for kind in KINDS:
        series[kind] = [shares(kind, [k]).mean().item() for k in layers]
        text = f"share of units that follow one {kind} best, {words}"
        found.add_mean(kind, shares(kind, layers), seed=seed, text=text)
        sets = [shares(kind, half, follows=True) for half in halves]
        differ(kind, sets, f"share of {kind} among the units that follow something, {words}")
    of_objects = [u for u in units if u["follows"] and u["kind"] == KINDS[0]]
    areas = [[u["area"] for u in of_objects if u["layer"] in half] for half in halves]
    text = f"share of the image's pixels of the class that a unit follows, {words}"
    differ("area", [torch.tensor(some, dtype=torch.float64) for some in areas], text)
    concepts = [{u["concept"] for u in units if u["layer"] == k and u["follows"]} for k in layers]
    series["concepts"] = [float(len(some)) for some in concepts]
    text = f"different concepts that some unit follows, {words}"
    found.add("concepts", float(len(set().union(*concepts))), text)
    return found, series


def _draw(units: Sequence[dict[str, Any]], layers: Sequence[int], out: Path) -> None:
    """Draw what the units of each layer follow."""
    figure = Figure(figsize=(6.4, 3.6), dpi=DPI)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    bottom = [0.0] * len(layers)
    for kind in KINDS:
        heights = []
        for k in layers:
            here = [u for u in units if u["layer"] == k]
            heights.append(100 * sum(u["follows"] and u["kind"] == kind for u in here) / len(here))
        axes.bar(range(len(layers)), heights, bottom=bottom, color=INK[kind], label=kind)
        bottom = [a + b for a, b in zip(bottom, heights, strict=True)]
    axes.set_xticks(range(len(layers)), [str(k) for k in layers])
    axes.set(xlabel="layer of G", ylabel="units that follow it, %", ylim=(0, 100))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=len(KINDS), loc="upper center", bbox_to_anchor=(0.5, 1.15))
    figure.tight_layout()
    for kind, unset in (("png", "Software"), ("pdf", "CreationDate")):
        with written_whole(out / f"layers.{kind}") as whole:
            figure.savefig(whole, format=kind, metadata={unset: None})


@torch.no_grad()
def _write_page(
    context: EvaluationContext,
    subject: Subject,
    units: Sequence[dict[str, Any]],
    layers: Sequence[int],
    out: Path,
    *,
    shown: int,
    chunks: Sequence[chunk_store.Span],
) -> None:
    """Write the best units of each layer with their top images, dimmed where a unit is inactive."""
    best = {
        k: sorted((u for u in units if u["layer"] == k), key=lambda u: (-u["follows"], -u["iqr"]))[
            :shown
        ]
        for k in layers
    }
    tiles: dict[tuple[int, int], dict[int, Tensor]] = {}
    for first, last in chunks:
        wanted = sorted({i for k in layers for u in best[k] for i in u["top"] if first <= i < last})
        if not wanted:
            continue
        seen = subject.look(torch.tensor(wanted))
        for k, state in states(subject.generator, seen, layers):
            for u in best[k]:
                for i in set(u["top"]) & set(wanted):
                    row = wanted.index(i)
                    maps = state.features[row : row + 1, u["unit"] : u["unit"] + 1].float()
                    image = seen.images[row]
                    on = interpolate(maps, size=image.shape[-2:], mode="bilinear")[0] > u["level"]
                    tile = torch.where(on.cpu(), image, (image * 0.3).to(torch.uint8))
                    if tile.shape[-1] > THUMBNAIL:
                        tile = interpolate(tile[None].float(), size=THUMBNAIL, mode="area")[
                            0
                        ].byte()
                    tiles.setdefault((k, u["unit"]), {})[i] = tile
    entries = []
    for k in layers:
        pictures = []
        for u in best[k]:
            path = out / "units" / f"layer{k}_unit{u['unit']}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            found = [pad(tiles[k, u["unit"]][i], (0, 1, 0, 1), value=255) for i in u["top"]]
            found += [torch.full_like(found[0], 255)] * (TILES**2 - len(found))
            rows = [torch.cat(found[a : a + TILES], 2) for a in range(0, TILES**2, TILES)]
            with written_whole(path) as whole:
                to_image(torch.cat(rows, 1)).save(whole, format="png")
            words = f"{u['concept']}, IoU {u['iou']:.2f}" if u["follows"] else "nothing"
            pictures.append((f"unit {u['unit']}: {words}", path))
        here = [u for u in units if u["layer"] == k]
        follow = sum(u["follows"] for u in here)
        side = context.generator.noise_shapes[k - 1][0]
        facts = f"{side} x {side}; {follow} of {len(here)} units follow something"
        entries.append(Entry(name=f"layer {k}", facts=facts, pictures=pictures))
    words = "top images of each unit, dimmed where it is not active; best units first"
    write_contact_sheet(out, entries, title=f"Dissection of {context.domain.name}", facts=words)
