"""The words of a command line, in whatever order they are typed."""

import pytest

from idinvert.cli.words import in_order, is_override, is_sweep
from idinvert.errors import ConfigError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("-m a=1 b=2", "a=1 b=2 NEW -m"),
        ("a=1 b=2 -m", "a=1 b=2 NEW -m"),
        ("a=1 -m b=2", "a=1 b=2 NEW -m"),
        ("a=1 -m --cfg job ~b", "a=1 ~b NEW -m --cfg job"),
        ("--info a=1", "a=1 NEW --info"),
        ("-m", "NEW -m"),
        ("", "NEW"),
    ],
)
def test_overrides_stand_together_before_the_flags(given: str, expected: str) -> None:
    assert in_order(given.split(), ["c=3"]) == expected.replace("NEW", "c=3").split()


@pytest.mark.parametrize(
    ("given", "sweeps"),
    [
        ("-m a=1,2", True),
        ("a=1,2 --multirun", True),
        ("a=1", False),
        ("--cfg job a=1", False),
        ("-m --help", False),
        ("--hydra-help -m a=1,2", False),
    ],
)
def test_a_sweep_is_one_by_its_flag(given: str, sweeps: bool) -> None:
    assert is_sweep(given.split()) is sweeps


@pytest.mark.parametrize("given", ["-m --cfg job", "--cfg=job a=1 -m", "-m -c all", "-m --info"])
def test_one_job_is_shown_and_no_sweep(given: str) -> None:
    with pytest.raises(ConfigError, match=r"shows one job, -m starts many.* row=0"):
        is_sweep(given.split())


def test_flags_and_their_values_are_none() -> None:
    words = ["-m", "--cfg", "job", "--config-dir=x", "a=1", "~b", "+c=2", "++d=3"]
    assert [word for word in words if is_override(word)] == ["a=1", "~b", "+c=2", "++d=3"]
