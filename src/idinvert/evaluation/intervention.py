"""Task: find the units that cause a class (ACE), and compare them with random units."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from idinvert.annotations import Count, Name, PositiveFloat, PositiveInt, Weight
from idinvert.data.convert import to_float, to_uint8
from idinvert.data.progress import Progress
from idinvert.editing.units import causal_units, class_share, forced, only, region_of
from idinvert.errors import ConfigError
from idinvert.evaluation.chunk_store import has_part, read_tensor, spans, write_part
from idinvert.evaluation.context import WITHOUT_ENCODER, EvaluationContext
from idinvert.evaluation.outputs import write_csv
from idinvert.evaluation.pictures import Sheet, write_sheet
from idinvert.evaluation.provenance import device_in_words
from idinvert.evaluation.segmentation import named
from idinvert.evaluation.units import Seen, Subject, checked_layers, states, subject_of
from idinvert.inversion.initialization import image_rng
from idinvert.metrics.dissection import information_quality, overlaps, thresholds, unit_iou
from idinvert.metrics.protocol import MetricValues
from idinvert.networks.generator import SynthesisState
from idinvert.results.record import Record

SQUARE = 4
"""A region is a square with 1 / SQUARE of the image's side."""
SETS = 8
"""Number of random sets of units for comparison."""


@dataclass(frozen=True)
class Causes:
    """The causal effect of a layer's units on one class.

    Attributes:
        alpha: how much each unit causes the class (ACE), [U] in [0, 1].
        pull: by how much each unit lowered the objective; it orders units of equal α, [U].
        value: mean activation where the class is, [U].
        iou: IoU of each unit with the class, [U].
    """

    alpha: Tensor
    pull: Tensor
    value: Tensor
    iou: Tensor

    def best(self, count: int) -> Tensor:
        """The units that cause the class most, int64 [count]."""
        order = self.pull.argsort(descending=True, stable=True)
        return order[self.alpha[order].argsort(descending=True, stable=True)][:count]

    def followers(self, count: int) -> Tensor:
        """The units that agree with the class most, int64 [count]."""
        return self.iou.topk(count).indices


@dataclass(frozen=True)
class Search:
    """The settings of the search that ranks units.

    Attributes:
        samples: number of samples of G.
        steps: steps of Adam, on one batch each.
        lr: learning rate of Adam.
        penalty: λ on ‖α‖₂.
    """

    samples: int = 128
    steps: int = 60
    lr: float = 0.02
    penalty: float = 0.005


