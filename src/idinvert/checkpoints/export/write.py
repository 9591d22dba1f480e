"""Writing a plain ``.pt`` so that it appears whole or not at all."""

import contextlib
import os
from pathlib import Path
from typing import Any

import torch

from idinvert.errors import CheckpointError


def write_pt(content: dict[str, Any], path: str | Path, *, key: str = "path") -> None:
    """Writes tensors, numbers and text, which ``torch.load(weights_only=True)`` reads.

    Args:
        content: What `to_rosinality` or `to_nvlabs` give.
        path: Where to; folders are made, an older file stays until the new one is complete.
        key: The config key or argument that named it, for messages.

    Raises:
        CheckpointError: The disk refused.
    """
    path = Path(path).expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with open(partial, "wb") as file:
                torch.save(content, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: could not be written ({error}); an older file there is unchanged. Free the "
            f"disk or change {key}"
        ) from error
