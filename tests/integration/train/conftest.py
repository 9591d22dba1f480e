"""Whole training runs in miniature's miniature: 8 px, 8 channels, 64 images."""

import functools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from idinvert.cli.devices import quieten_lightning
from idinvert.cli.train import train
from idinvert.config.compose import compose_plain, given_keys
from tests.processes import Program, end, interpreter

TINY = (
    "scale.resolution=8",
    "scale.channels=[8,8]",
    "scale.w_dim=8",
    "scale.mapping_depth=2",
    "scale.encoder_channels=4",
    "scale.encoder_channels_max=8",
    "batch_size=4",
    "data.train=64",
    "data.test=16",
    "data.val=8",
    "trainer=cpu",
    "nimg=8",
    "checkpoint.every_nimg=16",
    "logging.every_nimg=12",
    "logging.validate_every_nimg=16",
    "logging.panel_every_nimg=1000000",
    "logging.panel_steps=1",
    "recalibrate=0",  # a run of a few steps must still beat the mean image
)
ATTRIBUTES = ("experiment=attributes", "attributes.width=8")
SEGMENTER = ("experiment=segmenter", "segmenter.width=8", "segmenter.deep=8")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Overrides that make every experiment tiny, with a cache that the tests share."""
    return (*TINY, f"data.cache_dir={tmp_path_factory.getbasetemp() / 'tiny_cache'}")


def run(overrides: Sequence[str]) -> Path:
    """What ``python train.py overrides`` does, in this process."""
    with warnings.catch_warnings():
        quieten_lightning()
        return train(compose_plain("train", list(overrides)), given=given_keys(overrides))


@pytest.fixture(scope="session")
def bundle(tiny, tmp_path_factory):
    """Runs of two steps that the encoder's training stands on: G with its D, and F."""
    outputs = f"system.outputs={tmp_path_factory.mktemp('bundle')}"
    return {
        "generator": run(["experiment=gan", *tiny, outputs]),
        "stylegan": run(
            ["experiment=gan", "generator=stylegan", "discriminator=stylegan", *tiny, outputs]
        ),
        "multi_w": run(["experiment=gan", "generator.multi_w=true", *tiny, outputs]),
        "attributes": run([*ATTRIBUTES, *tiny, outputs]),
    }


def words_of(
    experiment: str, *more: str, tiny: Sequence[str], bundle: dict[str, Path], outputs: Path
) -> list[str]:
    """The command line of a tiny run."""
    stands_on = [
        f"generator.path={bundle['generator']}",
        f"perceptual.network.path={bundle['attributes']}",
    ][: 1 if "perceptual=none" in more else 2]
    special = {
        "gan": ["experiment=gan"],
        "attributes": list(ATTRIBUTES),
        "segmenter": list(SEGMENTER),
    }.get(experiment, [f"experiment={experiment}", *stands_on])
    return [*special, *tiny, f"system.outputs={outputs}", *more]


@pytest.fixture
def overrides(tiny, bundle, tmp_path):
    """The command line of a tiny run; its outputs go to ``tmp_path / where``."""

    def words(experiment, *more, where="outputs"):
        return words_of(experiment, *more, tiny=tiny, bundle=bundle, outputs=tmp_path / where)

    return words


@pytest.fixture(scope="session")
def once(tiny, bundle, tmp_path_factory):
    """A tiny run that tests only look at: the first that asks for it trains it."""

    @functools.cache
    def go(experiment, *more):
        outputs = tmp_path_factory.mktemp("once")
        return run(words_of(experiment, *more, tiny=tiny, bundle=bundle, outputs=outputs))

    return go


@pytest.fixture
def train_tiny(overrides):
    """Trains a tiny run in this process and returns its folder."""

    def go(experiment, *more, where="outputs"):
        return run(overrides(experiment, *more, where=where))

    return go


@pytest.fixture
def command():
    """``train.py`` in this process, with exactly the words given."""
    return lambda *words: run(words)


@pytest.fixture
def start():
    """Starts ``train.py`` as a process of its own; none outlives the test.

    A process is forked, with more variables in ``env``; or it is an interpreter that begins
    without any import, with torchrun or nothing ``before`` the program.
    """
    processes: list[Any] = []

    def go(words, *, env=None, before=None):
        words = [*words, "system.num_threads=1"]
        if before is None:
            process: Any = Program("train", words, env=env)
        else:
            process = interpreter(*before, "-m", "idinvert.cli.train", *words)
        processes.append(process)
        return process

    yield go
    end(processes)
