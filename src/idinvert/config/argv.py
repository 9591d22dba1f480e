"""Command lines as users type them: paths stay text, and printed commands can be pasted.

Hydra reads the value of an override by a grammar of its own, in which ``My Photos (1)`` is an error
and ``2024_07_15`` a number. The value of a key of paths is quoted for it, whatever it holds.
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
"""Last parts of keys that do; so do those that end in ``_path``."""
PLAIN = re.compile(r"(?!(?:null|true|false|inf|nan)$)[A-Za-z./][\w./:-]*", re.ASCII | re.IGNORECASE)
"""What means the same to Hydra with quotes and without."""
FUNCTION = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag|extend_list)\(.*\)$")
URL = re.compile(r"(?i)(https?|ftp|s3|gs|hf)://")


def is_path_key(key: str) -> bool:
    """Whether a dotted key holds a path."""
    last = key.rsplit(".", 1)[-1]
    return key in PATHS or ("." in key and (last in LAST or last.endswith("_path")))


def for_hydra(word: str, *, sweep: bool = False) -> str:
    """An override whose path is quoted for Hydra; any other word as it is.

    ``~/`` becomes the home folder, which shells do not do behind ``key=``. Quotes of Hydra's own,
    ``null`` and interpolations (``${…}``) stay what they are.

    Args:
        word: As it was typed.
        sweep: Whether a comma separates values, unless there is such a path.
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
        return value  # escaped for Hydra by hand
    if value == "~" or value.startswith("~/"):
        value = str(Path(value).expanduser())
    if PLAIN.fullmatch(value):
        return value
    return QuotedString(text=value, quote=Quote.single).with_quotes()


def is_url(value: object) -> bool:
    """Whether a value is the address of a file on the network."""
    return isinstance(value, str) and URL.match(value) is not None


def _quoted(value: str) -> bool:
    return len(value) > 1 and value[0] == value[-1] and value[0] in "'\""


def _exists(value: str) -> bool:
    try:
        return Path(value).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return False


def unquoted(word: str) -> str:
    """An override without Hydra's quotes, where `for_hydra` puts them back."""
    name, equals, value = word.partition("=")
    if equals and _quoted(value) and "," not in value:
        plain = f"{name}={value[1:-1].replace(chr(92) + value[0], value[0])}"
        if for_hydra(plain) == word:
            return plain
    return word


def from_shell(text: str, *, key: str) -> list[str]:
    """The words of a command line that stands in a configuration; quotes keep blanks together.

    Args:
        text: Overrides as a shell takes them: ``task.own='data.path=My Photos'``.
        key: Where it stands, for the error.

    Raises:
        ConfigError: A quote is not closed.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"{key}={text!r} cannot be read as a command line: {error}") from error


def for_shell(words: Sequence[str]) -> str:
    """A command line of these words, to be pasted into a shell."""
    return " ".join(shlex.quote(unquoted(word)) for word in words)


def check_words(program: str, arguments: Sequence[str]) -> None:
    """Refuses what is neither an override nor one of the program's flags.

    Args:
        program: ``"train"`` or ``"evaluate"``.
        arguments: The command line, without the program.

    Raises:
        ConfigError: A flag of another program, a word without ``=``, or a name that is no text.
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
    """What is wrong with a word that is no override."""
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
