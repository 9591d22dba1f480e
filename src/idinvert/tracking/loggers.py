"""Lightning loggers with images seen as the x-axis: CSV, TensorBoard, W&B."""

import contextlib
import csv
import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from idinvert.durable import append, write
from idinvert.errors import ConfigError, OutputError
from idinvert.tracking.artifacts import made_artifact
from idinvert.tracking.run_files import read_rows
from idinvert.tracking.wandb_run import TrackedRun


class CsvLogger(Logger):
    """Appends one JSON object per row to ``metrics.jsonl``; writes ``metrics.csv`` at the end.

    A resumed run drops the rows after its checkpoint, so that no images are counted twice.

    Args:
        folder: The run's folder.
        resume_nimg: Images seen at the checkpoint; rows beyond it are dropped.
    """

    def __init__(self, *, folder: str | Path, resume_nimg: int = 0) -> None:
        super().__init__()
        self.folder = Path(folder)
        self._resume_nimg: int | None = resume_nimg

    @property
    def name(self) -> str:
        """The kind of logger."""
        return "csv"

    @property
    def version(self) -> str:
        """Empty: each run has its own folder."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run's folder."""
        return str(self.folder)

    @property
    def path(self) -> Path:
        """The file of the rows."""
        return self.folder / "metrics.jsonl"

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: the run's ``config.yaml`` has the settings."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Appends a row.

        Args:
            metrics: Name to value.
            step: Images seen.
        """
        if self._resume_nimg is not None:
            self._drop_after(self._resume_nimg)
            self._resume_nimg = None
        row = {"nimg": step} | {name: float(value) for name, value in metrics.items()}
        row["nimg"] = int(row["nimg"] or 0)
        append(self.path, json.dumps(row))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Writes ``metrics.csv`` with all columns of all rows."""
        rows = read_rows(self.path)
        if not rows:
            return
        columns = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=columns)
        writer.writeheader()
        writer.writerows(rows)
        # After an error, a full disk must not hide the original error.
        with contextlib.nullcontext() if status == "success" else contextlib.suppress(OutputError):
            write(self.folder / "metrics.csv", text.getvalue())

    def _drop_after(self, nimg: int) -> None:
        kept = [row for row in read_rows(self.path) if row["nimg"] <= nimg]
        write(self.path, "".join(json.dumps(row) + "\n" for row in kept))


class NimgTensorBoardLogger(TensorBoardLogger):
    """Writes events to ``<run>/tensorboard``; the step of rows and pictures is ``nimg``.

    Args:
        folder: The run's folder.
        options: Options of TensorBoard's ``SummaryWriter``.
    """

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(save_dir=folder, name="tensorboard", version="", **options)

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: the run's ``config.yaml`` has the settings."""

    @rank_zero_only
    def save(self) -> None:
        """Flushes, without the hyperparameter file that Lightning would write."""
        self.experiment.flush()

    @rank_zero_only
    def log_image(
        self, key: str, images: list[np.ndarray], step: int | None = None, **kwargs: Any
    ) -> None:
        """Logs uint8 pictures ``[H, W, 3]`` of equal size, one below the other."""
        self.experiment.add_image(key, np.concatenate(images), step, dataformats="HWC")


def require_tensorboard() -> None:
    """Refuses ``logger=tensorboard`` before any work if TensorBoard is not installed.

    Raises:
        ConfigError: Names the extra.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ConfigError("logger=tensorboard needs an extra: pip install 'idinvert[tensorboard]'")


class NimgWandbLogger(WandbLogger):
    """Writes ``nimg`` into each row and never passes a step to W&B.

    Lightning would log ``trainer/global_step``, which counts twice with two optimisers.

    Args:
        tracked: The run.
    """

    def __init__(self, tracked: TrackedRun) -> None:
        super().__init__(experiment=tracked.run)
        self.tracked = tracked

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Logs a row at ``nimg = step``."""
        self.tracked.log(dict(metrics) | {"nimg": step})

    def log_image(
        self, key: str, images: list[Any], step: int | None = None, **kwargs: Any
    ) -> None:
        """Logs a list of pictures under one key; ``caption`` contains their fixed ids."""
        import wandb

        captions = kwargs.get("caption") or [None] * len(images)
        shown = [
            wandb.Image(image, caption=caption)
            for image, caption in zip(images, captions, strict=True)
        ]
        self.tracked.log({key: shown, "nimg": step})

    def log_weights(
        self, role: str, path: Path, *, aliases: list[str], sha: str, facts: dict[str, Any]
    ) -> None:
        """Logs a network's release file as the artifact ``<role>-<run id>``.

        Args:
            role: ``encoder``, ``generator``, …
            path: The file.
            aliases: ``last``, ``best``, …
            sha: Fingerprint of its content; evaluations find the file by the alias ``sha-<sha>``.
            facts: Its provenance.
        """
        if self.tracked.uploads:
            content = {f"{role}.safetensors": path}
            name = f"{role}-{self.tracked.run.id}"
            artifact = made_artifact(name, "weights", content, facts=facts)
            self.tracked.artifact(artifact, aliases=[*aliases, f"sha-{sha}"])

    def finalize(self, status: str) -> None:
        """Ends the W&B run, so that a sweep's next run in this process opens its own."""
        self.tracked.finish(failed=status not in ("success", "finished"))
