"""Task: a figure of native codes and the codes of several methods in one plane."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from idinvert.durable import written_whole
from idinvert.errors import ConfigError
from idinvert.evaluation.code_metrics import distances, distribution, native_samples
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.inversions import invert_images, require_codes
from idinvert.evaluation.pictures import DPI, INK
from idinvert.metrics.plane import Contour, Plane, native_contour, principal_plane
from idinvert.metrics.protocol import MetricValues
from idinvert.results.record import Record

NATIVE = "native codes M(z)"
SAMPLES = 2000
"""Number of native codes from which the contour is estimated."""
OUTSIDE = "share of codes outside the ellipse that holds 99 % of the native codes in the plane"
PLANES = {
    "all": "principal components of native codes and of all methods' codes, each set of one weight",
    "native": "principal components of native codes alone",
}


def draw_map(
    context: EvaluationContext,
    *,
    methods: list[dict[str, Any]],
    plane: Literal["all", "native"] = "all",
) -> list[Record]:
    """Draw the codes of several methods beside native codes, and measure how far they differ.

    All layers of a code form one vector. Writes `pictures.png` and `pictures.pdf`. Source: the
    walkthrough's Fig. 8 (force-in-domain), whose projection is not described.

    Args:
        methods: entries with the methods' overrides, all of one generator.
        plane: "all" for the principal plane of all sets, "native" for that of native codes alone.

    Returns:
        One record per method: `outside`; `plane_share`, the share of its codes' variance in the
        plane, and `plane_share_all`, that of the codes that define the plane; distances to native
        codes; and the coordinates as `series` x and y.

    Raises:
        ConfigError: no methods, two with the same label, different generators, or a conditional
            generator.
    """
    context.entries.check_methods(methods, key="task.methods")
    labels = [method["label"] for method in methods]
    contexts = [context.variant(method) for method in methods]
    if len({*labels, NATIVE}) <= len(labels):
        raise ConfigError(f"task.methods has the labels {', '.join(labels)}: give each its own.")
    for one in contexts:
        require_codes(one, task="codes_map")
    generators = {
        label: (one.generator and one.checkpoints["generator"])
        for label, one in zip(labels, contexts, strict=True)
    }
    if len(set(generators.values())) > 1:
        told = ", ".join(f"{label}: {mark}" for label, mark in generators.items())
        raise ConfigError(f"task.methods are of different generators ({told}): give those of one.")
    options = {
        "methods": [[label, one.identity] for label, one in zip(labels, contexts, strict=True)]
    }
    first = contexts[0]
    native = native_samples(first.generator, range(SAMPLES), seed=context.seed)
    out = first.folder("codes_map", **options, plane=plane, n=first.n)
    with context.locked(out, *(one.inversions.parent for one in contexts)):
        begin = time.monotonic()
        inverted = [invert_images(one) for one in contexts]
        done = {label: found for label, found in zip(labels, inverted, strict=True) if found}
        if not done:
            return []
        codes = {label: found.codes for label, found in done.items()}
        few = native[: first.count]
        known = principal_plane([few] if plane == "native" else [few, *codes.values()])
        contour = native_contour(known.places(native))
        _draw(known, contour, {NATIVE: native, **codes}, out)
        known_native = distribution(first.generator, seed=context.seed)
        records = []
        for (label, found), one in zip(done.items(), contexts, strict=True):
            places = known.places(found.codes)
            measured, detail = MetricValues(), f"{PLANES[plane]}; {len(few)} codes a set"
            outside = contour.outside(places).double()
            measured.add_mean("outside", outside, seed=context.seed, text=f"{OUTSIDE}; {detail}")
            shares = {"plane_share": known.share_of(found.codes), "plane_share_all": known.share}
            for name, value in shares.items():
                of = "the method's codes" if name == "plane_share" else "all that the plane is of"
                measured.add(name, value, f"share of the variance in the plane, of {of}; {detail}")
            measured = measured | distances(found.codes, known_native, seed=context.seed)
            series = {axis: places[:, k].tolist() for k, axis in enumerate("xy")}
            ours: dict[str, Any] = {"options": {"label": label, "plane": plane}, "series": series}
            records.append(one.record("codes_map", measured, **ours, **found.work(begin)))
        return context.finish(records, out)


def _draw(plane: Plane, contour: Contour, sets: Mapping[str, Tensor], out: Path) -> None:
    """Draw the sets as points, and the native contour as a line."""
    figure = Figure(figsize=(7.2, 5.2), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for k, (label, codes) in enumerate(sets.items()):
        x, y = plane.places(codes).T.tolist()
        native = label == NATIVE
        colour = "#b8b8b8" if native else f"C{(k - 1) % 10}"
        name = (
            f"{label} ({100 * contour.outside(plane.places(codes)).double().mean():.0f} % outside)"
        )
        axes.scatter(x, y, s=9, color=colour, alpha=0.6, linewidths=0, label=name)
    x, y = contour.line().T.tolist()
    axes.plot(x, y, color=INK, linewidth=1, label="99 % of native codes")
    axes.set(xlabel="first principal component", ylabel="second principal component")
    axes.set_aspect("equal", adjustable="datalim")
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{100 * plane.share:.0f} % of the variance lies in this plane", fontsize=10)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    for kind, unset in (("png", "Software"), ("pdf", "CreationDate")):
        with written_whole(out / f"pictures.{kind}") as whole:
            figure.savefig(whole, format=kind, metadata={unset: None})
