"""Metrics of inverted codes: distance to native codes, error on known codes, and editability."""

import copy
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from idinvert.data.convert import to_float
from idinvert.editing.edits import manipulate
from idinvert.errors import CheckpointError, ConfigError, Note
from idinvert.evaluation import networks as wire
from idinvert.evaluation.chunk_store import spans
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.default_metrics import CODE_DISTANCE, CODE_ERROR, EDITABILITY
from idinvert.evaluation.directions import open_directions
from idinvert.evaluation.inversions import Inversions, predict
from idinvert.inversion.initialization import image_rng, mapped
from idinvert.metrics.codes import NativeCodes
from idinvert.metrics.codes import native_codes as estimated
from idinvert.metrics.protocol import RESAMPLES, WORDS, MetricValues, interval, resampled

BLOCK, BLOCKS = 1000, 10
"""Native samples per block; blocks for mean and covariance, and as many held-out blocks."""
KNOWN = 64
"""Largest number of images of known codes; a quarter of the inverted images, if that is less."""
STEPS = (-3.0, -2.0, -1.0, 1.0, 2.0, 3.0)
COLUMNS = {
    CODE_DISTANCE: (CODE_DISTANCE,),
    CODE_ERROR: (CODE_ERROR,),
    EDITABILITY: ("moved", "leaked"),
}
"""Metrics that a record has at least for each of these names."""
NATIVE = f"M(z) of {BLOCK * BLOCKS:,} z for mean and covariance, as many held out, no truncation"
TEXTS = {
    "code_distance": "squared Mahalanobis distance a dimension, each layer's w against the native "
    f"w of that layer ({NATIVE}), mean over layers",
    "code_radius": "distance from the native mean over all layers, the held-out native samples' "
    f"median is 1 ({NATIVE})",
}
BEYOND = "share of codes beyond the furthest held-out native sample; {text}"
ERROR = (
    "ours: squared code error on {n} images G(M(z)) whose code is known, as a share of the native "
    "variance: 0 is exact, 1 the mean code's, 2 another sample's; mean over images"
)
ONE = (
    "ours: mean change of {name}, as the attribute network reads it (probability, or value in "
    "[-1, 1]), from the inversion to the edit, for each unit of α along {name}"
)
MEAN = "mean of moved_<attribute> over the directions that the attribute network reads"
LEAK = (
    "ours: mean absolute change of the attributes that an edit does not aim at, for each unit of α"
)
CEILING_OF = "of native codes themselves: {what}"
CEILING = "the same edits of as many native codes M(z): {text}"


class KnownImages(Dataset[dict[str, Any]]):
    """G's images of known native codes, with the items of a split.

    Args:
        found: synthesises images of codes.
        codes: float [K, L, w_dim].
    """

    def __init__(self, found: Inversions, codes: Tensor) -> None:
        parts = codes.split(BLOCK)
        self.images = torch.cat([found.synthesise(part) for part in parts])
        self.names = [f"native_{i:05d}" for i in range(len(codes))]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"image": self.images[i], "id": i, "name": self.names[i]}


def shown_by(context: EvaluationContext, found: Inversions) -> Inversions:
    """Return a copy with G in float32, whatever precision a Trainer has set, to render codes."""
    generator = copy.deepcopy(context.generator).to(found.device, torch.float32).eval()
    plain = "none" if context.inverter.settings.get("noise") == "none" else "const"
    return replace(found, generator=generator, plain_noise=plain)


@torch.no_grad()
def native_samples(generator: Any, index: Iterable[int], *, seed: int) -> Tensor:
    """Return M(z) by sample index, independent of the other indices: float32 [m, L, w_dim], CPU.

    Raises:
        ConfigError: G is conditional.
    """
    streams = [image_rng(seed, i, purpose="native codes") for i in index]
    z = torch.stack([torch.randn(generator.z_dim, generator=rng) for rng in streams])
    return mapped(generator, z.to(generator.w_avg)).float().cpu()


@torch.no_grad()
def distribution(generator: Any, *, seed: int) -> NativeCodes:
    """Return the distribution of a generator's native codes, see `NativeCodes`."""

    def block(number: int) -> Tensor:
        rng = image_rng(seed, number, purpose="native distribution")
        z = torch.randn(BLOCK, generator.z_dim, generator=rng)
        codes = mapped(generator, z.to(generator.w_avg))
        return codes if generator.multi_w else codes[:, :1]

    return estimated(map(block, range(2 * BLOCKS)), blocks=BLOCKS)


