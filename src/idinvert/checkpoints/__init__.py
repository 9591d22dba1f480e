"""Weights in and out: any checkpoint family, the release format, the registry, shipped assets."""

from typing import Any


def __getattr__(name: str) -> Any:
    """``open_checkpoint``, imported when it is asked for."""
    if name == "open_checkpoint":
        from idinvert.checkpoints.checkpoint import open_checkpoint

        return open_checkpoint
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
