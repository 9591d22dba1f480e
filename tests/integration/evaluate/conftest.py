"""A tiny world made by the project's own commands: GAN, attribute network, encoder at 16 px."""

import shutil
from types import SimpleNamespace

import pytest

from idinvert.checkpoints import bundle
from idinvert.cli.evaluate import evaluate
from idinvert.cli.train import train
from idinvert.config.compose import compose_plain, given_keys

TINY = (
    "scale.resolution=16",
    "scale.channels=[8,8,8]",
    "scale.w_dim=8",
    "scale.mapping_depth=1",
    "scale.encoder_channels=8",
    "scale.encoder_channels_max=8",
    "data.train=16",
    "data.val=4",
    "data.test=8",
    "trainer=cpu",
    "batch_size=4",
    "nimg=8",
    "max_seconds=0",
    "logging.panel_steps=1",
)
"""One step of four images, then stopped short: a run that ends must beat the mean image."""


@pytest.fixture(scope="session")
def train_one(tmp_path_factory):
    """`train.py` with these overrides: one step; returns the run's folder."""
    root = tmp_path_factory.mktemp("world")
    place = (f"system.outputs={root / 'out'}", f"system.cache={root / 'cache'}")
    return lambda *overrides: train(compose_plain("train", [*TINY, *place, *overrides]))


@pytest.fixture(scope="session")
def world(train_one):
    """Runs of one step, read-only: `gan`, `attributes` and `run`, an encoder for the GAN."""
    gan = train_one("experiment=gan")
    attributes = train_one("experiment=attributes", "attributes.width=8")
    run = train_one(
        "experiment=domain_guided",
        "generator=checkpoint",
        f"generator.path={gan}",
        f"perceptual.network.path={attributes}",
        f"attributes.path={attributes}",
    )
    return SimpleNamespace(gan=gan, attributes=attributes, run=run, cache=run.parents[2] / "cache")


@pytest.fixture
def outputs(world, tmp_path):
    """An outputs folder of this test's own, with the tiny encoder's run in it."""
    shutil.copytree(world.run, tmp_path / "out" / "domain_guided" / world.run.name)
    return tmp_path / "out"


@pytest.fixture
def go(world, outputs):
    """`evaluate.py` with these overrides, in this process."""

    def run(*overrides):
        place = (f"system.outputs={outputs}", f"system.cache={world.cache}", "trainer=cpu")
        words = [*place, *overrides]
        return evaluate(compose_plain("evaluate", words), given=given_keys(words))

    return run


@pytest.fixture
def on_run(go, world):
    """`evaluate.py run=RUN` on the tiny run: six images in batches of four, two metrics."""
    few = (f"run={world.run.name}", "batch_size=4", "metric.names=[mse,ssim]")

    def run(*overrides):
        some = () if "task=invert" in overrides else ("n=6",)  # it inverts all of images=
        return go(*few, *some, *overrides)

    return run


@pytest.fixture
def nothing_shipped(tmp_path, monkeypatch):
    """A package without weights: what a test sees are its own runs."""
    monkeypatch.setattr(bundle, "assets_folder", lambda: tmp_path / "no assets")
