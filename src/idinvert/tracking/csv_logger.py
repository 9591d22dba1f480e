"""The default logger: ``metrics.jsonl`` as it happens and ``metrics.csv`` for spreadsheets."""

import contextlib
import csv
import io
import json
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from idinvert.durable import append, write
from idinvert.errors import OutputError
from idinvert.tracking.rows import read_rows


class CsvLogger(Logger):
    """Appends one JSON object a row; rewrites the CSV from it.

    A resumed run drops the rows that lie after its checkpoint, so that no images are counted
    twice.

    Args:
        folder: The run's folder.
        resume_nimg: Where training goes on; rows beyond it are dropped.
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
        """One run, one folder, one version."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run's folder."""
        return str(self.folder)

    @property
    def path(self) -> Path:
        """The file of rows."""
        return self.folder / "metrics.jsonl"

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run's ``config.yaml`` says it all."""

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
        """Writes ``metrics.csv``, all columns of all rows."""
        rows = read_rows(self.path)
        if not rows:
            return
        columns = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=columns)
        writer.writeheader()
        writer.writerows(rows)
        # After an error, a full disk is not to hide what it was.
        with contextlib.nullcontext() if status == "success" else contextlib.suppress(OutputError):
            write(self.folder / "metrics.csv", text.getvalue())

    def _drop_after(self, nimg: int) -> None:
        kept = [row for row in read_rows(self.path) if row["nimg"] <= nimg]
        write(self.path, "".join(json.dumps(row) + "\n" for row in kept))
