"""The words of a command line that are overrides, and more of them."""

from collections.abc import Sequence

from idinvert.errors import ConfigError

SWEEPS = ("-m", "--multirun")
SHOWS = ("-c", "--cfg", "-i", "--info")
"""Flags that print a job's configuration, and run nothing."""
EXPLAINS = ("-h", "--help", "--hydra-help", "--version", "-sc", "--shell-completion")
"""Flags that look at no job."""


def is_override(word: str) -> bool:
    """Whether a word is an override (``key=value``, ``~key``), not a flag or a flag's value."""
    return word[:1] == "~" or (word[:1] != "-" and "=" in word)


def is_sweep(arguments: Sequence[str]) -> bool:
    """Whether a command line starts a sweep.

    Raises:
        ConfigError: It also asks to print the configuration, of which a sweep has many.
    """
    flags = _flags(arguments)
    if not flags & set(SWEEPS) or flags & set(EXPLAINS):
        return False
    if shows(arguments):
        raise ConfigError(
            f"{min(flags & set(SHOWS))} shows one job, -m starts many: leave out -m, and show one "
            "job of a sweep with experiment=NAME row=0."
        )
    return True


def shows(arguments: Sequence[str]) -> bool:
    """Whether a command line only prints its configuration."""
    return bool(_flags(arguments) & set(SHOWS))


def in_order(arguments: Sequence[str], more: Sequence[str] = ()) -> list[str]:
    """A command line with its overrides first, and its flags with their values after them.

    Hydra's parser takes overrides from one place only (after ``a=1 -m``, ``b=2`` is unknown to
    it), and takes the one behind ``--info`` for that flag's value. So any order can be typed.

    Args:
        arguments: Of the program, without its name.
        more: Overrides to put behind those that are there.
    """
    overrides = [word for word in arguments if is_override(word)]
    flags = [word for word in arguments if not is_override(word)]
    return [*overrides, *more, *flags]


def _flags(arguments: Sequence[str]) -> set[str]:
    return {word.split("=", 1)[0] for word in arguments if word[:1] == "-"}
