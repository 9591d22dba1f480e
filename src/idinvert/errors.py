"""The errors a user may meet; each says what was got, what was expected, which key to change."""

from pathlib import Path


class IdinvertError(Exception):
    """Base of every error that is the user's to mend; printed without a traceback."""


class ConfigError(IdinvertError):
    """The configuration cannot be used as it stands."""


class DataError(IdinvertError):
    """Images, folders or splits cannot be used as they stand."""


class CorruptImageError(DataError):
    """One image file cannot be decoded; the message names it."""


class CheckpointError(IdinvertError):
    """A checkpoint or weights file cannot be read, or does not fit."""


class MissingWeightsError(CheckpointError):
    """Weights are not on this machine; the message names file, URL, sha256 and the key."""


class DivergenceError(IdinvertError):
    """Training or optimisation left the finite numbers, or ended worse than the mean image."""


class RunLockedError(IdinvertError):
    """Another process is writing to the same run folder.

    Args:
        message: For the user.
        folder: That is in use.
    """

    def __init__(self, message: str, *, folder: Path | None = None) -> None:
        super().__init__(message)
        self.folder = folder
