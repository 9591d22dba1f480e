"""More overrides on a command line, wherever its flags stand."""

import pytest

from idinvert.cli.words import is_override, with_words


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("-m a=1 b=2", "-m a=1 b=2 NEW"),
        ("a=1 b=2 -m", "a=1 b=2 NEW -m"),
        ("a=1 -m --cfg job", "a=1 NEW -m --cfg job"),
        ("--cfg job ~x", "--cfg job ~x NEW"),
        ("-m", "-m NEW"),
        ("", "NEW"),
    ],
)
def test_they_stand_with_the_others(given: str, expected: str) -> None:
    assert with_words(given.split(), ["c=3"]) == expected.replace("NEW", "c=3").split()


def test_flags_and_their_values_are_none() -> None:
    words = ["-m", "--cfg", "job", "--config-dir=x", "a=1", "~b", "+c=2", "++d=3"]
    assert [word for word in words if is_override(word)] == ["a=1", "~b", "+c=2", "++d=3"]
