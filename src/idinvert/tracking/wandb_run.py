"""Opens, uses and closes a W&B run; reports its failures without ending the work."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from idinvert.errors import ConfigError

WITHOUT = "logger=wandb_offline keeps everything here (wandb sync sends it later), logger=csv none."


class TrackedRun:
    """One W&B run, each of whose failures is reported once and does not end the work.

    The metrics and pictures of a run or an evaluation are in its folder in any case, so no error
    of W&B ends a training.

    Args:
        run: The result of ``wandb.init``.
        uploads: Whether weights and codes are uploaded as artifacts.
    """

    def __init__(self, run: Any, *, uploads: bool = True) -> None:
        self.run, self.uploads = run, uploads
        self._ended = False
        self.trouble: str | None = None
        self._said: set[str] = set()

    @property
    def online(self) -> bool:
        """Whether artifacts of other runs can be requested from the server."""
        return not self.run.offline

    def log(self, row: dict[str, Any]) -> None:
        """Logs a row; after the first failure, no further row is tried."""
        if self.trouble is None:
            self.attempt(lambda: self.run.log(row), ends=True)

    def configure(self, values: dict[str, Any]) -> None:
        """Adds values to the run's configuration."""
        self.attempt(lambda: self.run.config.update(values, allow_val_change=True))

    def artifact(self, artifact: Any, *, aliases: Sequence[str] = ()) -> None:
        """Logs an artifact as this run's output."""
        self.attempt(lambda: self.run.log_artifact(artifact, aliases=["latest", *aliases]))

    def use(self, name: str, alias: str, *, otherwise: Callable[[], Any] | None = None) -> None:
        """Declares an artifact as input of this run; does nothing offline, where W&B cannot.

        Args:
            name: Name of an artifact that another run logged.
            alias: Alias of the version.
            otherwise: Creates an artifact to use instead if that one does not exist.
        """
        if not self.online:
            return
        try:
            self.run.use_artifact(f"{name}:{alias}")
        except Exception:  # W&B raises several kinds of errors for a missing artifact
            if otherwise is not None:
                self.attempt(lambda: self.run.use_artifact(otherwise(), aliases=[alias]))

    def finish(self, *, failed: bool = False) -> None:
        """Ends the run, once; online, waits until everything has been sent."""
        if self._ended:
            return
        self._ended = True
        self.attempt(lambda: self.run.finish(exit_code=int(failed)))
        if self.trouble is not None:
            print(f"W&B has not got all of this: {self.trouble}", file=sys.stderr, flush=True)

    def attempt(self, work: Callable[[], Any], *, ends: bool = False) -> bool:
        """Calls W&B; prints each different error once instead of raising it.

        Args:
            work: The call.
            ends: Whether no further rows are logged after an error.

        Returns:
            Whether the call succeeded.
        """
        try:
            work()
            return True
        except Exception as error:  # no error of W&B may end a training
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
    """Checks before any work that W&B has an API key.

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
    """Opens or continues the W&B run with this id; call on rank zero only.

    The run is independent of other W&B runs in the process, and the arguments take precedence over
    environment variables such as ``WANDB_MODE``.

    Args:
        folder: W&B's files go to ``<folder>/wandb``.
        run_id: The W&B id; a resumed run continues under the same id.
        config: Resolved configuration as plain values.
        project: W&B project.
        offline: Whether to keep everything on this machine; ``wandb sync`` sends it later.
        group: Usually the experiment or sweep.
        job_type: ``train``, ``evaluate`` or ``table``.
        name: The displayed name.
        tags: Tags; W&B allows 64 characters each.
        entity: W&B team; ``None`` for the account's default.
        artifacts: Whether weights and codes are uploaded.
        timeout: Seconds to wait for the server before giving up.

    Raises:
        ConfigError: No API key, no server, or W&B refuses the run; says what to do.
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