def invert_known(context: EvaluationContext, found: Inversions | None) -> Inversions | None:
    """Invert images of known codes by the context's method; every rank must call it.

    The results are in `known/` beside the method's other parts; an interrupted call resumes there.

    Args:
        context: the method.
        found: its inversions on the first rank, else None.
    """
    count = min(KNOWN, math.ceil(context.count / 4))
    plain = Inversions(context.inversions, [], torch.device("cpu"), context.dataset)
    here = shown_by(context, plain if found is None else replace(found, device=plain.device))
    codes = native_samples(here.generator, range(count), seed=context.seed)
    known = {"seed": context.seed, "noise": here.plain_noise}
    return predict(
        context,
        out=context.inversions / "known",
        identity={**context.identity, "known": known},
        dataset=KnownImages(here, codes),
        paired=False,
        recompute=context.recompute,
        label=f"{context.method}, known codes",
    )


def measure_codes(
    context: EvaluationContext, found: Inversions, known: Inversions | None
) -> MetricValues:
    """Measure the requested metrics of codes.

    Args:
        context: names, seed, attribute network, directions.
        found: the inversions.
        known: the inversions of images whose code is known, for the error.
    """
    measured, names = MetricValues(), set(context.metric_names) & COLUMNS.keys()
    if not names:
        return measured
    found = shown_by(context, found)
    if names & {CODE_DISTANCE, CODE_ERROR}:
        native = distribution(found.generator, seed=context.seed)
    if CODE_DISTANCE in names:
        measured = measured | distances(found.codes, native, seed=context.seed)
    if CODE_ERROR in names and known is not None:
        codes = native_samples(found.generator, range(len(known)), seed=context.seed)
        errors = native.error(known.codes, codes)
        text = ERROR.format(n=len(known))
        measured.add_mean(CODE_ERROR, errors, seed=context.seed, text=text)
    if EDITABILITY in names:
        measured = measured | _editability(context, found)
    return measured


def distances(codes: Tensor, native: NativeCodes, *, seed: int) -> MetricValues:
    """Measure distances and radii of codes: median, 95th percentile, share beyond native samples.

    Args:
        codes: float [n, L, w_dim].
        native: the distribution.
        seed: seed of the resampling for intervals.
    """
    found = MetricValues()
    ceilings = {"code_distance": native.distances, "code_radius": native.radii}
    places = resampled(len(codes), seed=seed, name="images")
    words = WORDS.format(resamples=RESAMPLES)
    for name, values in (
        ("code_distance", native.distance(codes)),
        ("code_radius", native.radius(codes)),
    ):
        text, held = f"ours: {TEXTS[name]}", ceilings[name]
        held = held if name == "code_distance" else held / held.median()
        for suffix, share in (("", 0.5), ("_p95", 0.95)):
            value = values.quantile(share).item()
            pair = (
                interval(value, values[places].quantile(share, dim=1)) if len(codes) > 1 else None
            )
            what = "median over images" if share == 0.5 else "95th percentile over images"
            line = f"{text}; {what}" + (f"; {words}" if pair else "")
            found.add(f"{name}{suffix}", value, line, pair)
            of = CEILING_OF.format(what=what.replace("images", "held-out native samples"))
            found.add(f"{name}{suffix}_native", held.quantile(share).item(), f"{text}; {of}")
        beyond = (values > held.max()).double()
        found.add_mean(f"{name}_beyond", beyond, seed=seed, text=BEYOND.format(text=text))
    return found


def editable(context: EvaluationContext) -> Mapping[str, Any]:
    """Return the directions of attributes that the attribute network reads.

    Raises:
        ConfigError: there are none, or no attribute network.
        CheckpointError: the directions do not match G.
    """
    network, names = context.needed_attributes, context.needed_attributes.names
    wire.require_reads(network, context.generator.resolution, key="attributes.path")
    chosen = open_directions(context, path=None, names=None)
    known = {name: one for name, one in chosen.items() if name in names}
    if not known:
        raise ConfigError(
            f"the attribute network reads {', '.join(names)}, and directions are for "
            f"{', '.join(chosen) or 'nothing'}"
        )
    return known


def why_not_editable(context: EvaluationContext) -> str:
    """Return why editability cannot be measured; empty if it can."""
    try:
        editable(context)
    except (ConfigError, CheckpointError) as error:
        return str(error).rstrip(".")
    return ""


