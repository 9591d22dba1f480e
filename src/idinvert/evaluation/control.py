"""Task: edits that change an attribute by a requested amount, solved in closed loop."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from idinvert.annotations import Count, Name, OnCorrupt, PathString, PositiveFloat
from idinvert.data.convert import to_float
from idinvert.data.formats import stems_of
from idinvert.evaluation import networks as wire
from idinvert.evaluation.chunk_store import Chunks, read_tensor
from idinvert.evaluation.closed_loop import Ask, Asked, Loop, checked, read, second_network
from idinvert.evaluation.code_metrics import distribution
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.directions import open_directions
from idinvert.evaluation.inversions import Inversions, invert_images, require_codes
from idinvert.evaluation.manipulation import Moves
from idinvert.evaluation.outputs import make_outputs, write_csv
from idinvert.evaluation.own_edits import Edit, Row, of_inversions, pictures_of, write_edits
from idinvert.evaluation.own_images import invert_own, open_own
from idinvert.evaluation.pictures import Sheet, write_sheet
from idinvert.metrics.protocol import MetricValues
from idinvert.results.record import Record

EDITS = ("images", "alpha", "reached")
MISSED = 10
"""How many edits that miss their goal are printed."""
HEADS = {
    "asked": "asked",
    "got": "got",
    "error": "error",
    "got_second": "got 2nd",
    "error_second": "err 2nd",
    "leaked": "leaked",
    "code_moved": "code",
    "edit_mse": "mse",
    "reached": "reached",
}
TEXTS = {
    "reached": "share of edits that reach their goal, by the attribute network",
    "error": "|got − asked|, by the attribute network, in the unit of task.unit",
    "error_second": "|got − asked|, by the second network, in the unit of task.unit",
    "leaked": "mean |change| of the other attributes that are read, on their labels' scale",
    "code_moved": "distance from the inverted code; 1: from the native mean to the median sample",
    "edit_mse": "between edit and inversion, over pixels and channels in [-1, 1]",
    "reads": "|reading − label| of real images by the attribute network; median",
    "reads_second": "|reading − label| of real images by the second network; median",
    "reads_between": "|difference of the two networks' readings| of real images; median",
}
OVER = "{text}; {what} over the edits that reach their goal"


def control(
    context: EvaluationContext,
    *,
    attribute: Name,
    by: Ask = None,
    to: Ask = None,
    unit: Literal["degrees", "label"] | None = None,
    second: PathString | None = None,
    directions: PathString | None = None,
    found_for: Literal["stylegan", "stylegan2"] | None = None,
    layers: list[Count] | None = None,
    limit: PositiveFloat = 10.0,
    shown: Count = 4,
    out: PathString | None = None,
    on_corrupt: OnCorrupt = "skip",
    allow_upscale: bool = False,
    megapixels: PositiveFloat | None = None,
) -> list[Record]:
    """Change an attribute of every inversion by a requested amount, and check the result.

    Each edit follows the attribute's direction (Eq. 5). Its step is solved so that the attribute
    network predicts the goal for the edited image; a second network checks it. Edits that miss
    their goal are reported, and excluded from the errors. Writes `control.csv` (a line per edit),
    `pictures.png` and `pictures.pdf`; for own pictures (``images=…``) see `own_edits.write_edits`.

    Args:
        attribute: an attribute with a direction, which the network reads.
        by, to: one value or several: changes of the inversion's predicted value, or predicted
            values; give one of the two.
        unit: "degrees" or "label"; None for degrees if the data defines them.
        second: file, folder or run of an independently trained attribute network.
        directions, found_for: see `open_directions`.
        layers: the layers to move; None for the direction's own.
        limit: largest |α|.
        shown: rows of the picture.
        out, on_corrupt, allow_upscale, megapixels: as in task=manipulation.

    Returns:
        The record: medians, 95th percentiles and shares over all edits as metrics, medians for
        each value in `series`; `reads`, `reads_second` and `reads_between` on the real images, if
        they have labels.

    Raises:
        ConfigError: the attribute, the values or the second network are invalid.
    """
    begin = time.monotonic()
    require_codes(context, task="control")
    known = open_directions(context, path=directions, names=None, found_for=found_for)
    asked = checked(context, attribute, list(known), by=by, to=to, unit=unit)
    others = second_network(context, attribute, second)
    networks = [context.needed_attributes, *others]
    moves, chosen = Moves([1], layers), {attribute: known[attribute]}
    moves.check(context, chosen)
    own, codes = context.config["images"] is not None, None
    if own:
        context, codes = open_own(context, out, on_corrupt, allow_upscale, megapixels)
    loop = Loop(context, chosen[attribute], moves, asked, limit)
    options: dict[str, Any] = {
        "attribute": attribute,
        "by" if asked.relative else "to": list(asked.values),
        "unit": "degrees" if asked.degrees else "label",
        "layers": layers,
        "limit": limit,
    }
    settings = {**options, "scale": asked.scale, "direction": chosen[attribute].content}
    inversions = () if own else (context.inversions.parent,)
    with context.locked(context.folder("control", **settings), *inversions) as folder:
        found = invert_own(context, codes) if own else invert_images(context)
        if found is None:
            return []
        paths = make_outputs(
            lambda places: loop.solve(found, places),
            chunks=found.chunks,
            folder=folder / "parts",
            identity={**context.identity, "control": settings},
            label="control",
            device=found.device,
            recompute=context.recompute,
        )
        edits = {name: torch.cat([read_tensor(path, name) for path in paths]) for name in EDITS}
        columns = _compared(loop, found, networks, edits)
        measured, series = _measured(context, columns)
        if not own and attribute in context.labels:
            measured = measured | _floor(context, found, networks, asked)
        names = found.names()
        flat = {name: values.flatten() for name, values in columns.items()}
        images = [name for name in names for _ in asked.values]
        table = (folder if out is None else Path(out).expanduser()) / "control.csv"
        write_csv(table, {"image": images, **flat})
        _print(asked, series, columns, names)
        print(f"every edit: {table}")
        if not own and shown:
            write_sheet(_sheet(context, found, asked, edits, shown), folder)
    options["second"] = [wire.state_hash(network) for network in others]
    if own:
        return write_edits(
            context, found, _rows(loop, found, edits), task="control", out=str(table.parent),
            shown=shown, options={**options, "mark": settings["direction"]}, begin=begin,
            measured=of_inversions(context, found), measured_edits=measured, series=series,
            directions=chosen,
        )  # fmt: skip
    work = found.work(begin)
    record = context.record(
        "control", measured, options=options, series=series, directions=chosen, **work
    )
    return context.finish([record], folder)


def _compared(
    loop: Loop, found: Inversions, networks: Sequence[Any], edits: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Compare requested and predicted values of every edit, and what else changed: [n, S] each."""
    asked, alpha, images = loop.asked, edits["alpha"], edits["images"]
    shape, size = alpha.shape, loop.context.batch_size
    inverted = [found.images(torch.arange(*chunk)) for chunk in found.chunks]
    columns = {
        "asked": torch.tensor(asked.values, dtype=torch.float64).expand(shape),
        "reached": edits["reached"].double(),
        "alpha": alpha,
    }
    for network, suffix in zip(networks, ("", "_second"), strict=False):
        before = read(network, inverted, found)[:, None]  # [n, 1, A]
        after = read(network, images.flatten(0, 1).split(size), found).unflatten(0, shape)
        change, k = after - before, list(network.names).index(asked.attribute)
        got = (change if asked.relative else after)[..., k] * asked.scale
        columns[f"before{suffix}"] = before[..., k].expand(shape) * asked.scale
        columns[f"got{suffix}"] = got
        columns[f"error{suffix}"] = (got - columns["asked"]).abs()
        others = torch.arange(len(network.names)) != k
        if not suffix and others.any():
            columns["leaked"] = change[..., others].abs().mean(dim=2)
    if not getattr(found.generator, "c_dim", 0):  # a conditional M has no codes without a label
        n = loop.codes(torch.zeros_like(found.codes[:1]), torch.ones(1)).double()
        length = n.square().sum(dim=2).mean(dim=1).sqrt()
        native = distribution(found.generator, seed=loop.context.seed)
        columns["code_moved"] = alpha.abs() * length / native.radii.median()
    difference = to_float(images) - to_float(torch.cat(inverted))[:, None]
    columns["edit_mse"] = difference.double().square().mean(dim=(2, 3, 4))
    return columns