def intervene(
    context: EvaluationContext,
    *,
    object: Name | None = None,
    layer: PositiveInt | None = None,
    units: PositiveInt = 8,
    samples: PositiveInt = 128,
    steps: PositiveInt = 60,
    lr: PositiveFloat = 0.02,
    penalty: Weight = 0.005,
    shown: Count = 6,
) -> list[Record]:
    """Rank the units of a layer by how much they cause a class, and ablate and insert the best.

    On samples outside the search, it measures how much of the class remains when the units are
    ablated, and how much appears in a region where they are set to their mean value within the
    class; also for as many units with the largest IoU, and for random units. Writes `units.csv`,
    `pictures.png` and `.pdf`.

    Args:
        context: its seed determines samples and regions; n samples are measured.
        object: the class.
        layer: counted from 1; None for the layer after a third of them.
        units: how many are ablated and inserted.
        samples, steps, lr, penalty: see `Search`.
        shown: rows of the picture.

    Raises:
        ConfigError: no such class, layer or unit; no segmenter; or no sample shows the class.
    """
    begin = time.monotonic()
    context = context.variant(WITHOUT_ENCODER).replaced(method="prior")
    layer = layer_of(context.generator, layer)
    subject, device = subject_of(context, source="samples")
    if subject is None:
        return []
    place = named(subject.classes, object, key="task.object", what="class")
    search = Search(samples, steps, lr, penalty)
    count = context.n or context.count
    made = {"object": object, "layer": layer, "units": units, **vars(search), "n": count}
    networks = {role: context.checkpoints.get(role) for role in ("generator", "segmenter")}
    with context.task_folder("intervention", seed=context.seed, **made, **networks) as out:
        causes = causes_of(
            context, subject, layer=layer, place=place, search=search, units=units, out=out
        )
        order = causes.best(len(causes.alpha))
        columns = {name: values[order] for name, values in vars(causes).items()}
        write_csv(out / "units.csv", {"unit": order, **columns})
        rows, table = list[list[Tensor]](), dict[str, list[Tensor]]()
        with Progress("intervening", count) as line:
            for first, last in spans(count, size=context.batch_size):
                index = torch.arange(first, last) + samples
                for name, values, images in _effects(
                    subject, subject.look(index), causes, layer=layer, place=place, units=units,
                    index=index, seed=context.seed,
                ):  # fmt: skip
                    table.setdefault(name, []).append(values.cpu())
                    while len(rows) < min(last, shown):
                        rows.append([])
                    for k in range(first, min(last, shown) if images is not None else first):
                        rows[k].append(images[k - first])  # type: ignore[index]
                line.update(last)
        if rows:
            words = ("Sample", f"{object} removed", "IoU's units", "random units",
                     f"{object} inserted")  # fmt: skip
            write_sheet(Sheet(rows=rows, headers=[(word, 1) for word in words]), out)
        measured = _measured({name: torch.cat(v) for name, v in table.items()}, seed=context.seed)
        found = {**made, "best": causes.best(units).tolist()}
        record = context.record(
            "intervention", measured, n=count, device=device_in_words(device),
            seconds=time.monotonic() - begin, options={**found, "seed": context.seed},
        )  # fmt: skip
        choices = {key: value for key, value in record.choices.items() if key != "inversion"}
        return context.finish([replace(record, choices=choices)], out)


