"""Refuses numbers of the configuration that are out of their range."""

import math
from typing import Any

from idinvert.errors import ConfigError


def require_number(
    key: str, value: Any, *, low: float, high: float = math.inf, whole: bool = False
) -> None:
    """Refuses what is not a number of a range.

    Args:
        key: Where it stands in the configuration.
        value: What stands there.
        low: The smallest that is allowed.
        high: The largest.
        whole: Whether it must be an integer.

    Raises:
        ConfigError: It is not.
    """
    kind = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
        span = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        word = "a whole number" if whole else "a number"
        raise ConfigError(f"got {key}={value!r}, expected {word}, {span}; change {key}")
