"""The words of a command line that are overrides, and more of them."""

from collections.abc import Sequence


def is_override(word: str) -> bool:
    """Whether a word is an override (``key=value``, ``~key``), not a flag or a flag's value."""
    return word[:1] == "~" or (word[:1] != "-" and "=" in word)


def with_words(arguments: Sequence[str], words: Sequence[str]) -> list[str]:
    """A command line with more overrides, behind those that stand together first.

    Hydra's parser takes its overrides from one place only: after ``a=1 -m``, a further word at
    the end is refused as unknown.

    Args:
        arguments: Of the program, without its name.
        words: Overrides.
    """
    at = next((k for k, word in enumerate(arguments) if is_override(word)), len(arguments))
    while at < len(arguments) and is_override(arguments[at]):
        at += 1
    return [*arguments[:at], *words, *arguments[at:]]
