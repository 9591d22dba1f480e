"""Lightning's W&B logger with images seen as the x-axis."""

from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import WandbLogger

from idinvert.tracking.artifacts import made_artifact
from idinvert.tracking.wandb_run import TrackedRun


class NimgWandbLogger(WandbLogger):
    """Writes ``nimg`` into each row and never passes W&B a step of its own.

    Lightning would log ``trainer/global_step``, which runs double with two optimisers.

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
        """Logs a list of pictures under one key; ``caption`` holds their fixed ids."""
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
            sha: Fingerprint of its content; evaluations find it by the alias ``sha-<sha>``.
            facts: Its provenance.
        """
        if self.tracked.uploads:
            content = {f"{role}.safetensors": path}
            name = f"{role}-{self.tracked.run.id}"
            artifact = made_artifact(name, "weights", content, facts=facts)
            self.tracked.artifact(artifact, aliases=[*aliases, f"sha-{sha}"])

    def finalize(self, status: str) -> None:
        """Ends the run, so that the next one of a sweep in this process gets its own."""
        self.tracked.finish(failed=status not in ("success", "finished"))
