"""Task: combine the content of one inverted image with the style of another."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from idinvert.annotations import Count, OnCorrupt, PathString, PositiveFloat, PositiveInt
from idinvert.data.convert import to_float
from idinvert.data.domain import names_of
from idinvert.data.formats import stems_of
from idinvert.editing.edits import first_style_layer, mix_styles
from idinvert.editing.style import Statistics, StyleTransfer
from idinvert.errors import ConfigError
from idinvert.evaluation import own_edits
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.inversions import Inversions, invert_images, require_codes
from idinvert.evaluation.outputs import (
    images_of,
    measured_outputs,
    partners_of,
    require_set_metrics,
    write_csv,
)
from idinvert.evaluation.own_images import KnownCodes, invert_own, open_own
from idinvert.evaluation.pictures import Sheet, write_sheet
from idinvert.metrics.protocol import MetricValues
from idinvert.results.record import Record

PROTOCOL = (
    "n mixed images; layers {first} and above from the partner by a "
    "stored permutation (seed {seed})"
)
STYLE = "ours: relative squared distance of F's {statistics} to the style image, {what}; uint8"
CONTENT = "ours: relative squared distance of F to the content's inversion, {what}; uint8"


def mix(
    context: EvaluationContext,
    *,
    first: Count | None = None,
    statistics: Statistics | None = None,
    steps: PositiveInt | None = None,
    lr: PositiveFloat | None = None,
    shown: Count = 4,
    pairs: list[list[str]] | None = None,
    out: PathString | None = None,
    on_corrupt: OnCorrupt = "skip",
    allow_upscale: bool = False,
    megapixels: PositiveFloat | None = None,
) -> list[Record]:
    """Mix every inverted image with its partner, and measure the outputs as a set.

    Output i has the layers below `first` of w_i and the other layers of its partner; the noise is
    that of image i. Writes `pairs.csv`, `parts/`, `pictures.png` and `pictures.pdf`: each of the
    first images (rows) with the style of every other (columns).

    With `images=` the given pairs are mixed and not measured; see `write_edits`.

    With `statistics` no codes are exchanged: the upper layers are optimised until F's statistics
    match those of the partner's picture (`StyleTransfer`). Then `style_distance` and
    `content_distance` are measured, too, also for the exchange of codes (`exchanged_…`) and for
    the content alone (`content_style_distance`).

    Not in the paper, which shows no mixing; the authors' code can exchange layers.

    Args:
        context: the pairs are drawn from its seed.
        first: the first layer taken from the partner; None for the authors' share, 10 of 14.
        statistics: "moments" or "gram"; None to exchange codes.
        steps, lr: settings of the optimisation; None for 100 and 0.05.
        shown: rows and columns of the picture.
        pairs: with `images=`: names of pictures, content and style; None for each with the next.
        out, on_corrupt, allow_upscale, megapixels: with `images=`; see `invert.invert`.

    Raises:
        ConfigError: no such layer, or no metric of sets is requested.
        DataError: fewer than two images.
    """
    begin = time.monotonic()
    require_codes(context, task="mixing")
    layers = context.generator.num_layers
    start = first_style_layer(layers) if first is None else first
    if not 0 <= start <= layers:
        raise ConfigError(f"task.first is {first}: expected a layer from 0 to {layers}")
    style, chosen = _style(context, statistics, start, steps=steps, lr=lr)
    if context.config["images"] is not None:
        context, known = open_own(context, out, on_corrupt, allow_upscale, megapixels)
        places = own_edits.pairs_of(stems_of(names_of(context.dataset)), pairs, cycle=True)
        found = invert_own(context, known)
        if found is None:
            return []
        inverted = [("Inversion", 1), ("Mixed", 1), ("Inversion", 1)]
        headers = [("Content", 1), *inverted, ("Style", 1)] if known is None else inverted
        return own_edits.write_edits(
            context, found, _rows(context, found, places, start, style), task="mixing", out=out,
            shown=shown, headers=headers, options={"first": start, **chosen, "pairs": places},
            measured=own_edits.of_inversions(context, found), begin=begin,
        )  # fmt: skip
    require_set_metrics(context, task="mixing")
    partner, within = partners_of(context)
    named = {"first": first, **chosen, "seed": context.seed, "n": context.count}
    with context.task_folder("mixing", **named) as folder:
        found = invert_images(context)
        if found is None:
            return []
        names = found.names()
        columns: dict[str, Sequence | Tensor] = {
            "index": range(len(partner)),
            "partner": partner,
            "content": names,
            "style": [names[j] for j in partner.tolist()],
        }
        write_csv(folder / "pairs.csv", columns)
        options = {"first": start, **chosen, "seed": context.seed}

        def mixed(content: Tensor, of: Tensor) -> Tensor:
            if style is None:
                return mixture(found, content, of, first=start)
            codes = transferred(context, found, content, of, style)
            return found.synthesise(codes, found.noise(content))

        paths, measured = measured_outputs(
            lambda index: mixed(index, partner[index]),
            context=context,
            found=found,
            out=folder,
            task="mixing",
            options={**options, "n": len(found), **within},
            detail=PROTOCOL.format(**options)
            + (f"; optimised towards its {statistics}, {style.steps} steps" if style else ""),
        )
        if style is not None:
            measured = measured | _distances(context, found, partner, images_of(paths), style)
        if shown:
            few = torch.arange(min(shown, len(found)))
            inputs = [context.dataset[i]["image"] for i in few.tolist()]
            rows: list[list[Tensor | None]] = [[None, *inputs]]
            for i in few:
                rows.append([inputs[i], *mixed(i.repeat(len(few)), few)])
            headers = [("Content", 1), ("Style", len(few))]
            write_sheet(Sheet(rows=rows, headers=headers), folder)
        record = context.record("mixing", measured, options=options, **found.work(begin))
        return context.finish([record], folder)


def _style(
    context: EvaluationContext, statistics: Statistics | None, first: int, **given: Any
) -> tuple[StyleTransfer | None, dict[str, Any]]:
    """Return the requested style transfer, if any, and its settings.

    Raises:
        ConfigError: settings without `statistics`, no F, or no layer to optimise.
    """
    given = {key: value for key, value in given.items() if value is not None}
    if statistics is None:
        for key in given:
            raise ConfigError(
                f"task.{key} is of task.statistics=moments or gram, and codes are exchanged "
                "without steps: leave it out, or give task.statistics"
            )
        return None, {}
    if first >= (layers := context.generator.num_layers):
        raise ConfigError(
            f"task.first is {first}: task.statistics moves the layers from there on, expected 0 to "
            f"{layers - 1}"
        )
    f = context.perceptual
    style = StyleTransfer(perceptual=f, first=first, statistics=statistics, **given)
    return style, {"statistics": statistics, "steps": style.steps, "lr": style.lr}


def _rows(
    context: EvaluationContext,
    found: Inversions,
    pairs: Sequence[tuple[int, int]],
    first: int,
    style: StyleTransfer | None,
) -> Iterator[own_edits.Row]:
    """Yield the pairs of own pictures, content and style."""
    names = found.names()
    stems = stems_of(names)
    for a, b in pairs:
        if style is None:
            code = mix_styles(found.codes[a : a + 1], found.codes[b : b + 1], first=first)[0, 0]
        else:
            of = torch.tensor([a]), torch.tensor([b])
            code = transferred(context, found, *of, style)[0]
        stem, noise = f"{stems[a]}_style_{stems[b]}", found.noise(torch.tensor([a]))
        yield own_edits.Row(
            names=[names[a], names[b]],
            joint="in the style of",
            before=own_edits.pictures_of(context, found, stems[a], a),
            edits=[own_edits.Edit(stem=stem, caption="mixed", code=code, noise=noise)],
            after=own_edits.pictures_of(context, found, stems[b], b)[::-1],
        )


def mixture(found: Inversions, content: Tensor, style: Tensor, *, first: int) -> Tensor:
    """Mix the images with indices `content` and `style`, int64 [m]: uint8 [m, 3, R, R].

    `first` is the first layer of the style.
    """
    pairs = zip(found.codes[content], found.codes[style], strict=True)
    codes = [mix_styles(u[None], v[None], first=first)[0] for u, v in pairs]  # each [1, L, w_dim]
    return found.synthesise(torch.cat(codes), found.noise(content))


def transferred(
    context: EvaluationContext, found: Inversions, content: Tensor, of: Tensor, style: StyleTransfer
) -> Tensor:
    """Return codes float [m, L, w_dim] of images `content` in the style of the pictures `of`."""
    device, noise = found.device, found.noise(content)
    style.perceptual.to(device)
    maps = found.plain_noise if noise is None else [one.to(device) for one in noise]
    targets = to_float(_pictures(context, found, of)).to(device)
    codes = found.codes[content].to(device)
    return style.transfer(codes, targets, generator=found.generator, noise=maps).cpu()


def _pictures(context: EvaluationContext, found: Inversions, places: Tensor) -> Tensor:
    """Return the pictures at indices, uint8 [m, 3, R, R]; for a codes file, G's images."""
    if isinstance(found, KnownCodes):
        return found.images(places)
    return torch.stack([context.dataset[i]["image"] for i in places.tolist()])


