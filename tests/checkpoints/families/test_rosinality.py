"""rosinality's files: tensors in their places, and the original's images, in float64."""

import pytest
import torch

from idinvert.checkpoints.families import rosinality
from idinvert.errors import CheckpointError

from .checks import (
    KEY,
    archive,
)
from .reference import normal
from .rosinality_files import Rosinality


def read(content, network: str | None = None):
    assert rosinality.recognise(archive(content))
    return rosinality.FAMILY.read(archive(content), key=KEY, network=network)


@pytest.mark.parametrize("name", ["convs.0.conv.blur.kernel", "to_rgbs.0.upsample.kernel"])
def test_a_filter_without_its_gain_is_named(name: str) -> None:
    files = Rosinality()
    files.g[name] = files.g[name] / 4
    with pytest.raises(CheckpointError, match=rf"{name} has other values"):
        read(files.content())


@pytest.mark.parametrize("form", ["w", "1 w", "L w"])
def test_forms_of_the_mean_code(form: str) -> None:
    files = Rosinality()
    mean = {"w": normal(6, seed=9), "1 w": normal(1, 6, seed=9), "L w": normal(6, 6, seed=9)}[form]
    found = read(files.content() | {"latent_avg": mean})
    assert torch.equal(found.generator.w_avg, mean.expand(6, 6))
    assert found.latent_avg.shape == ((6, 6) if form == "L w" else (6,))


@pytest.mark.parametrize("mean", [torch.zeros(5), torch.zeros(2, 6), torch.zeros(6).long(), 3])
def test_a_mean_code_that_does_not_fit_is_named(mean) -> None:
    with pytest.raises(
        CheckpointError, match=r"latent_avg .*instead of \(6, 6\)|latent_avg .*int64"
    ):
        read(Rosinality().content() | {"latent_avg": mean})


def test_without_a_mean_code_there_is_none() -> None:
    content = Rosinality().content()
    del content["latent_avg"]
    found = read(content)
    assert found.latent_avg is None and not found.generator.w_avg.any()


def test_without_constant_noise_a_fixed_one_is_drawn() -> None:
    content = Rosinality(noises=False).content()
    before = torch.random.get_rng_state()
    first, again = read(content), read(content)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.meta["constant_noise"] is False
    noise = first.generator.synthesis.get_buffer("noise_3")
    assert torch.equal(noise, again.generator.synthesis.get_buffer("noise_3"))
    assert 0.5 < noise.std() < 1.5


def test_which_generator() -> None:
    files = Rosinality()
    content = files.content()
    const = files.g["input.input"][0]
    assert torch.equal(read(content).generator.synthesis.const, const)
    assert torch.equal(read(content, "g").generator.synthesis.const, const + 1)
    del content["g_ema"]
    assert read(content).meta["network"] == "g"
    with pytest.raises(CheckpointError, match=r"no generator 'g_ema', expected one of \['g'\]"):
        read(content, "g_ema")


def test_the_multiplier_of_the_usual_widths_is_told() -> None:
    architecture = {"channels": [512, 512, 512, 512, 512, 256, 128]}
    assert rosinality._multiplier(architecture) == {"channel_multiplier": 2}
    architecture = {"channels": [512, 512, 512, 512, 256, 128, 64]}
    assert rosinality._multiplier(architecture) == {"channel_multiplier": 1}
    assert rosinality._multiplier({"channels": [5, 4, 3]}) == {}


def test_what_is_larger_than_the_file_takes_no_memory() -> None:
    files = Rosinality()
    files.g["conv1.conv.weight"] = (
        torch.zeros(1, 1).expand(1, 10**9).reshape(1, 10**9, 1, 1, 1)[:, :, :, :, :0]
    )
    with pytest.raises(CheckpointError, match=r"conv1\.conv\.weight"):
        read(files.content())
    wide = torch.zeros(()).expand(1, 10**6, 10**6, 1, 1)
    with pytest.raises(CheckpointError, match=r"conv1\.conv\.weight"):
        read(files.content() | {"g_ema": files.g | {"conv1.conv.weight": wide}})


@pytest.mark.parametrize("content", [None, [], {}, {"g_ema": 3}, {"g_ema": {3: 4}}, {"d": {}}])
def test_other_files_are_not_taken(content) -> None:
    assert not rosinality.recognise(archive(content))


def test_the_networks_are_told() -> None:
    assert read(Rosinality().content()).meta["networks"] == ["g_ema", "g", "d"]
