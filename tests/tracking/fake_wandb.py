"""A stand-in for a W&B run: keeps what it is given, and fails where a test says so."""

from typing import Any


class FakeConfig(dict):
    """W&B's configuration: `update` replaces whole top-level keys."""

    def update(self, values: dict[str, Any], allow_val_change: bool = False) -> None:  # type: ignore[override]
        super().update(values)


class FakeRun:
    """What `idinvert.tracking` uses of ``wandb.Run``.

    Args:
        offline: Whether the server can be asked.
        known: Names of artifacts that the server has, ``name:alias``.
        broken: Methods that raise.
    """

    def __init__(
        self, *, offline: bool = False, known: tuple[str, ...] = (), broken: tuple[str, ...] = ()
    ) -> None:
        self.id, self.offline = "run", offline
        self.known, self.broken = known, broken
        self.rows: list[dict[str, Any]] = []
        self.made: dict[str, tuple[Any, list[str]]] = {}
        self.used: list[Any] = []
        self.config = FakeConfig()
        self.ends: list[int] = []
        self.metrics: list[tuple[str, str | None]] = []

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self.metrics.append((name, step_metric))

    def log(self, row: dict[str, Any]) -> None:
        self._fail("log")
        self.rows.append(row)

    def log_artifact(self, artifact: Any, aliases: list[str]) -> None:
        self._fail("log_artifact")
        self.made[artifact.name] = (artifact, aliases)

    def use_artifact(self, what: Any, aliases: list[str] | None = None) -> None:
        if self.offline:
            raise TypeError("Cannot use artifact when in offline mode.")
        if isinstance(what, str) and what not in self.known:
            raise ValueError(f"artifact {what} not found")
        self.used.append(what if isinstance(what, str) else (what, aliases))

    def finish(self, exit_code: int = 0) -> None:
        self.ends.append(exit_code)
        self._fail("finish")

    def _fail(self, method: str) -> None:
        if method in self.broken:
            raise ConnectionError(f"{method}: the service is gone")
