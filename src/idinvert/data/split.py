"""Division of images into train, validation and test: by order, by lists of names, or at random."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from idinvert.errors import ConfigError, DataError
from idinvert.untrusted import memory_bytes, read_bounded

_KEYS = {
    "order": {"kind", "train", "test"},
    "list": {"kind", "train", "test", "val"},
    "seed": {"kind", "train", "test", "seed"},
}


class Places(NamedTuple):
    """Indices into the sorted list of names, one list per split."""

    train: list[int]
    val: list[int]
    test: list[int]


def draw(count: int, *, below: int, words: str) -> list[int]:
    """Draws places at random: the first distinct numbers of the infinite sequence named `words`.

    Number 4b + j is bytes 8j to 8j + 7, big-endian, of the SHA-256 of "words/b", modulo `below`
    (with 2^64 values the bias is negligible). No library's random numbers are used, so the draw is
    the same on every machine. A smaller count is the beginning of a larger one.

    Args:
        count: Number of places.
        below: Numbers are 0 to below - 1.
        words: Name of the sequence, for instance `idinvert/lsun_tower/train`.

    Returns:
        The places in the order of the draw.

    Raises:
        ValueError: There are fewer than `count` numbers.
    """
    if not 0 <= count <= below:
        raise ValueError(f"cannot draw {count} distinct numbers below {below}")
    drawn: dict[int, None] = {}
    block = 0
    while len(drawn) < count:
        digest = hashlib.sha256(f"{words}/{block}".encode()).digest()
        for start in range(0, len(digest), 8):
            drawn.setdefault(int.from_bytes(digest[start : start + 8], "big") % below)
        block += 1
    return list(drawn)[:count]


def divide(names: Sequence[str], *, split: Mapping[str, Any], val: int | None) -> Places:
    """Divides `names` according to `split`.

    `{kind: order, train: N, test: M}`: the first N and the last M. `{kind: list, train: file,
    test: file, val: file}`: text files with one name per line. `{kind: seed, train: N, test: M,
    seed: s}`: a random draw. `train: null` takes all images that the others leave; `test: null`
    takes a fifth of all images, 1 to 500; a null key is the same as a missing one. Validation
    images are those after the training images; if fewer than `val` are left, the last training
    images are held out instead. `val: null` takes a twentieth of the images that are not for test,
    1 to 100; if no training image would be left, the last one is used for validation as well.

    Args:
        names: Sorted.
        split: One of the three kinds.
        val: Number of validation images, or None; kind `list` with a `val` file ignores it.

    Raises:
        ConfigError: The kind or a key of `split` is unknown or has a wrong value.
        DataError: There are too few images, or a list names one that does not exist.
    """
    kind = split.get("kind")
    if kind not in _KEYS:
        raise ConfigError(
            f"got kind {kind!r}, expected order, list or seed; change `data.split.kind`"
        )
    split = {key: value for key, value in split.items() if value is not None}
    unknown = sorted(set(split) - _KEYS[kind])
    if unknown:
        expected = ", ".join(sorted(_KEYS[kind]))
        raise ConfigError(f"got `data.split.{unknown[0]}`, expected the keys {expected} for {kind}")
    if len(names) < 2:
        raise DataError("got 1 image, expected 2 at least: one to train, one to test; `data.path`")
    if val is not None and (not isinstance(val, int) or val < 0):
        raise ConfigError(f"got {val!r} validation images, expected 0 or more; change `data.val`")
    if kind == "list":
        return _by_list(names, split=split, val=val)
    order = list(range(len(names)))
    if kind == "seed":
        seed = split.get("seed")
        if not isinstance(seed, int):
            raise ConfigError(f"got seed {seed!r}, expected an integer; change `data.split.seed`")
        rng = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(names), generator=rng).tolist()
    places = _by_order(order, train=split.get("train"), test=split.get("test"), val=val)
    return Places(*(sorted(part) for part in places))


def _by_order(order: list[int], *, train: int | None, test: int | None, val: int | None) -> Places:
    total = len(order)
    if test is None:
        room = total if train is None else total - _count(train, "train")
        test = min(_share(total, 5, most=500), max(room, 0))
    test = _count(test, "test")
    if train is None and val is None and total - test == 1:
        return Places(order[:1], order[:1], order[1:])
    val = _share(total - test, 20, most=100) if val is None else val
    if train is None:
        train = max(total - test - val, 0)
    train = _count(train, "train")
    if train + test > total or train < 1:
        raise DataError(
            f"got {total} images, expected at least {max(train, 1)} to train, {test} to test and "
            f"{val} to validate; change `data.split.train`, `data.split.test` or `data.val` (null: "
            "shares of what is there)"
        )
    rest = order[train : total - test]
    return Places(*_hold_out(order[:train], rest, val), order[total - test :])


def _share(total: int, part: int, *, most: int) -> int:
    """Returns a fraction 1 / `part` of a total, 1 to `most`."""
    return max(1, min(most, total // part))


def _by_list(names: Sequence[str], *, split: Mapping[str, Any], val: int | None) -> Places:
    place = {name: i for i, name in enumerate(names)}
    keys = [key for key in ("test", "val", "train") if key == "test" or split.get(key) is not None]
    listed = {key: _read_list(split.get(key), place, key=key) for key in keys}
    taken = {i for part in listed.values() for i in part}
    rest = [i for i in range(len(names)) if i not in taken]
    if "val" in listed:
        return Places(listed.get("train", rest), listed["val"], listed["test"])
    if "train" not in listed:
        return Places(*_hold_out(rest, [], val), listed["test"])
    return Places(*_hold_out(listed["train"], rest, val), listed["test"])


def _hold_out(train: list[int], rest: list[int], val: int | None) -> tuple[list[int], list[int]]:
    """Returns (train, val): val from the rest if it suffices, else from the end of train."""
    if val is None:
        val = _share(len(train), 20, most=100)
        if len(train) == 1 and not rest:
            return train, train
    if len(rest) >= val:
        return train, rest[:val]
    if len(train) <= val:
        raise DataError(
            f"got {len(train)} training images, expected more than the {val} that validation takes "
            "from them; change `data.val`"
        )
    return train[:-val], train[-val:]


def _count(value: Any, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"got {value!r}, expected a number of images; change `data.split.{key}`")
    return value


def _read_list(file: Any, place: dict[str, int], *, key: str) -> list[int]:
    """Returns the places of the names in a text file; ignores blank lines and lines with #."""
    try:
        text = read_bounded(Path(file).expanduser(), most=memory_bytes()).decode()
    except (OSError, TypeError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot read the list {file!r}: {error}; change `data.split.{key}`"
        ) from error
    lines = [line.strip() for line in text.splitlines()]
    listed = [line for line in lines if line and not line.startswith("#")]
    missing = [name for name in listed if name not in place]
    if missing:
        raise DataError(
            f"{file} names {len(missing)} images that do not exist, the first is {missing[0]!r}; "
            f"change `data.split.{key}` or `data.path`"
        )
    if len(set(listed)) < len(listed):
        raise DataError(f"{file} names an image twice; change `data.split.{key}`")
    return [place[name] for name in listed]
