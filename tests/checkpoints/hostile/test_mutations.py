"""Damaged and lying copies of valid files of every container and family: read, or one error."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from .foreign import pickled
from .mutate import mutate
from .mutate_content import mutate_content
from .opening import Outcome, open_all
from .samples import containers, families, family_contents, holds_stored, saved

SECONDS = 3.0  # of one open; about 0.1 s on a quiet machine
SEED = 20_230_401
FEW, ALL = 160, 2_000


def damaged(count: int, place: Path) -> Iterator[tuple[str, bytes]]:
    """Damaged copies of the samples, in turn; the whole draw follows from `SEED`."""
    samples = {**containers(), **families(place)}
    names = sorted(samples)
    for index in range(count):
        rng = random.Random(f"{SEED}/{index}")
        name = names[index % len(names)]
        yield f"{name}, {index}", mutate(samples[name], samples[rng.choice(names)], rng)


def lying(count: int) -> Iterator[tuple[str, bytes]]:
    """Whole files of the families whose names, numbers or tensors were changed."""
    contents = family_contents()
    names = sorted(contents)
    for index in range(count):
        rng = random.Random(f"{SEED}/content/{index}")
        name = names[index % len(names)]
        content = mutate_content(contents[name], rng)
        plain = not holds_stored(content) and rng.random() < 0.5
        made = saved(content) if plain else pickled(content)
        yield f"{name}, content {index}", made


def check(
    files: Iterator[tuple[str, bytes]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Outcome:
    """Opens them and holds the promise: no execution, no hang, no other exception."""
    valid = open_all({**containers(), **families(tmp_path)}.items(), place=tmp_path / "file")
    assert valid.wrong == []  # and what Python imports on first use is imported now
    outcome = open_all(files, place=tmp_path / "file")
    count = len(outcome.messages)
    with capsys.disabled():
        print(
            f"\n{count} mutations of {len(valid.messages)} valid files: as archives "
            f"{outcome.refused['archive']} refused, as checkpoints {outcome.refused['checkpoint']} "
            f"refused and {outcome.opened['checkpoint']} read; {len(outcome.events)} executions, "
            f"{len(outcome.wrong)} other exceptions, slowest {outcome.slowest[0]:.2f} s "
            f"({outcome.slowest[1]})"
        )
    assert outcome.opened["archive"] + outcome.refused["archive"] == count
    assert (outcome.events, outcome.wrong) == ([], [])
    assert outcome.slowest[0] < SECONDS, outcome.slowest
    return outcome


def test_every_sample_is_read_and_every_family_is_a_checkpoint(tmp_path):
    valid = open_all(containers().items(), place=tmp_path / "file")
    assert valid.refused["archive"] == 0, valid.messages
    made = families(tmp_path)
    largest = max(map(len, made.values()))
    valid = open_all(made.items(), place=tmp_path / "file", large=largest)
    assert valid.opened["checkpoint"] == len(made), valid


def test_some_damaged_files(tmp_path, capsys):
    outcome = check(damaged(FEW, tmp_path), tmp_path, capsys)
    assert FEW // 3 < outcome.refused["archive"] < FEW  # the damage is damage


def test_some_lying_files(tmp_path, capsys):
    outcome = check(lying(FEW // 2), tmp_path, capsys)
    assert outcome.refused["archive"] == 0 and outcome.refused["checkpoint"] > FEW // 6


@pytest.mark.slow
def test_all_damaged_files(tmp_path, capsys):
    outcome = check(damaged(ALL, tmp_path), tmp_path, capsys)
    assert ALL // 3 < outcome.refused["archive"] < ALL


@pytest.mark.slow
def test_all_lying_files(tmp_path, capsys):
    outcome = check(lying(ALL // 2), tmp_path, capsys)
    assert outcome.refused["archive"] == 0 and outcome.refused["checkpoint"] > ALL // 6