def layer_of(generator: Any, layer: int | None) -> int:
    """Return a layer after which G can resume, counted from 1; by default after a third of them.

    Raises:
        ConfigError: there is no such layer; the error lists those that exist.
    """
    after = int(len(generator.noise_shapes) == generator.num_layers)  # the last makes the image
    there = checked_layers(generator, None, last=after, key="task.layer")
    if layer is None:
        return there[(len(there) - 1) // 3]
    return checked_layers(generator, [layer], last=after, key="task.layer")[0]


@torch.no_grad()
def causes_of(
    context: EvaluationContext,
    subject: Subject,
    *,
    layer: int,
    place: int,
    search: Search,
    units: int,
    out: Path,
) -> Causes:
    """Find the causes of a class among the units of a layer; stored in `out`.

    Raises:
        ConfigError: no sample shows the class, or the layer has fewer units than `units`.
    """
    path = out / "causes.safetensors"
    networks = {role: context.checkpoints.get(role) for role in ("generator", "segmenter")}
    identity = {**networks, **vars(search), "layer": layer, "place": place, "seed": context.seed}
    names = ("alpha", "pull", "value", "iou")
    if not context.recompute and has_part(path, identity=identity, needs=set(names)):
        found = Causes(*(read_tensor(path, name) for name in names))
        _require_units(len(found.alpha), units, layer=layer)
        return found
    path.unlink(missing_ok=True)
    begin, size = time.monotonic(), min(context.batch_size, search.samples)
    seen = [subject.look(torch.arange(*span)) for span in spans(search.samples, size=size)]
    name = subject.classes[place]
    if not any((one.masks == place).any() for one in seen):
        raise ConfigError(
            f"task.object={name}: none of {search.samples} samples shows it; raise task.samples"
        )
    value, iou = _followed(subject, seen, layer=layer, place=place)
    _require_units(len(value), units, layer=layer)

    def batch(step: int) -> dict[str, Any]:
        one = seen[step % len(seen)]
        area = squares(one.masks, place, seed=context.seed, number=step).to(value.device)
        state = _state(subject, one, layer)
        return {"state": state, "region": region_of(area, state), "score": score(one, area)}

    def score(one: Seen, area: Tensor) -> Any:
        def shown(state: SynthesisState) -> Tensor:
            images = subject.generator.synthesis(one.codes, noise=one.noise, resume=state)
            return class_share(subject.segmenter(images.float()), place, area)

        return shown

    start = iou / iou.max().clamp(min=1e-8)
    with Progress(f"units that cause {name}", search.steps, unit="steps") as line:

        def told(step: int) -> dict[str, Any]:
            line.update(step + 1)
            return batch(step)

        alpha, pull = causal_units(
            start, told, value=value, penalty=search.penalty, steps=search.steps, lr=search.lr
        )
    found = Causes(alpha.cpu(), pull.cpu(), value.cpu(), iou.cpu())
    write_part(
        path, vars(found), names=[], identity=identity, seconds=time.monotonic() - begin,
        device=device_in_words(value.device),
    )  # fmt: skip
    return found


def _require_units(there: int, units: int, *, layer: int) -> None:
    if units > there:
        raise ConfigError(
            f"task.units={units}: layer {layer} has {there} units, give at most that many."
        )


def _state(subject: Subject, seen: Seen, layer: int) -> SynthesisState:
    ((_, state),) = states(subject.generator, seen, [layer])
    return state


def _followed(
    subject: Subject, seen: Sequence[Seen], *, layer: int, place: int
) -> tuple[Tensor, Tensor]:
    """Return each unit's mean activation where a class is, and its IoU: float32 [U] each."""
    sums, weights, values = list[Tensor](), list[Tensor](), list[Tensor]()
    for one in seen:
        state = _state(subject, one, layer)
        share = region_of((one.masks == place).float()[:, None].to(state.features.device), state)
        sums.append((state.features * share).sum((0, 2, 3)))
        weights.append(share.sum())
        values.append(state.features.float().transpose(0, 1).flatten(1))
    levels, counts = thresholds(torch.cat(values, 1)), list[tuple[Tensor, Tensor]]()
    for one in seen:
        mask = (one.masks == place)[:, None].to(levels.device)
        counts.append(overlaps(_state(subject, one, layer).features, levels, mask))
    both, active = (sum(some) for some in zip(*counts, strict=True))  # type: ignore[arg-type]
    there = torch.tensor([sum(int((one.masks == place).sum()) for one in seen)]).double()
    pixels = sum(one.masks.numel() for one in seen)
    chosen = information_quality(both, active, there, pixels=pixels).argmax(0, keepdim=True)
    iou = unit_iou(both, active, there).gather(0, chosen)[0, :, 0]
    value = torch.stack(sums).sum(0) / torch.stack(weights).sum()
    return value.float(), iou.to(levels)


def squares(masks: Tensor, place: int | None, *, seed: int, number: int) -> Tensor:
    """Draw a random square per image: float [N, 1, R, R].

    Args:
        masks: integers [N, R, R].
        place: a class on which every second square is centred, if the image has it; None for no
            class.
        seed, number: seeds of the draw.
    """
    side = masks.shape[-1]
    half = max(1, side // SQUARE // 2)
    rng = image_rng(seed, number, purpose="regions")
    found = torch.zeros(len(masks), 1, side, side)
    for k, mask in enumerate(masks):
        y, x = torch.randint(0, side, (2,), generator=rng).tolist()
        inside = (mask == place).nonzero() if place is not None else mask.new_empty(0)
        pick = int(torch.randint(0, 2**30, (), generator=rng))
        if k % 2 == 0 and len(inside):
            y, x = inside[pick % len(inside)].tolist()
        top, left = (min(max(at, half), side - half) - half for at in (y, x))
        found[k, 0, top : top + 2 * half, left : left + 2 * half] = 1.0
    return found


@torch.no_grad()
def _effects(
    subject: Subject,
    seen: Seen,
    causes: Causes,
    *,
    layer: int,
    place: int,
    units: int,
    index: Tensor,
    seed: int,
) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    """Yield the name, values [m] and, if shown, images of each intervention."""
    state, device = _state(subject, seen, layer), subject.generator.w_avg.device
    count, value = len(causes.alpha), causes.value.to(device)
    everywhere = torch.ones(1, 1, 1, 1, device=device)
    area = torch.cat([squares(m[None], None, seed=seed, number=int(i)) for m, i in
                      zip(seen.masks, index, strict=True)]).to(device)  # fmt: skip
    draws = image_rng(seed, layer, purpose="random units")
    random = [torch.randperm(count, generator=draws)[:units] for _ in range(SETS)]

    def shown(chosen: Tensor, *, insert: bool) -> tuple[Tensor, Tensor, Tensor]:
        alpha = only(chosen.to(device), count)
        one = forced(
            state, alpha=alpha, value=value if insert else torch.zeros_like(value),
            region=region_of(area, state) if insert else everywhere,
        )  # fmt: skip
        images = subject.generator.synthesis(seen.codes, noise=seen.noise, resume=one)
        images = to_uint8(images.float(), finite="the generator")
        read = subject.segmenter.segment(to_float(images))
        there = (read == place).float()
        return (_inside(there, area) if insert else there.mean((1, 2))), images.cpu(), read

    before = (seen.masks == place).float().to(device)

    def other(read: Tensor) -> Tensor:
        """Return the share of the other classes' pixels that change to another of them."""
        same = (read == seen.masks.to(device)) | (read == place)
        return ((1 - before) * (~same).float()).sum((1, 2)) / (1 - before).sum((1, 2)).clamp(min=1)

    yield "area", before.mean((1, 2)), seen.images
    sets = {"": [causes.best(units)], "_iou": [causes.followers(units)], "_random": random}
    for what, insert in (("area_ablated", False), ("inserted", True)):
        if insert:
            yield "inserted_before", _inside(before, area), None
        for name, some in sets.items():
            made = [shown(chosen, insert=insert) for chosen in some]
            picture = made[0][1] if not insert or not name else None
            yield f"{what}{name}", torch.stack([each for each, *_ in made]).mean(0), picture
            if not insert:
                yield (
                    f"disturbed{name}",
                    torch.stack([other(read) for *_, read in made]).mean(0),
                    None,
                )


def _inside(there: Tensor, area: Tensor) -> Tensor:
    return (there * area[:, 0]).sum((1, 2)) / area.sum((1, 2, 3))


def _measured(table: dict[str, Tensor], *, seed: int) -> MetricValues:
    """Return means over images, and how much of the class each set of units removes."""
    found = MetricValues()
    of = {"": "the units that cause it", "_iou": "the units of largest IoU", "_random":
          f"random units, mean of {SETS} sets"}  # fmt: skip
    found.add_mean("area", table["area"], seed=seed, text="share of pixels of the class")
    text = "share of the square's pixels of the class"
    found.add_mean("inserted_before", table["inserted_before"], seed=seed, text=f"{text}, before")
    for name, words in of.items():
        after = table[f"area_ablated{name}"]
        text = f"share of pixels of the class without {words}"
        found.add_mean(f"area_ablated{name}", after, seed=seed, text=text)
        text = f"share of the square's pixels of the class, with {words} set to its value there"
        found.add_mean(f"inserted{name}", table[f"inserted{name}"], seed=seed, text=text)
        text = f"share of the other pixels whose class changes without {words}"
        found.add_mean(f"disturbed{name}", table[f"disturbed{name}"], seed=seed, text=text)
        left = (1 - after.sum() / table["area"].sum().clamp(min=1e-12)).item()
        text = f"share of the class's pixels, over all images, that goes without {words}"
        found.add(f"removed{name}", left, text)
    return found
