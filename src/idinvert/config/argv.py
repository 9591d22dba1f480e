"""Converts command lines between the user's shell and Hydra.

Hydra parses the value of an override with its own grammar, in which ``My Photos (1)`` is an error
and ``2024_07_15`` a number. The values of path keys are therefore quoted for Hydra. Printed
commands can be pasted into a shell.
"""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from idinvert.config.other_projects import hint
from idinvert.errors import ConfigError

PATHS = ("run", "images", "records", "system.outputs", "system.cache", "logging.panel_directions")
"""Keys that hold a path."""
LAST = ("path", "cache_dir", "mask", "out", "directions", "second")
"""Last parts of further keys that hold a path, besides those that end in ``_path``."""
PLAIN = re.compile(r"(?!(?:null|true|false|inf|nan)$)[A-Za-z./][\w./:-]*", re.ASCII | re.IGNORECASE)
"""Text that Hydra reads the same with and without quotes."""
FUNCTION = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag|extend_list)\(.*\)$")
URL = re.compile(r"(?i)(https?|ftp|s3|gs|hf)://")


def is_path_key(key: str) -> bool:
    """Whether a dotted key holds a path."""
    last = key.rsplit(".", 1)[-1]
    return key in PATHS or ("." in key and (last in LAST or last.endswith("_path")))


def for_hydra(word: str, *, sweep: bool = False) -> str:
    """Quotes the path in an override for Hydra; returns any other word unchanged.

    Expands ``~/`` to the home folder, which shells do not do after ``key=``. Hydra's own quotes,
    ``null`` and interpolations (``${…}``) are kept.

    Args:
        word: The word as typed.
        sweep: Whether a comma separates values. A path that exists is never split.
    """
    name, equals, value = word.partition("=")
    key = name.lstrip("+")
    if not equals or word[:1] in "~-" or not is_path_key(key):
        return word
    if sweep and FUNCTION.match(value):
        return word
    parts = [value]
    if sweep and "," in value and value[0] not in "'\"[" and not _exists(value):
        parts = value.split(",")
    return f"{name}=" + ",".join(map(_path, parts))


def _path(value: str) -> str:
    from hydra.core.override_parser.types import Quote, QuotedString

    if value in ("", "null") or "${" in value or _quoted(value):
        return value
    if "\\" in value and not _exists(value):
        return value  # already escaped for Hydra by the user
    if value == "~" or value.startswith("~/"):
        value = str(Path(value).expanduser())
    if PLAIN.fullmatch(value):
        return value
    return QuotedString(text=value, quote=Quote.single).with_quotes()


def is_url(value: object) -> bool:
    """Whether a value is a URL."""
    return isinstance(value, str) and URL.match(value) is not None


def _quoted(value: str) -> bool:
    return len(value) > 1 and value[0] == value[-1] and value[0] in "'\""


def _exists(value: str) -> bool:
    try:
        return Path(value).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return False


def unquoted(word: str) -> str:
    """Removes Hydra's quotes from an override if `for_hydra` would add them again."""
    name, equals, value = word.partition("=")
    if equals and _quoted(value) and "," not in value:
        plain = f"{name}={value[1:-1].replace(chr(92) + value[0], value[0])}"
        if for_hydra(plain) == word:
            return plain
    return word


def from_shell(text: str, *, key: str) -> list[str]:
    """Splits a command line that is a configuration value into words, as a shell does.

    Args:
        text: Overrides in shell syntax: ``task.own='data.path=My Photos'``.
        key: The key of the value, for the error.

    Raises:
        ConfigError: A quote is not closed.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"{key}={text!r} cannot be read as a command line: {error}") from error


def for_shell(words: Sequence[str]) -> str:
    """Joins words to a command line that can be pasted into a shell."""
    return " ".join(shlex.quote(unquoted(word)) for word in words)


def check_words(program: str, arguments: Sequence[str]) -> None:
    """Refuses words that are neither an override nor one of the program's flags.

    Args:
        program: ``"train"`` or ``"evaluate"``.
        arguments: The command line without the program.

    Raises:
        ConfigError: An unknown flag, a word without ``=``, or a word that is not UTF-8.
    """
    from hydra._internal.utils import get_args_parser

    flags = get_args_parser()._option_string_actions
    rest = list(arguments)
    for place, word in enumerate(rest):
        try:
            word.encode()
        except UnicodeEncodeError:
            raise ConfigError(
                f"{word.encode(errors='surrogateescape')!r} is no UTF-8 text, which records and "
                "pages must hold: rename the file or folder, or give a link to it."
            ) from None
        before = rest[place - 1] if place else ""
        if word[:1] == "-":
            name = word.split("=", 1)[0]
            if name not in flags:
                raise ConfigError(_of_flag(program, name, rest[place + 1 :]))
        elif word[:1] != "~" and ("=" not in word or word[0] == "="):
            takes = flags.get(before)
            if takes is None or takes.nargs == 0:
                raise ConfigError(_stray(program, rest, place))


def _of_flag(program: str, name: str, after: Sequence[str]) -> str:
    key = name.lstrip("-").replace("-", "_")
    advice = hint(program, key)
    value = next((word for word in after[:1] if word[:1] != "-"), "VALUE")
    advice = advice or f"Settings are written KEY=VALUE, without dashes: {key}={value}"
    return f"there is no flag {name}. {advice}"


def _stray(program: str, words: list[str], place: int) -> str:
    """Says what is wrong with a word that is not an override."""
    word, before = words[place], words[place - 1] if place else ""
    after = words[place + 1] if place + 1 < len(words) else ""
    if word == "=" or after == "=":  # nimg = 4000
        start = place - 1 if word == "=" else place
        joined = "".join(words[start : start + 3])
        return f"got {' '.join(words[start : start + 3])!r} with blanks; write {joined}"
    key = before.lstrip("+").split("=", 1)[0]
    if "=" in before and is_path_key(key):
        line = [*words[: place - 1], f"{before} {word}", *words[place + 1 :]]
        return (
            f"got {word!r} after {before!r}. A path with blanks needs quotes: "
            f"python {program}.py {for_shell(line)}"
        )
    return f"got {word!r}, expected KEY=VALUE. {hint(program, word) or ''}".rstrip()
