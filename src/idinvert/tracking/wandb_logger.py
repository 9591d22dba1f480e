"""W&B with images seen as the x-axis, one run id for each run identity."""

from pathlib import Path
from typing import Any

import wandb
from pytorch_lightning.loggers import WandbLogger


def open_wandb(
    *,
    folder: str | Path,
    run_id: str,
    config: dict[str, Any],
    project: str,
    offline: bool,
    group: str,
    job_type: str,
    name: str,
    tags: list[str],
    entity: str | None = None,
) -> "NimgWandbLogger":
    """Opens, or goes on with, the W&B run of this run identity; for rank zero alone.

    Args:
        folder: The run's folder; W&B's files go to ``<folder>/wandb``.
        run_id: Run identity, which is the W&B id: a resumed run goes on in the same place.
        config: Resolved configuration as plain values.
        project: W&B project.
        offline: Keep everything on this machine; ``wandb sync`` sends it later.
        group: Usually the experiment or sweep.
        job_type: ``train`` or ``evaluate``.
        name: The name shown.
        tags: Tags.
        entity: W&B team; ``None`` for the account's default.
    """
    run = wandb.init(
        dir=str(folder),
        id=run_id,
        resume="allow",
        project=project,
        entity=entity,
        group=group,
        job_type=job_type,
        name=name,
        tags=tags,
        config=config,
        mode="offline" if offline else "online",
        reinit="finish_previous",
    )
    run.define_metric("nimg")
    run.define_metric("*", step_metric="nimg")
    return NimgWandbLogger(experiment=run)


class NimgWandbLogger(WandbLogger):
    """Writes ``nimg`` into each row and never passes W&B a step of its own.

    Lightning would log ``trainer/global_step``, which runs double with two optimisers.
    """

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Logs a row at ``nimg = step``."""
        self.experiment.log(dict(metrics) | {"nimg": step})

    def log_image(
        self, key: str, images: list[Any], step: int | None = None, **kwargs: Any
    ) -> None:
        """Logs a list of pictures under one key; ``caption`` holds their fixed ids."""
        captions = kwargs.get("caption") or [None] * len(images)
        shown = [
            wandb.Image(image, caption=caption)
            for image, caption in zip(images, captions, strict=True)
        ]
        self.experiment.log({key: shown, "nimg": step})

    def finalize(self, status: str) -> None:
        """Ends the run, so that the next one of a sweep in this process gets its own."""
        self.experiment.finish(exit_code=0 if status in ("success", "finished") else 1)
