"""The identity of runs, evaluations, inversions and their cached results.

The same identity means the same output: a run is continued, an evaluation is not measured again,
and a cached result is read from disk. An identity therefore includes every key that can change the
output, and files by content.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

import idinvert

MOVED = {
    "idinvert.inversion.in_domain.InDomain": "idinvert.inversion.optimize_codes.InDomain",
    "idinvert.inversion.free.Free": "idinvert.inversion.optimize_codes.Free",
    "idinvert.inversion.image2stylegan.Image2": "idinvert.inversion.optimize_codes.Image2",
    "idinvert.cli.tasks.own_images.invert_own": "idinvert.evaluation.invert.invert",
    "idinvert.cli.tasks.initial.": "idinvert.evaluation.untrained_encoder.",
    "idinvert.cli.tasks.": "idinvert.evaluation.",
    "idinvert.weights.": "idinvert.checkpoints.",
    "idinvert.data.miniature.": "idinvert.toy.miniature.",
    "idinvert.data.published.": "idinvert.data.paper_splits.",
}
"""Prefix of a ``_target_`` as first stored in runs, to its present name."""

NOT_SCIENCE = (
    "run",
    "classes",
    "name",
    "tags",
    "callbacks",
    "nimg",
    "max_seconds",
    "optimized_metric",
    "accumulate",
    "checkpoint",
    "logging",
    "logger",
    "system",
    "metric",
    "eval_batch_size",
    "scale",
    "sweep",
    "row",
)
"""Top-level keys that change neither the networks nor the metrics of a run.

The values that ``scale`` sets are resolved at the keys that use them.
"""


def scientific_config(
    config: dict[str, Any],
    *,
    contents: dict[str, str],
    batch_norm_group: int | None,
) -> dict[str, Any]:
    """The part of the configuration that determines the run's identity.

    Args:
        config: The resolved configuration as plain values.
        contents: Top-level key (``data``, ``generator``, …) to the content hash of the files at its
            paths; it replaces every ``path`` and ``cache_dir`` below that key.
        batch_norm_group: Images that share BatchNorm statistics; ``None`` without BatchNorm.

    Returns:
        Plain values that do not depend on the machine or the number of devices.
    """
    science = {key: value for key, value in config.items() if key not in NOT_SCIENCE}
    precision = (science.pop("trainer", None) or {}).get("precision")
    if "path" in (science.get("attributes") or {}):
        del science["attributes"]  # a trained attribute network only reads labels after training
    if (config.get("system") or {}).get("tf32"):
        science["tf32"] = True
    _leave_out_what_is_off(science)
    for key, digest in contents.items():
        science[key] = {"content": digest, "choices": _without_paths(science.get(key))}
    science |= {"precision": precision, "batch_norm_group": batch_norm_group}
    return original_targets(science)


def run_identity(science: dict[str, Any]) -> str:
    """Ten letters from the hash of :func:`scientific_config`.

    There are no digits: on a command line, ``run=12e4567890`` would be read as a number.
    """
    letters = str.maketrans("0123456789abcdef", "abcdefghijklmnop")
    return digest_of(science)[:10].translate(letters)


WITHOUT_EFFECT = {
    "run": "its values stand at their own keys, networks and images by content",
    "classes": "what may be built; what is built stands at its own key",
    "name": "what people call it",
    "tags": "words to find it by",
    "row": "a place in a sweep",
    "sweep": "a list of commands; each has an identity of its own",
    "table": "shows records and makes none of its own",
    "records": "of table=",
    "evaluate_missing": "of table=",
    "recompute": "asks for the same again",
    "usual": "which keys nobody asked for; their values stand at the keys",
    "verify": "asks for hashes to be computed anew; they are the same",
    "logger": "where metrics are shown",
    "system": "the machine: folders, processes, threads; threads and graphs round otherwise",
    "batch_size": "images are worked on independently; another batch rounds otherwise",
    "trainer": "devices and processes, which round otherwise; the record names the device",
    "scale": "what it sets stands resolved where it is used",
    "data.cache_dir": "where images are kept that can be made again",
}
"""Keys of ``evaluate.py`` that, with all keys below, change metrics by rounding only, and why."""
KEPT = ("trainer.precision", "system.tf32", "scale.name")
"""Keys below `WITHOUT_EFFECT` that do change metrics."""
BUILT_WITH = ("fused_scale", "final_tanh", "conv_clamp", "mapping_lr_mul")
"""Keys of ``generator=checkpoint`` added later, see `idinvert.checkpoints.checkpoint`."""
LATER = (
    *(
        "observe",
        "task.statistics",
        "task.steps",
        "task.lr",
        "metric.prc_vgg16_path",
        *(f"generator.{name}" for name in BUILT_WITH),
        "generator.label",
    ),
    *(
        "data.megapixels",
        "data.classes",
        *(f"data.split.{name}" for name in ("train", "test", "seed", "val")),
    ),
)
"""Keys added later. Without a value they are left out, so that older identities do not change."""
SEGMENTED = ("segmentation", "dissection", "intervention", "paint")
"""Tasks, by file name, that use the segmenter."""


def evaluation_config(config: dict[str, Any], *, contents: Mapping[str, str]) -> dict[str, Any]:
    """Everything that the metrics of an evaluation depend on.

    Args:
        config: The resolved configuration as plain values, with the values of its run.
        contents: Dotted key to the content hash of its files, which replaces the key's value. May
            contain other names, for inputs that have no key.

    Returns:
        Plain values that do not depend on the machine or on where the files are.
    """
    target = str((config.get("task") or {}).get("_target_"))
    if not any(f".{name}." in target for name in SEGMENTED):
        config = {key: value for key, value in config.items() if key != "segmenter"}
        contents = {key: value for key, value in contents.items() if key != "segmenter.path"}
    choices = original_targets(_choices(config, "", contents))
    return {"choices": choices, "contents": dict(contents), "version": idinvert.__version__}


def evaluation_identity(config: dict[str, Any], *, contents: Mapping[str, str]) -> str:
    """Twelve hex digits from the hash of `evaluation_config`."""
    return digest_of(evaluation_config(config, contents=contents))[:12]


def inversion_identity(
    *,
    checkpoints: Mapping[str, str],
    settings: Mapping[str, Any],
    data: Mapping[str, Any],
    ids: Any,
    precision: str,
    weights: Mapping[str, str],
) -> dict[str, Any]:
    """Everything that cached inversions depend on; results made from them add their own choices.

    Args:
        checkpoints: Role to content hash.
        settings: Settings of the method.
        data: Name, resolution, fingerprint and split of the images.
        ids: Ids of the images, which seed the random numbers.
        precision: Precision of the arithmetic, as text.
        weights: Metric measured for each image to the content hash of its weights.
    """
    found = {
        "checkpoints": dict(checkpoints),
        "inversion": dict(settings),
        "data": dict(data),
        "ids": digest_of(ids)[:16],
        "precision": precision,
        "version": idinvert.__version__,
    }
    return found | ({"weights": dict(weights)} if weights else {})


def mark_of(*values: Any) -> str:
    """Eight hex digits for a folder's name, which keep apart results that must not be mixed."""
    return digest_of(values)[:8]


