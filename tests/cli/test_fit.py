"""Parts that do not fit together are refused before a folder is made."""

from pathlib import Path
from typing import Any

import pytest

from idinvert.checkpoints.release import save_network
from idinvert.cli.evaluate import evaluate
from idinvert.cli.train import train
from idinvert.config.compose import compose_plain, given_keys
from idinvert.errors import IdinvertError
from idinvert.networks.attributes import AttributeNetwork

FEW = ("data.train=64", "data.val=8", "data.test=16")
SIZES = "takes images of 64 px, and these have 32 px"


@pytest.fixture(scope="module")
def wider(tmp_path_factory):
    """An attribute network for 64 px with the names of the shipped one for 32 px."""
    network = AttributeNetwork(resolution=64, names=["smile"], kinds=["continuous"], width=8)
    path = tmp_path_factory.mktemp("wider") / "attributes.safetensors"
    save_network(network, path, provenance={})
    return path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["metric.names=[mse,fd_attributes]", "attributes.path={}"], SIZES),
        (["metric.names=[mse,editability]", "attributes.path={}"], SIZES),
        (["task=interpolation", "metric.names=[fd_attributes]", "attributes.path={}"], SIZES),
        (["task=directions", "task.method=svm", "attributes.path={}"], SIZES),
        (["perceptual.network.path={}"], SIZES),
        (["perceptual.network.path={}", "inversion=projector"], SIZES),
        (["task=manipulation", "perceptual.network.path={}"], SIZES),
        (["data.resolution=16"], "data.resolution=16 does not fit the generator"),
        (["generator.path=shipped:towers_mini"], "8 codes of 128 numbers and the generator"),
        (["data=towers_mini", "encoder.path=shipped:bedrooms_mini"], "trained for generator"),
        (["attributes.path=shipped:towers_mini", "metric.names=[attributes]"], "does not read"),
        (["metric.names=[fids]"], "fids"),
        (["metric.names=[fd_foo]"], "fd_foo"),
        (["task=manipulation", "task.names=[smil]"], "smil"),
    ],
)
def test_an_evaluation_that_does_not_fit_makes_no_folder(words, said, wider, tmp_path):
    refused("evaluate", [word.format(wider) for word in words] + ["n=4"], said, tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["perceptual.network.path={}"], SIZES),
        (["data.resolution=16"], "data.resolution=16 does not fit the generator"),
        (["discriminator.init=scratch", "discriminator.network.resolution=64"], "64"),
        (["discriminator.init=checkpoint", "discriminator.path={}"], "attributes"),
        (["encoder.backbone.resolution=64"], "encoder.backbone.resolution=64 does not fit"),
        (["latent=w", "generator.path=shipped:towers_mini", "data=towers_mini"], "latent=w"),
        (["batch_size=3", "accumulate=2"], "accumulate"),
    ],
)
def test_a_training_that_does_not_fit_makes_no_folder(words, said, wider, tmp_path):
    refused("train", [word.format(wider) for word in words] + ["nimg=64"], said, tmp_path / "out")


def refused(program: str, words: list[str], said: str, out: Path) -> None:
    words = [*words, *FEW, f"system.outputs={out}"]
    work: Any = {"train": train, "evaluate": evaluate}[program]
    with pytest.raises(IdinvertError) as caught:
        work(compose_plain(program, words), given=given_keys(words))
    assert said in str(caught.value)
    assert not out.exists()
