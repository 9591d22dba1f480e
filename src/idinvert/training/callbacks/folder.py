"""Where a run keeps its checkpoints."""

from pathlib import Path

PATTERN = "nimg-{nimg:09d}.ckpt"


def checkpoints_in(folder: Path) -> list[Path]:
    """The complete checkpoints in ``folder``, oldest first, without half-written files."""
    return sorted(folder.glob("nimg-*.ckpt"))


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint in ``folder``, or ``None``."""
    found = checkpoints_in(folder)
    return found[-1] if found else None


def nimg_of(checkpoint: Path | None) -> int:
    """The images seen at a checkpoint of this folder; 0 without one."""
    return 0 if checkpoint is None else int(checkpoint.stem.removeprefix("nimg-"))