def _measured(
    context: EvaluationContext, columns: Mapping[str, Tensor]
) -> tuple[MetricValues, dict[str, list[float]]]:
    """Return medians over all edits that reach their goal, and medians for each value."""
    measured, reached = MetricValues(), columns["reached"] > 0
    series = {"asked": columns["asked"][0].tolist()}
    for name in list(HEADS)[1:]:
        if name not in columns:
            continue
        values, seed = columns[name].where(reached | (name == "reached"), torch.nan), context.seed
        if name == "reached":
            measured.add_mean(name, values.mean(dim=1), seed=seed, text=TEXTS[name])
            series[name] = values.mean(dim=0).tolist()
            continue
        series[name] = values.nanquantile(0.5, dim=0).tolist()
        for end, share, what in (("", 0.5, "median"), ("_p95", 0.95, "95th percentile")):
            if reached.any() and name in TEXTS and (not end or name.startswith("error")):
                text = OVER.format(text=TEXTS[name], what=what)
                measured.add_quantile(name + end, values, share, seed=seed, text=text)
    return measured, series


def _floor(
    context: EvaluationContext, found: Inversions, networks: Sequence[Any], asked: Asked
) -> MetricValues:
    """Measure the networks' errors on the labels of real images, and how far they differ."""
    measured, chunks = MetricValues(), Chunks(context.dataset, found.chunks)
    batches = [chunks[k] for k in range(len(chunks))]
    labels = torch.cat([batch["attributes"] for batch in batches]).double()
    label = labels[:, context.labels.index(asked.attribute)]
    readings = [
        read(one, (batch["image"] for batch in batches), found)[:, one.names.index(asked.attribute)]
        for one in networks
    ]
    pairs = {"reads": (readings[0], label)}
    if len(readings) > 1:
        pairs |= {"reads_second": (readings[1], label), "reads_between": (readings[0], readings[1])}
    for name, (one, other) in pairs.items():
        values = (one - other).abs() * asked.scale
        measured.add_quantile(name, values, 0.5, seed=context.seed, text=TEXTS[name])
    return measured


