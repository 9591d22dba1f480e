"""Task: interpolation between inverted images (Sec. 4.3; Tables 2, 4 to 7, Fig. 4)."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from idinvert.annotations import Count, Film, OnCorrupt, PathString, PositiveFloat, PositiveInt
from idinvert.data.domain import names_of
from idinvert.data.formats import stems_of
from idinvert.editing.edits import inner_steps
from idinvert.editing.edits import interpolate as between
from idinvert.errors import ConfigError
from idinvert.evaluation import outputs, own_edits
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.inversions import Inversions, Noise, invert_images, require_codes
from idinvert.evaluation.own_images import invert_own, open_own
from idinvert.evaluation.pictures import Sheet, write_sheet
from idinvert.results.record import Record

PROTOCOL = (
    "n interpolations; image i with its partner by a stored permutation "
    "(seed {seed}), weight of the partner cycling {first:.4g} to {last:.4g} in {steps} steps"
)


def interpolate(
    context: EvaluationContext,
    *,
    steps: PositiveInt = 5,
    shown: Count = 4,
    pairs: list[list[str]] | None = None,
    video: Film | None = None,
    out: PathString | None = None,
    on_corrupt: OnCorrupt = "skip",
    allow_upscale: bool = False,
    megapixels: PositiveFloat | None = None,
) -> list[Record]:
    """Interpolate between pairs of inverted images, and measure the outputs as a set.

    Output i is G((1 − α)·w_i + α·w_j), with partner j and the weights α in a cycle over i; noise
    maps of an encoder are interpolated, too. Writes `pairs.csv`, `parts/`, `pictures.png` and
    `pictures.pdf` (as Fig. 4).

    With `images=` each pair is interpolated at all weights and not measured; see `write_edits`.

    Differs from the paper: the paper does not state the pairs and weights of its numbers.

    Args:
        context: the pairs are drawn from its seed.
        steps: weights strictly between 0 and 1: 5 gives 1/6 … 5/6.
        shown: rows of the picture.
        pairs: with `images=`: names of pictures; None for each with the next.
        video: format of a film of each pair, with `images=`.
        out, on_corrupt, allow_upscale, megapixels: with `images=`; see `invert.invert`.

    Raises:
        ConfigError: no metric of sets is requested, or fewer than one step.
        DataError: fewer than two images.
    """
    begin = time.monotonic()
    require_codes(context, task="interpolation")
    if steps < 1:
        raise ConfigError(f"task.steps is {steps}: expected 1 or more")
    if context.config["images"] is not None:
        own_edits.check_film(video)
        context, known = open_own(context, out, on_corrupt, allow_upscale, megapixels)
        places = own_edits.pairs_of(stems_of(names_of(context.dataset)), pairs, cycle=False)
        found = invert_own(context, known)
        if found is None:
            return []
        headers = headers_of(steps)
        return own_edits.write_edits(
            context, found, _rows(context, found, places, steps=steps, video=video),
            task="interpolation", out=out, video=video, shown=shown, begin=begin,
            headers=headers if known is None else headers[1:-1],
            options={"steps": steps, "pairs": places},
            measured=own_edits.of_inversions(context, found),
        )  # fmt: skip
    outputs.require_set_metrics(context, task="interpolation")
    partner, within = outputs.partners_of(context)
    options: dict[str, Any] = {"steps": steps, "seed": context.seed}
    with context.task_folder("interpolation", **options, n=context.count) as folder:
        found = invert_images(context)
        if found is None:
            return []
        weights, names = inner_steps(steps), found.names()
        alpha = torch.tensor([weights[i % steps] for i in range(len(found))])
        columns: dict[str, Sequence | Tensor] = {
            "index": range(len(partner)),
            "partner": partner,
            "alpha": [f"{a:.6g}" for a in alpha.tolist()],
            "name": names,
            "partner_name": [names[j] for j in partner.tolist()],
        }
        outputs.write_csv(folder / "pairs.csv", columns)
        _, measured = outputs.measured_outputs(
            lambda index: blend(found, index, partner[index], alpha[index]),
            context=context,
            found=found,
            out=folder,
            task="interpolation",
            options={**options, "n": len(found), **within},
            detail=PROTOCOL.format(**options, first=weights[0], last=weights[-1]),
        )
        rows = []
        for a, b in enumerate(partner[: min(shown, len(found))].tolist()):
            inputs = [context.dataset[i]["image"] for i in (a, b)]
            rows.append([inputs[0], *path_between(found, a, b, weights), inputs[1]])
        if rows:
            write_sheet(Sheet(rows=rows, headers=headers_of(steps)), folder)
        record = context.record("interpolation", measured, options=options, **found.work(begin))
        return context.finish([record], folder)


def _rows(
    context: EvaluationContext,
    found: Inversions,
    pairs: Sequence[tuple[int, int]],
    *,
    steps: int,
    video: str | None,
) -> Iterator[own_edits.Row]:
    """Yield the pairs of own pictures at all weights."""
    names = found.names()
    stems = stems_of(names)
    for a, b in pairs:
        at = f"{stems[a]}_to_{stems[b]}"
        codes = between(found.codes[a : a + 1], found.codes[b : b + 1], inner_steps(steps))[0]
        edits = []
        for weight, code in zip(inner_steps(steps), codes, strict=True):
            noise = _noise(found, torch.tensor([a]), torch.tensor([b]), torch.tensor([weight]))
            words = f"{weight:.3g}"
            edits.append(
                own_edits.Edit(stem=f"{at}_{words}", caption=words, code=code, noise=noise)
            )
        films = {}
        if video is not None:
            weights = torch.linspace(0, 1, own_edits.FRAMES)
            films[at] = between(found.codes[a : a + 1], found.codes[b : b + 1], weights)[0]
        yield own_edits.Row(
            names=[names[a], names[b]],
            joint="to",
            before=own_edits.pictures_of(context, found, stems[a], a),
            edits=edits,
            after=own_edits.pictures_of(context, found, stems[b], b)[::-1],
            films=films,
        )


def _noise(found: Inversions, a: Tensor, b: Tensor, alpha: Tensor) -> Noise:
    """Interpolate between the noise maps of images `a` and `b`."""
    of_a, of_b, weights = found.noise(a), found.noise(b), alpha.view(-1, 1, 1, 1)
    if of_a is None or of_b is None:
        return of_a
    return [torch.lerp(u, v, weights.to(u)) for u, v in zip(of_a, of_b, strict=True)]


def blend(found: Inversions, a: Tensor, b: Tensor, alpha: Tensor) -> Tensor:
    """Interpolate between the images with indices `a` and `b`, int64 [m]: uint8 [m, 3, R, R].

    `alpha` are the weights of b, float [m].
    """
    pairs = zip(found.codes[a], found.codes[b], alpha.tolist(), strict=True)
    codes = torch.cat([between(u[None], v[None], [weight])[0] for u, v, weight in pairs])
    return found.synthesise(codes, _noise(found, a, b, alpha))


def path_between(found: Inversions, a: int, b: int, weights: Sequence[float]) -> list[Tensor]:
    """Return inversion a, the images at the given weights of b, inversion b: uint8 [3, R, R]."""
    first, second = (torch.full((len(weights),), i) for i in (a, b))
    ends = found.images(torch.tensor([a, b]))
    return [ends[0], *blend(found, first, second, torch.tensor(weights)), ends[1]]


def headers_of(steps: int) -> list[tuple[str, int]]:
    """Return the headers of input, inversion, interpolated images, inversion and input."""
    inner = [("Inversion A", 1), ("Interpolation", steps), ("Inversion B", 1)]
    return [("Input A", 1), *inner, ("Input B", 1)]
