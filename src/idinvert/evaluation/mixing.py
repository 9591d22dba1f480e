"""Task: the content of one inverted image with the style of another."""

import time
from pathlib import Path

import torch
from torch import Tensor

from idinvert.editing.edits import first_style_layer, mix_styles
from idinvert.errors import ConfigError
from idinvert.evaluation.inverted import Inverted, invert_subject
from idinvert.evaluation.outputs import measured_outputs, require_set_metrics
from idinvert.evaluation.pairs import write_pairs
from idinvert.evaluation.sheet import Sheet, write_sheet
from idinvert.evaluation.subject import Subject
from idinvert.results.record import Record

PROTOCOL = (
    "n mixed images; layers {first} and above from the partner by a "
    "stored permutation (seed {seed})"
)


def mixing(
    subject: Subject,
    *,
    out: Path,
    first: int | None = None,
    seed: int = 0,
    shown: int = 4,
    recompute: bool = False,
) -> Record | None:
    """Mix every inverted image with its partner, and measure what comes out as a set.

    Output i has the layers below `first` of w_i and the others of its partner; the noise is that
    of image i. Writes `pairs.csv`, `parts/`, `pictures.png` and `pictures.pdf`: every one of the
    first images (rows) with the style of every other (columns).

    Ours: the paper shows no mixing; the authors' code can do it.

    Args:
        subject: the method and its images.
        out: folder of this task.
        first: the first layer taken from the partner; None for the authors' share, 10 of 14.
        seed: of the pairs.
        shown: rows and columns of the picture.
        recompute: make the outputs again; the inversions stay.

    Returns:
        The record on the first rank, None on the others.

    Raises:
        ConfigError: no such layer, or no metric of sets is asked for.
        DataError: fewer than two images, or fewer than n.
    """
    begin = time.monotonic()
    layers = subject.generator.num_layers
    start = first_style_layer(layers) if first is None else first
    if not 0 <= start <= layers:
        raise ConfigError(f"task.first is {first}: expected a layer from 0 to {layers}")
    require_set_metrics(subject.measures, task="mixing")
    partner = subject.partners(seed=seed)
    inverted = invert_subject(subject)
    if inverted is None:
        return None
    names = inverted.found.names()
    write_pairs(
        out / "pairs.csv",
        {
            "index": range(len(partner)),
            "partner": partner,
            "content": names,
            "style": [names[j] for j in partner.tolist()],
        },
    )
    options = {"first": start, "seed": seed}
    _, figures = measured_outputs(
        lambda index: mixture(inverted, index, partner[index], first=start),
        subject=subject,
        found=inverted.found,
        out=out,
        task="mixing",
        options={**options, "n": len(inverted), **subject.within},
        detail=PROTOCOL.format(first=start, seed=seed),
        recompute=recompute,
    )
    if shown:
        few = torch.arange(min(shown, len(inverted)))
        inputs = [subject.dataset[i]["image"] for i in few.tolist()]
        rows: list[list[Tensor | None]] = [[None, *inputs]]
        for i in few:
            rows.append([inputs[i], *mixture(inverted, i.repeat(len(few)), few, first=start)])
        headers = [("Content", 1), ("Style", len(few))]
        write_sheet(Sheet(rows=rows, headers=headers), out)
    return subject.record(
        "mixing",
        n=len(inverted),
        device=inverted.found.made_on,
        options=options,
        figures=figures,
        seconds=inverted.found.seconds() + time.monotonic() - begin,
    )


def mixture(inverted: Inverted, content: Tensor, style: Tensor, *, first: int) -> Tensor:
    """The images `content` in the style of the images `style`, place by place.

    Args:
        inverted: the inversions.
        content, style: places int64 [m].
        first: the first layer of the style.

    Returns:
        uint8 [m, 3, R, R].
    """
    pairs = zip(inverted.codes[content], inverted.codes[style], strict=True)
    codes = [mix_styles(u[None], v[None], first=first)[0] for u, v in pairs]  # each [1, L, w_dim]
    return inverted.synthesise(torch.cat(codes), inverted.noise(content))