def _print(
    asked: Asked,
    series: Mapping[str, Sequence[float]],
    columns: Mapping[str, Tensor],
    names: Sequence[str],
) -> None:
    """Print a line for each requested value, and for the first edits that miss their goal."""
    heads = {name: head for name, head in HEADS.items() if name in series}
    print(f"{asked.attribute} in {asked.unit}; medians of the edits that reach their goal")
    lines = [list(heads.values())]
    for row in zip(*(series[name] for name in heads), strict=True):
        lines.append([*(f"{number:.3g}" for number in row[:-1]), f"{100 * row[-1]:.3g} %"])
    for cells in lines:
        print(" ".join(f"{cell:>8}" for cell in cells))
    missed = (columns["reached"] == 0).nonzero().tolist()
    for i, s in missed[:MISSED]:
        before, got, alpha = (columns[name][i, s].item() for name in ("before", "got", "alpha"))
        shows = before * asked.relative + got
        told = f"not reached, from {before:.4g} to {shows:.4g} at α {alpha:+.3g}"
        print(f"  {names[i]}: {asked.words(asked.values[s])}: {told}")
    if len(missed) > MISSED:
        print(f"  … {len(missed)} edits do not reach their goal (control.csv)")


def _sheet(
    context: EvaluationContext,
    found: Inversions,
    asked: Asked,
    edits: Mapping[str, Tensor],
    shown: int,
) -> Sheet:
    """Lay out inputs, inversions and edits; an edit that misses its goal is crossed out."""
    rows: list[list[Tensor | None]] = []
    for i in range(min(shown, len(found))):
        made = zip(edits["images"][i], edits["reached"][i], strict=True)
        first = [context.dataset[i]["image"], found.images(torch.tensor([i]))[0]]
        rows.append([*first, *(x if there else None for x, there in made)])
    headers = [("Input", 1), ("Inversion", 1), *((asked.words(v), 1) for v in asked.values)]
    return Sheet(rows=rows, headers=headers, crossed=True)


def _rows(loop: Loop, found: Inversions, edits: Mapping[str, Tensor]) -> Iterator[Row]:
    """Yield own pictures with their edits."""
    names = found.names()
    for i, stem in enumerate(stems_of(names)):
        place, alpha = torch.tensor([i]), edits["alpha"][i]
        codes = loop.codes(found.codes[place].expand(len(alpha), -1, -1), alpha)
        made = []
        for value, code, picture, there in zip(
            loop.asked.values, codes, edits["images"][i], edits["reached"][i], strict=True
        ):
            of, words = f"{stem}_{loop.asked.stem(value)}", loop.asked.words(value)
            if not there:
                of, words = f"{of}_not_reached", f"{words}: not reached"
            noise = found.noise(place)
            made.append(Edit(stem=of, caption=words, code=code, noise=noise, picture=picture))
        yield Row(names=[names[i]], before=pictures_of(loop.context, found, stem, i), edits=made)