def digest_of(values: Any) -> str:
    """Hashes plain values to 64 hex digits, independently of how they were typed.

    ``lambda_dom=2`` and its default ``2.0`` are equal, and the order of keys has no effect.
    """
    text = json.dumps(_as_numbers(values), sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _choices(node: Any, at: str, contents: Mapping[str, str]) -> Any:
    """The configuration without keys that have no effect or are represented by a content hash."""
    if not isinstance(node, dict):
        return node
    found = {f"{at}{key}": value for key, value in node.items()}
    return {
        key.removeprefix(at): _choices(value, f"{key}.", contents)
        for key, value in found.items()
        if key not in contents
        and not has_no_effect(key)
        and (value is not None or key not in LATER)
    }


def has_no_effect(key: str) -> bool:
    """Whether a dotted key of ``evaluate.py`` is one of `WITHOUT_EFFECT`, or below one."""
    parts = key.split(".")
    above = {".".join(parts[:end]) for end in range(1, len(parts) + 1)}
    kept = any(f"{name}.".startswith(f"{key}.") for name in KEPT)
    return bool(above & WITHOUT_EFFECT.keys()) and not kept


def _as_numbers(values: Any) -> Any:
    if isinstance(values, dict):
        return {str(key): _as_numbers(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_as_numbers(value) for value in values]
    if isinstance(values, float) and values.is_integer():
        return int(values)
    return values


def _leave_out_what_is_off(science: dict[str, Any]) -> None:
    """Removes, in place, features added later that are off, so that older identities are kept."""
    if not science.get("recalibrate"):
        science.pop("recalibrate", None)
    if not science.get("segmenter"):
        science.pop("segmenter", None)
    if "_target_" not in (science.get("augment") or {}):
        science.pop("augment", None)
    if "path" in (science.get("generator") or {}):
        science["generator"] = _without_null(science["generator"], "generator.", LATER)
    if "split" in (data := science.get("data") or {}) or "megapixels" in data:
        science["data"] = _without_null(data, "data.", LATER)
    objective = science.get("objective") or {}
    if objective.get("path_length_every") == 0:
        science["objective"] = {
            key: value for key, value in objective.items() if not key.startswith("path_length_")
        }


def _without_null(node: Any, at: str, keys: Collection[str]) -> Any:
    """A node without those of the dotted `keys` that have no value."""
    if not isinstance(node, dict):
        return node
    return {
        key: _without_null(value, f"{at}{key}.", keys)
        for key, value in node.items()
        if value is not None or f"{at}{key}" not in keys
    }


def _without_paths(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            key: _without_paths(value)
            for key, value in node.items()
            if key not in ("path", "cache_dir")
        }
    return node


def present_targets(node: Any) -> Any:
    """A stored configuration with the present names of its ``_target_`` values."""
    return _renamed(node, MOVED)


def original_targets(node: Any) -> Any:
    """A configuration with the original names, used in identities: moving a class keeps them."""
    return _renamed(node, {new: old for old, new in MOVED.items()})


def _renamed(node: Any, prefixes: Mapping[str, str]) -> Any:
    if isinstance(node, list):
        return [_renamed(value, prefixes) for value in node]
    if not isinstance(node, dict):
        return node
    renamed = {key: _renamed(value, prefixes) for key, value in node.items()}
    for old, new in prefixes.items():
        if (name := str(node.get("_target_", ""))).startswith(old):
            return renamed | {"_target_": new + name.removeprefix(old)}
    return renamed
