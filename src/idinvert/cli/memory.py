"""What to say when a device has no memory left."""

from idinvert.errors import ConfigError

LESS = {
    "train": "accumulate=4 takes a step in four parts, batch_size=… takes fewer images a step, "
    "eval_batch_size=… fewer in validation",
    "evaluate": "batch_size=… inverts fewer images together and changes no result",
}
"""Program to what makes it need less."""


def out_of_memory(error: Exception, *, program: str) -> ConfigError:
    """The error a user reads instead of torch's.

    Args:
        error: Torch's.
        program: ``"train"`` or ``"evaluate"``.
    """
    first = str(error).strip().split(". ", 1)[0]
    return ConfigError(f"out of memory ({first}). {LESS[program]}; then give the command again.")
