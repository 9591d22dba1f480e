"""Run identity: what makes two runs the same experiment."""

import hashlib
import json
from typing import Any

NOT_SCIENCE = (
    "run",
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
"""Top-level keys that change neither the networks nor the figures of a run.

What ``scale`` sets stands resolved where it is used.
"""


def scientific_config(
    config: dict[str, Any],
    *,
    contents: dict[str, str],
    batch_norm_group: int | None,
) -> dict[str, Any]:
    """The part of the configuration that the run's identity is made of.

    Args:
        config: The resolved configuration as plain values.
        contents: Top-level key (``data``, ``generator``, …) to the content hash of what its paths
            point to; it replaces every ``path`` and ``cache_dir`` below that key.
        batch_norm_group: Images that share BatchNorm statistics; ``None`` without BatchNorm.

    Returns:
        Plain values, the same wherever the run is started and on however many devices.
    """
    science = {key: value for key, value in config.items() if key not in NOT_SCIENCE}
    precision = (science.pop("trainer", None) or {}).get("precision")
    if "path" in (science.get("attributes") or {}):
        del science["attributes"]  # a trained one only reads labels afterwards
    _leave_out_what_is_off(science)
    for key, digest in contents.items():
        science[key] = {"content": digest, "choices": _without_paths(science.get(key))}
    return science | {"precision": precision, "batch_norm_group": batch_norm_group}


LETTERS = str.maketrans("0123456789abcdef", "abcdefghijklmnop")


def run_identity(science: dict[str, Any]) -> str:
    """Ten letters from the hash of :func:`scientific_config`.

    Letters alone: on a command line, ``run=12e4567890`` would be read as a number.
    """
    return digest_of(science)[:10].translate(LETTERS)


def digest_of(values: Any) -> str:
    """64 hex digits that depend on plain values, and not on how they were typed.

    ``lambda_dom=2`` and its default ``2.0`` are one number, and the order of keys says nothing.
    """
    text = json.dumps(_as_numbers(values), sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _as_numbers(values: Any) -> Any:
    if isinstance(values, dict):
        return {str(key): _as_numbers(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_as_numbers(value) for value in values]
    if isinstance(values, float) and values.is_integer():
        return int(values)
    return values


def _leave_out_what_is_off(science: dict[str, Any]) -> None:
    """Takes out, in place, what came later and is off: runs from before it keep their identity."""
    if "_target_" not in (science.get("augment") or {}):
        science.pop("augment", None)
    objective = science.get("objective") or {}
    if objective.get("path_length_every") == 0:
        science["objective"] = {
            key: value for key, value in objective.items() if not key.startswith("path_length_")
        }


def _without_paths(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            key: _without_paths(value)
            for key, value in node.items()
            if key not in ("path", "cache_dir")
        }
    return node