def _editability(context: EvaluationContext, found: Inversions) -> MetricValues:
    """Edit inversion i along direction i mod D by step (i div D) mod S, as in task=manipulation."""
    directions = editable(context)
    names, n = list(directions), len(found)
    aimed = [names[i % len(names)] for i in range(n)]
    alpha = [STEPS[i // len(names) % len(STEPS)] for i in range(n)]

    def move(codes: Tensor, places: Sequence[int]) -> Tensor:
        rows = zip(codes.split(1), places, strict=True)
        return torch.cat([manipulate(c, directions[aimed[i]], [alpha[i]])[:, 0] for c, i in rows])

    def edited() -> Iterator[Tensor]:
        for first, last in found.chunks:
            places = torch.arange(first, last)
            moved = move(found.codes[first:last], range(first, last))
            yield found.synthesise(moved, found.noise(places))

    measured = measured_movement(context, found, edited(), move=move, aimed=aimed, alpha=alpha)
    kept = {"moved", "leaked", "moved_native", "leaked_native"}
    return MetricValues(
        {name: value for name, value in measured.metrics.items() if name in kept},
        {name: text for name, text in measured.protocol.items() if name in kept},
        {name: pair for name, pair in measured.intervals.items() if name in kept},
    )


def measured_movement(
    context: EvaluationContext,
    found: Inversions,
    edits: Iterable[Tensor],
    *,
    move: Callable[[Tensor, Sequence[int]], Tensor],
    aimed: Sequence[str],
    alpha: Sequence[float],
) -> MetricValues:
    """Measure how far edits move the attributes that a network reads, also for native codes.

    Args:
        context: attribute network and seed.
        found: the inversions, with G.
        edits: their edits, blocks of uint8 images.
        move: applies the edits of the inversions at the given indices to codes.
        aimed, alpha: see `movement`.
    """
    network = context.attributes
    if network is None or not set(aimed) & set(network.names):
        return MetricValues()
    if network.resolution != found.generator.resolution:
        told = f"the attribute network takes images of {network.resolution} px"
        warnings.warn(f"left out moved and leaked: {told}", Note, stacklevel=2)
        return MetricValues()
    network.to(found.device).eval()

    @torch.no_grad()
    def read(images: Iterable[Tensor]) -> Tensor:
        return torch.cat([network.predict(to_float(x.to(found.device))).cpu() for x in images])

    def compared(before: Iterable[Tensor], after: Iterable[Tensor]) -> MetricValues:
        options: dict[str, Any] = {"names": network.names, "aimed": aimed, "seed": context.seed}
        return movement(read(before), read(after), alpha=torch.tensor(alpha), **options)

    measured = compared((part.images for part in found.parts()), edits)
    if getattr(found.generator, "c_dim", 0):
        return measured
    chunks = spans(len(found), size=max(last - first for first, last in found.chunks))
    blocks = [range(*chunk) for chunk in chunks]
    codes = [native_samples(found.generator, places, seed=context.seed) for places in blocks]
    ceiling = compared(
        map(found.synthesise, codes), map(found.synthesise, map(move, codes, blocks))
    )
    for name in ("moved", "leaked"):
        if name in ceiling.metrics:
            text = CEILING.format(text=ceiling.protocol[name])
            pair = ceiling.intervals.get(name)
            measured.add(f"{name}_native", ceiling.metrics[name], text, pair)
    return measured


def movement(
    before: Tensor,
    after: Tensor,
    *,
    names: Sequence[str],
    aimed: Sequence[str],
    alpha: Tensor,
    seed: int = 0,
) -> MetricValues:
    """Measure the change of attributes per unit of step.

    Args:
        before: attributes of the inversions, float [n, A], on the labels' scale.
        after: attributes of the edits, float [n, A].
        names: names of the A attributes.
        aimed: the target attribute of each edit; edits of other attributes are omitted.
        alpha: each edit's step, float [n], none of them 0.
        seed: seed of the resampling for intervals.

    Returns:
        `moved_<name>` for every target attribute, `moved` their mean, `leaked` for the other
        attributes of the same edits.
    """
    change = (after.double() - before.double()) / alpha.double()[:, None]  # [n, A]
    measured, others = MetricValues(), []
    for name in dict.fromkeys(aimed):
        if name not in names:
            continue
        rows = change[torch.tensor([a == name for a in aimed])]
        column = list(names).index(name)
        measured.add_mean(f"moved_{name}", rows[:, column], seed=seed, text=ONE.format(name=name))
        others.append(rows[:, [k for k in range(len(names)) if k != column]].abs())
    if measured.metrics:
        values, pairs = list(measured.metrics.values()), list(measured.intervals.values())
        mean, half = sum(values) / len(values), None
        if len(pairs) == len(values):  # of disjoint images: their squared errors add up
            half = math.sqrt(sum((high - low) ** 2 for low, high in pairs)) / 2 / len(pairs)
        measured.add("moved", mean, MEAN, None if half is None else (mean - half, mean + half))
        if len(names) > 1:
            measured.add_mean("leaked", torch.cat(others).mean(dim=1), seed=seed, text=LEAK)
    return measured
