"""Task: the content of one inverted image with the style of another."""

import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from idinvert.annotations import Count, PathString, PositiveFloat
from idinvert.data.domain import names_of
from idinvert.data.formats import stems_of
from idinvert.editing.edits import first_style_layer, mix_styles
from idinvert.errors import ConfigError
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.inversions import Inversions, invert_images, require_codes
from idinvert.evaluation.outputs import (
    measured_outputs,
    partners_of,
    require_set_metrics,
    write_csv,
)
from idinvert.evaluation.own_edits import (
    Edit,
    Row,
    of_inversions,
    pairs_of,
    pictures_of,
    write_edits,
)
from idinvert.evaluation.own_images import OnCorrupt, invert_own, open_own
from idinvert.evaluation.pictures import Sheet, write_sheet
from idinvert.results.record import Record

PROTOCOL = (
    "n mixed images; layers {first} and above from the partner by a "
    "stored permutation (seed {seed})"
)


def mix(
    context: EvaluationContext,
    *,
    first: Count | None = None,
    shown: Count = 4,
    pairs: list[list[str]] | None = None,
    out: PathString | None = None,
    on_corrupt: OnCorrupt = "skip",
    allow_upscale: bool = False,
    megapixels: PositiveFloat | None = None,
) -> list[Record]:
    """Mix every inverted image with its partner, and measure what comes out as a set.

    Output i has the layers below `first` of w_i and the others of its partner; the noise is that
    of image i. Writes `pairs.csv`, `parts/`, `pictures.png` and `pictures.pdf`: every one of the
    first images (rows) with the style of every other (columns).

    With `images=` the pairs are mixed, and nothing is measured of them; see `write_edits`.

    Ours: the paper shows no mixing; the authors' code can do it.

    Args:
        context: the pairs are drawn from its seed.
        first: the first layer taken from the partner; None for the authors' share, 10 of 14.
        shown: rows and columns of the picture.
        pairs: with `images=`: names of pictures, content and style; None for each with the next.
        out, on_corrupt, allow_upscale, megapixels: with `images=`; see `invert.invert`.

    Raises:
        ConfigError: no such layer, or no metric of sets is asked for.
        DataError: fewer than two images.
    """
    begin = time.monotonic()
    require_codes(context, task="mixing")
    layers = context.generator.num_layers
    start = first_style_layer(layers) if first is None else first
    if not 0 <= start <= layers:
        raise ConfigError(f"task.first is {first}: expected a layer from 0 to {layers}")
    if context.config["images"] is not None:
        context, known = open_own(context, out, on_corrupt, allow_upscale, megapixels)
        places = pairs_of(stems_of(names_of(context.dataset)), pairs, cycle=True)
        found = invert_own(context, known)
        if found is None:
            return []
        inverted = [("Inversion", 1), ("Mixed", 1), ("Inversion", 1)]
        headers = [("Content", 1), *inverted, ("Style", 1)] if known is None else inverted
        return write_edits(
            context, found, _rows(context, found, places, first=start), task="mixing", out=out,
            shown=shown, headers=headers, options={"first": start, "pairs": places},
            measured=of_inversions(context, found), begin=begin,
        )  # fmt: skip
    require_set_metrics(context, task="mixing")
    partner, within = partners_of(context)
    with context.task_folder("mixing", first=first, seed=context.seed, n=context.count) as folder:
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
        options = {"first": start, "seed": context.seed}
        _, measured = measured_outputs(
            lambda index: mixture(found, index, partner[index], first=start),
            context=context,
            found=found,
            out=folder,
            task="mixing",
            options={**options, "n": len(found), **within},
            detail=PROTOCOL.format(**options),
        )
        if shown:
            few = torch.arange(min(shown, len(found)))
            inputs = [context.dataset[i]["image"] for i in few.tolist()]
            rows: list[list[Tensor | None]] = [[None, *inputs]]
            for i in few:
                rows.append([inputs[i], *mixture(found, i.repeat(len(few)), few, first=start)])
            headers = [("Content", 1), ("Style", len(few))]
            write_sheet(Sheet(rows=rows, headers=headers), folder)
        record = context.record("mixing", measured, options=options, **found.work(begin))
        return context.finish([record], folder)


def _rows(
    context: EvaluationContext, found: Inversions, pairs: Sequence[tuple[int, int]], *, first: int
) -> Iterator[Row]:
    """The pairs of one's own pictures, content and style."""
    names = found.names()
    stems = stems_of(names)
    for a, b in pairs:
        code = mix_styles(found.codes[a : a + 1], found.codes[b : b + 1], first=first)[0, 0]
        stem, noise = f"{stems[a]}_style_{stems[b]}", found.noise(torch.tensor([a]))
        yield Row(
            name=f"{names[a]} in the style of {names[b]}",
            before=pictures_of(context, found, stems[a], a),
            edits=[Edit(stem=stem, caption="mixed", code=code, noise=noise)],
            after=pictures_of(context, found, stems[b], b)[::-1],
        )


def mixture(found: Inversions, content: Tensor, style: Tensor, *, first: int) -> Tensor:
    """Images uint8 [m, 3, R, R] at the places `content`, int64 [m], in the style of others.

    `style` are the others' places, int64 [m], and `first` is the first layer of the style.
    """
    pairs = zip(found.codes[content], found.codes[style], strict=True)
    codes = [mix_styles(u[None], v[None], first=first)[0] for u, v in pairs]  # each [1, L, w_dim]
    return found.synthesise(torch.cat(codes), found.noise(content))
