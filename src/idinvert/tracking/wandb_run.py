"""A W&B run: opened before any work, failing aloud, closed so that the next one gets its own."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from idinvert.errors import ConfigError

WITHOUT = "logger=wandb_offline keeps everything here (wandb sync sends it later), logger=csv none."


class TrackedRun:
    """One W&B run, whose failures are told once and cost nothing but what W&B would have shown.

    The metrics and pictures of a run or an evaluation stand in its folder whatever happens to W&B,
    so nothing that W&B raises ends a training.

    Args:
        run: What ``wandb.init`` gave.
        uploads: Whether weights and codes go to W&B as artifacts.
    """

    def __init__(self, run: Any, *, uploads: bool = True) -> None:
        self.run, self.uploads = run, uploads
        self._ended = False
        self.trouble: str | None = None
        self._said: set[str] = set()

    @property
    def online(self) -> bool:
        """Whether the server can be asked for what other runs left."""
        return not self.run.offline

    def log(self, row: dict[str, Any]) -> None:
        """Adds a row; after the first that W&B refuses, no further one is tried."""
        if self.trouble is None:
            self.attempt(lambda: self.run.log(row), ends=True)

    def configure(self, values: dict[str, Any]) -> None:
        """Adds to the run's configuration."""
        self.attempt(lambda: self.run.config.update(values, allow_val_change=True))

    def artifact(self, artifact: Any, *, aliases: Sequence[str] = ()) -> None:
        """Logs an artifact as this run's output."""
        self.attempt(lambda: self.run.log_artifact(artifact, aliases=["latest", *aliases]))

    def use(self, name: str, alias: str, *, otherwise: Callable[[], Any] | None = None) -> None:
        """Says that this run stands on an artifact; offline, where W&B cannot, it does nothing.

        Args:
            name: Of an artifact that another run logged.
            alias: Of the version.
            otherwise: Makes an artifact to take in its stead where there is no such one.
        """
        if not self.online:
            return
        try:
            self.run.use_artifact(f"{name}:{alias}")
        except Exception:  # W&B raises errors of several kinds for what is not there
            if otherwise is not None:
                self.attempt(lambda: self.run.use_artifact(otherwise(), aliases=[alias]))

    def finish(self, *, failed: bool = False) -> None:
        """Ends the run, once; online, this waits until what was logged has been sent."""
        if self._ended:
            return
        self._ended = True
        self.attempt(lambda: self.run.finish(exit_code=int(failed)))
        if self.trouble is not None:
            print(f"W&B has not got all of this: {self.trouble}", file=sys.stderr, flush=True)

    def attempt(self, work: Callable[[], Any], *, ends: bool = False) -> bool:
        """Does something that only W&B gains by; what goes wrong is told once.

        Args:
            work: What to do.
            ends: Whether no further row is to be tried if it fails.

        Returns:
            Whether it was done.
        """
        try:
            work()
            return True
        except Exception as error:  # whatever it is, it is not worth a training
            words = f"{type(error).__name__}: {str(error).strip() or 'no reason given'}"
            if words not in self._said:
                self._said.add(words)
                print(
                    f"W&B failed ({words}); the work continues. Metrics and pictures are in "
                    "its folder.",
                    file=sys.stderr,
                    flush=True,
                )
            if ends:
                self.trouble = words
            return False


def require_account() -> None:
    """Refuses to begin work whose results W&B could not take.

    Raises:
        ConfigError: There is no API key.
    """
    import wandb

    try:
        wandb.login()
    except wandb.errors.Error as error:
        raise _nobody(error) from error


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
    artifacts: bool = True,
    timeout: float = 60.0,
) -> TrackedRun:
    """Opens, or goes on with, the W&B run of this id; for rank zero alone.

    The run is this call's own: it neither takes over a run that is open in the process nor ends it,
    and what stands here wins over ``WANDB_MODE`` and its like in the environment.

    Args:
        folder: W&B's files go to ``<folder>/wandb``.
        run_id: The W&B id: a resumed run goes on in the same place.
        config: Resolved configuration as plain values.
        project: W&B project.
        offline: Keep everything on this machine; ``wandb sync`` sends it later.
        group: Usually the experiment or sweep.
        job_type: ``train``, ``evaluate`` or ``table``.
        name: The name shown.
        tags: Tags; W&B takes 64 characters of each.
        entity: W&B team; ``None`` for the account's default.
        artifacts: Whether weights and codes are uploaded.
        timeout: Seconds to wait for the server before giving up.

    Raises:
        ConfigError: There is no API key, no server, or W&B takes none of this; says what to do.
    """
    import wandb

    Path(folder).mkdir(parents=True, exist_ok=True)
    try:
        run = wandb.init(
            dir=str(folder),
            id=run_id,
            resume="allow",
            project=project,
            entity=entity,
            group=group[:128],
            job_type=job_type,
            name=name[:128],
            tags=[tag[:64] for tag in dict.fromkeys(tags)],
            config=config,
            mode="offline" if offline else "online",
            reinit="create_new",
            settings=wandb.Settings(init_timeout=timeout),
        )
    except (wandb.errors.UsageError, wandb.errors.AuthenticationError) as error:
        raise _nobody(error) from error
    except (wandb.errors.Error, OSError, ValueError) as error:
        raise ConfigError(
            f"W&B could not open the run ({_first_line(error)}). Look at the network and at "
            f"logger.wandb.*. Without a network: {WITHOUT}"
        ) from error
    run.define_metric("nimg")
    run.define_metric("*", step_metric="nimg")
    return TrackedRun(run, uploads=artifacts)


def _nobody(error: Exception) -> ConfigError:
    return ConfigError(
        f"W&B does not know who you are ({_first_line(error)}). Run `wandb login`, or set "
        f"WANDB_API_KEY. Without a network or an account: {WITHOUT}"
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
