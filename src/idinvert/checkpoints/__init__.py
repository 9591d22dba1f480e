"""Loading and saving of weights: checkpoint families, release format, registry, shipped assets."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Imports ``open_checkpoint`` on first access."""
    if name == "open_checkpoint":
        from idinvert.checkpoints.checkpoint import open_checkpoint

        return open_checkpoint
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
