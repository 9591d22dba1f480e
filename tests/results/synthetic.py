"""Records made up from clauses: what a table would be filled with once all was measured."""

from collections.abc import Mapping
from typing import Any

from idinvert.results.record import Record
from idinvert.results.select import Default, Within

NAMED = ("generator", "encoder", "inversion", "objective")
"""Choices with settings of their own."""


def record_for(where: Mapping[str, Any], *, value: float, run: str = "", **more: Any) -> Record:
    """A record that meets clauses, with every metric and series that a table asks for."""
    plain: dict[str, Any] = {"task": "reconstruction", "choices": {}, "data": {"split": "test"}}
    for path in sorted(where, key=lambda path: path.count(".")):
        wanted = where[path]
        if isinstance(wanted, Within):
            continue
        if isinstance(wanted, Default):
            wanted = wanted.value
        elif isinstance(wanted, list):
            wanted = wanted[0]
        *parts, last = path.split(".")
        node = plain
        for part in parts:
            node = node.setdefault(part, {})
        node[last] = {"name": wanted} if last in NAMED else wanted
    if "choices" not in where:  # there it is said that there are no more choices
        plain["choices"].setdefault("encoder", {"name": "base"})
    names = ("fd_attributes", "swd", "ssim", "mse", "seconds_per_image", "code_distance")
    names += ("code_radius_beyond", "code_error", "moved", "leaked")
    names += ("diverged", "val/mse", "loss/encoder", "loss/discriminator")
    metrics = {name: value + index for index, name in enumerate(names)}
    series = {}
    for name in ("age", "gender", "eyeglasses", "pose"):
        metrics[f"ap_{name}"] = 0.9
        series |= {f"{name}/recall": [0.0, 0.5, 1.0], f"{name}/precision": [1.0, 0.8, 0.5]}
    series |= {"loss/encoder/nimg": [64.0, 128.0, 256.0], "loss/encoder/value": [2.0, 0.5, value]}
    plain.setdefault("created", "2026-01-01T00:00:00.000+00:00")  # of equal age
    known = {"metrics": metrics, "series": series, "n": 7, "nimg": 100, "reference": "disjoint"}
    return Record(run=run or f"run{value:g}", **known | plain | more)
