"""Task: move inverted images along semantic directions (Eq. 5, Sec. 4.3; Table 2, Fig. 5)."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from idinvert.annotations import Count, Film, Name, OnCorrupt, PathString, PositiveFloat, Unit
from idinvert.data.formats import safe, stems_of
from idinvert.editing.directions import Direction, check_direction
from idinvert.editing.edits import UNITS, sigma_of
from idinvert.editing.edits import manipulate as moved_codes
from idinvert.errors import ConfigError
from idinvert.evaluation import outputs, own_edits
from idinvert.evaluation.code_metrics import STEPS, measured_movement
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.directions import open_directions
from idinvert.evaluation.inversions import Inversions, invert_images, require_codes
from idinvert.evaluation.own_images import invert_own, open_own
from idinvert.evaluation.pictures import Sheet, write_sheet
from idinvert.results.record import Record

PROTOCOL = (
    "n manipulated images; image i moves along direction i mod {d} "
    "({names}) by step (i div {d}) mod {s} of {steps}"
)


@dataclass(frozen=True)
class Moves:
    """How directions are applied.

    Attributes:
        steps: the values of α for every direction.
        layers: the layers to move; None for each direction's own.
        unit: unit of α: "length" (directions have length 1) or "sigma" (the standard deviation of
            codes along a direction, which GANSpace's directions include).
    """

    steps: Sequence[float]
    layers: Sequence[int] | None = None
    unit: Unit = "length"

    def check(self, context: EvaluationContext, directions: Mapping[str, Direction]) -> None:
        """Refuse edits that cannot be made, before anything is inverted.

        Raises:
            ConfigError: no directions or steps, a step of 0, a layer that G does not have, or a
                unit that a direction does not support.
            CheckpointError: a direction does not match G.
        """
        generator = context.generator
        if not directions:
            raise ConfigError("there are no directions to move along; set task.directions")
        if not self.steps or 0 in self.steps:
            raise ConfigError(
                f"task.steps is {list(self.steps)}: expected one or more, none of them 0"
            )
        if self.unit not in UNITS:
            raise ConfigError(f"task.unit is {self.unit!r}: expected {' or '.join(UNITS)}")
        for direction in directions.values():
            check_direction(
                direction,
                num_layers=generator.num_layers,
                w_dim=generator.w_dim,
                generator=context.checkpoints.get("generator"),
            )
            if self.unit == "sigma":
                sigma_of(direction)
        if self.layers is not None and not all(0 <= k < generator.num_layers for k in self.layers):
            raise ConfigError(
                f"task.layers is {list(self.layers)}: the generator has layers 0 to "
                f"{generator.num_layers - 1}"
            )

    def codes(
        self, code: Tensor, direction: Direction, steps: Sequence[float] | None = None
    ) -> Tensor:
        """Return one image's codes [L, w_dim] at every step, or at given ones: [S, L, w_dim]."""
        steps = self.steps if steps is None else steps
        return moved_codes(code[None], direction, steps, layers=self.layers, unit=self.unit)[0]

    def strip(
        self, found: Inversions, place: int, directions: Mapping[str, Direction]
    ) -> list[Tensor]:
        """Return an inversion and its edits, direction by direction: uint8 [3, R, R] each."""
        index = torch.tensor([place])
        noise, pictures = found.noise(index), [found.images(index)[0]]
        many = noise and [one.expand(len(self.steps), -1, -1, -1) for one in noise]
        for direction in directions.values():
            pictures += found.synthesise(self.codes(found.codes[place], direction), many)
        return pictures


def manipulate(
    context: EvaluationContext,
    *,
    directions: PathString | None = None,
    found_for: Literal["stylegan", "stylegan2"] | None = None,
    names: list[Name] | None = None,
    steps: Sequence[float] = STEPS,
    layers: list[Count] | None = None,
    unit: Unit = "length",
    shown: Count = 4,
    video: Film | None = None,
    out: PathString | None = None,
    on_corrupt: OnCorrupt = "skip",
    allow_upscale: bool = False,
    megapixels: PositiveFloat | None = None,
) -> list[Record]:
    """Move every inverted image along one direction by one step, and measure the outputs as a set.

    Output i is G(w_i + α·n), with direction i mod D of D and step (i div D) mod S of S, so that
    n = D·S images cover every combination once. With an attribute network, the change of the
    target attribute is measured, too (not in the paper, which only shows images). Writes
    `edits.csv`, `parts/`, `pictures.png` and `pictures.pdf` (as Fig. 5).

    With `images=` every picture is moved along every direction by every step, and the edits are
    not measured; see `write_edits`.

    Differs from the paper: the paper does not state the directions and steps of its numbers.

    Args:
        directions, found_for, names: see `open_directions`; the order of the names matters.
        steps, layers, unit: see `Moves`.
        shown: rows of the picture.
        video: format of a film of each picture and direction, with `images=`.
        out, on_corrupt, allow_upscale, megapixels: with `images=`; see `invert.invert`.

    Raises:
        ConfigError: no metric of sets, or from `Moves.check`.
        CheckpointError: a direction does not match G.
    """
    begin = time.monotonic()
    require_codes(context, task="manipulation")
    chosen = open_directions(context, path=directions, names=names, found_for=found_for)
    moves = Moves(steps, layers, unit)
    moves.check(context, chosen)
    if context.config["images"] is not None:
        own_edits.check_film(video)
        context, codes = open_own(context, out, on_corrupt, allow_upscale, megapixels)
        found = invert_own(context, codes)
        if found is None:
            return []
        moves = Moves(list(dict.fromkeys(steps)), layers, unit)
        ends = dict.fromkeys((min(steps), max(steps)))  # one if they are equal
        on_sheet = list(ends) if len(chosen) > 1 else moves.steps
        by = ", ".join(f"{step:+g}" for step in on_sheet)
        contents = {name: direction.content for name, direction in chosen.items()}
        return own_edits.write_edits(
            context, found, _rows(context, found, chosen, moves=moves, ends=on_sheet, video=video),
            task="manipulation", out=out, video=video, shown=shown, begin=begin,
            headers=_headers(codes is None, [(f"{name}: {by}", len(on_sheet)) for name in chosen]),
            options={"steps": list(steps), "layers": layers, "unit": unit, "marks": contents},
            measured=own_edits.of_inversions(context, found), directions=chosen,
        )  # fmt: skip
    outputs.require_set_metrics(context, task="manipulation")
    marks = {name: direction.content for name, direction in chosen.items()}
    settings = {"steps": steps, "layers": layers, "unit": unit, "directions": marks}
    with context.task_folder("manipulation", **settings) as folder:
        found = invert_images(context)
        if found is None:
            return []
        known, index = list(chosen), torch.arange(len(found))
        aimed = [known[i % len(known)] for i in range(len(found))]
        alpha = [float(steps[i // len(known) % len(steps)]) for i in range(len(found))]
        columns: dict[str, Sequence | Tensor] = {
            "index": index,
            "name": found.names(),
            "direction": aimed,
            "alpha": alpha,
        }
        outputs.write_csv(folder / "edits.csv", columns)

        def edited(places: Tensor) -> Tensor:
            codes = [
                moves.codes(found.codes[i], chosen[aimed[i]], [alpha[i]]) for i in places.tolist()
            ]
            return found.synthesise(torch.cat(codes), found.noise(places))

        options = {"directions": known, "steps": list(steps), "layers": layers and list(layers)}
        if unit != "length":
            options["unit"] = unit
        paths, measured = outputs.measured_outputs(
            edited,
            context=context,
            found=found,
            out=folder,
            task="manipulation",
            options={**options, "marks": marks},
            detail=PROTOCOL.format(
                d=len(known),
                names=", ".join(known),
                s=len(steps),
                steps=f"{list(steps)}{' standard deviations' if unit == 'sigma' else ''}",
            ),
        )

        def move(codes: Tensor, places: Sequence[int]) -> Tensor:
            rows = zip(codes, places, strict=True)
            return torch.cat([moves.codes(c, chosen[aimed[i]], [alpha[i]]) for c, i in rows])

        moved = measured_movement(
            context, found, outputs.images_of(paths), move=move, aimed=aimed, alpha=alpha
        )
        if shown:
            far = Moves((min(steps), max(steps)), layers, unit)
            rows = [
                [context.dataset[i]["image"], *far.strip(found, i, chosen)]
                for i in range(min(shown, len(found)))
            ]
            edges = [(name.replace("_", " "), 2) for name in chosen]
            headers = [("Input", 1), ("Inversion", 1), *edges]
            write_sheet(Sheet(rows=rows, headers=headers), folder)
        work = found.work(begin)
        record = context.record(
            "manipulation", measured | moved, options=options, directions=chosen, **work
        )
        return context.finish([record], folder)


def _headers(inputs: bool, edits: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    of_inputs = [("Input", 1)] if inputs else []
    return [*of_inputs, ("Inversion", 1), *((name.replace("_", " "), n) for name, n in edits)]


def _rows(
    context: EvaluationContext,
    found: Inversions,
    directions: Mapping[str, Direction],
    *,
    moves: Moves,
    ends: Sequence[float],
    video: str | None,
) -> Iterator[own_edits.Row]:
    """Yield own pictures at every step of every direction; the sheet shows the steps `ends`."""
    names = found.names()
    low, high = min(0.0, *moves.steps), max(0.0, *moves.steps)
    for i, stem in enumerate(stems_of(names)):
        code, noise = found.codes[i], found.noise(torch.tensor([i]))
        edits, films = list[own_edits.Edit](), dict[str, Tensor]()
        for name, direction in directions.items():
            at = f"{stem}_{safe(name)}"
            for step, moved in zip(moves.steps, moves.codes(code, direction), strict=True):
                words, on_sheet = f"{name} {step:+g}", step in ends
                edits.append(
                    own_edits.Edit(
                        stem=f"{at}{step:+g}", caption=words, code=moved, noise=noise,
                        on_sheet=on_sheet,
                    )
                )  # fmt: skip
            if video is not None:
                steps = torch.linspace(low, high, own_edits.FRAMES).tolist()
                films[at] = moves.codes(code, direction, steps)
        before = own_edits.pictures_of(context, found, stem, i)
        yield own_edits.Row(names=[names[i]], before=before, edits=edits, films=films)