@torch.no_grad()
def _distances(
    context: EvaluationContext,
    found: Inversions,
    partner: Tensor,
    outputs: Iterator[Tensor],
    style: StyleTransfer,
) -> MetricValues:
    """Measure distances of outputs, exchanged codes and content to style and content."""
    rows: dict[str, list[Tensor]] = {}
    f: Any = style.perceptual
    for (begin, end), made in zip(found.chunks, outputs, strict=True):
        index = torch.arange(begin, end)
        of, inverted = partner[index], found.images(index)
        exchanged = mixture(found, index, of, first=style.first)
        targets = style.of(to_float(_pictures(context, found, of)).to(found.device))
        known = f(to_float(inverted).to(found.device)).flatten(1)
        for name, images in (("", made), ("exchanged_", exchanged), ("content_", inverted)):
            y = to_float(images).to(found.device)
            rows.setdefault(f"{name}style_distance", []).append(style.distance(y, targets))
            far = (f(y).flatten(1) - known).square().sum(1) / known.square().sum(1)
            if images is not inverted:
                rows.setdefault(f"{name}content_distance", []).append(far)
    measured = MetricValues()
    whose = {"exchanged": "of exchanged codes", "content": "of the content alone"}
    for name, values in rows.items():
        form = STYLE if name.endswith("style_distance") else CONTENT
        what = whose.get(name.split("_")[0] if name.count("_") > 1 else "", "of the outputs")
        text = form.format(statistics=style.statistics, what=what)
        measured.add_mean(name, torch.cat(values).cpu(), seed=context.seed, text=text)
    return measured
