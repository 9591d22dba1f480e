"""The default number of images and metrics of a task, as far as data and networks allow."""

import warnings
from typing import TYPE_CHECKING

from torch.utils.data import Dataset

from idinvert.errors import ConfigError, DataError, Note
from idinvert.evaluation.chunk_store import limit
from idinvert.inversion.inversion import gives_state
from idinvert.metrics.laplacian import pyramid_resolutions

if TYPE_CHECKING:
    from idinvert.evaluation.context import EvaluationContext

ALWAYS = ("mse", "psnr", "ssim")
"""Metrics per image that every inversion measures."""
SECONDS = "seconds_per_image"
ATTRIBUTES = "attributes"
CODE_DISTANCE, CODE_ERROR, EDITABILITY = "code_distance", "code_error", "editability"
OF_CODES = (CODE_DISTANCE, CODE_ERROR, EDITABILITY)
"""Metrics of codes, which task=reconstruction measures."""
ELSEWHERE = (SECONDS, ATTRIBUTES, *OF_CODES)
"""Metrics that `MetricSuite` does not compute."""


def count_of(dataset: Dataset, context: "EvaluationContext") -> int:
    """Return how many images a task uses: n, or all if n is None or a default that is too large.

    Raises:
        DataError: There are fewer than n, and n was set by the user; or none.
    """
    there = len(dataset)  # type: ignore[arg-type]
    if context.n is not None and 0 < there < context.n and "n" in context.config.get("usual", ()):
        warnings.warn(f"n={there}: the {context.split} split has no more", Note, stacklevel=2)
        return there
    return limit(dataset, context.n)


def not_measured(context: "EvaluationContext") -> dict[str, str]:
    """Return usual metrics that the data does not allow, and why; warns once for each reason.

    Missing weights are not such a reason: they raise an error that says where to get them.

    Returns:
        Name to reason; empty if the user set ``metric.names``.

    Raises:
        ConfigError: ``metric.names`` has a distance of sets, and a set has too few images.
    """
    if "metric.names" not in context.config.get("usual", ()):
        for name in context.config["metric"]["names"]:
            if _of_sets(name) and (reason := _too_few(name, context)):
                raise ConfigError(
                    f"metric.names asks for {name}, but {reason}: change n or the split's size "
                    "(data), or reference=same, or leave this metric out"
                )
        return {}
    reasons = {name: _why_not(name, context) for name in context.config["metric"]["names"]}
    found = {name: reason for name, reason in reasons.items() if reason}
    for reason in dict.fromkeys(found.values()):
        names = ", ".join(name for name in found if found[name] == reason)
        warnings.warn(f"left out {names}: {reason}", Note, stacklevel=2)
    return found


def _why_not(name: str, context: "EvaluationContext") -> str:
    """Return the reason, or an empty string."""
    if name == SECONDS or name in ALWAYS or name.startswith("lpips_"):
        return ""
    if name in OF_CODES:
        return _why_not_codes(name, context)
    resolution = context.domain.resolution
    if name == ATTRIBUTES and not context.labels:
        return "the data has no labels"
    extractor = name.partition("_")[2] if name[:3] in ("fd_", "kd_") else ""
    extractor = ATTRIBUTES if name == ATTRIBUTES else extractor
    if extractor and extractor not in context.extractors:
        called = "attribute network" if name == ATTRIBUTES else f"network {extractor}"
        return f"there is no {called}"
    if getattr(context.extractors.get(extractor), "resolution", resolution) != resolution:
        return f"the network {extractor} takes other images than {resolution} px"
    if name == "swd":
        try:
            pyramid_resolutions(resolution)
        except DataError as error:
            return str(error)
    return _too_few(name, context)


def _of_sets(name: str) -> bool:
    """Return whether a metric compares sets of images."""
    return not (name in (*ALWAYS, *ELSEWHERE) or name.startswith("lpips_"))


def _too_few(name: str, context: "EvaluationContext") -> str:
    """Return why the images are too few for a distance of sets, or an empty string."""
    there, least = len(context.dataset), 1 if name == "swd" else 2  # type: ignore[arg-type]
    half = there // 2 if context.reference == "disjoint" else there
    if min(context.count, half) < least:
        few = f"{there} image{'s' * (there != 1)} of the {context.split} split"
        few = f"n={context.count}" if context.count < min(least, half) else few
        return f"{few}: too few for a distance of sets"
    return ""


def _why_not_codes(name: str, context: "EvaluationContext") -> str:
    """Return why a metric of codes cannot be measured, or an empty string."""
    task = str((context.config.get("task") or {}).get("_target_"))
    if not task.endswith(".reconstruct"):
        return ""  # no other task measures it
    if gives_state(context.inverter):
        return f"inversion={context.method} gives features at a layer, which no code stands for"
    if getattr(context.generator, "c_dim", 0):
        return "the generator is conditional, and native codes are of a class (generator.label=0)"
    if name != EDITABILITY:
        return ""
    if context.attributes is None:
        return "there is no attribute network"
    from idinvert.evaluation.code_metrics import why_not_editable  # which imports this module

    return why_not_editable(context)
