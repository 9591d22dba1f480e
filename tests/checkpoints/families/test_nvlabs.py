"""NVlabs' PyTorch files: tensors in their places, and the original's images, in float64."""

import pytest
import torch

from idinvert.checkpoints.families import nvlabs
from idinvert.errors import CheckpointError

from .checks import (
    KEY,
    archive,
)
from .nvlabs_files import NVlabs


def read(files: NVlabs, *, stored: bool):
    content = files.plain()
    if stored:
        content = {
            "G": None,
            "D": files.stored(files.d, name="Discriminator"),
            "G_ema": files.stored(files.g, name="Generator"),
            "augment_pipe": None,
            "training_set_kwargs": {"path": "a.zip"},
        }
    assert nvlabs.recognise(archive(content))
    return nvlabs.FAMILY.read(archive(content), key=KEY)


def test_a_filter_of_other_values_is_named() -> None:
    files = NVlabs()
    name = "synthesis.b16.conv0.resample_filter"
    files.g[name] = torch.ones(4, 4) / 16
    with pytest.raises(CheckpointError, match=rf"{name} has other values"):
        read(files, stored=True)


def test_which_generator() -> None:
    files, other = NVlabs(), NVlabs(seed=5)
    content = {"G_ema": files.g, "G": other.g, "init_kwargs": files.plain()["init_kwargs"]}
    for network, tensors in {None: files.g, "g_ema": files.g, "G": other.g, "g": other.g}.items():
        found = nvlabs.FAMILY.read(archive(content), key=KEY, network=network)
        assert torch.equal(found.generator.synthesis.const, tensors["synthesis.b4.const"])
        assert found.discriminator is None
    with pytest.raises(CheckpointError, match=r"no generator 'D'.*G_ema.*G"):
        nvlabs.FAMILY.read(archive(content), key=KEY, network="D")
    found = nvlabs.FAMILY.read(archive({"D": files.d, "G": files.g}), key=KEY)
    assert found.meta["network"] == "G"


@pytest.mark.parametrize(
    ("path", "name", "value", "match"),
    [
        ("synthesis.b8.conv0", "activation", "relu", r"b8\.conv0 has activation 'relu'"),
        ("synthesis.b4.conv1", "conv_clamp", -1, "conv_clamp is -1"),
        ("synthesis.b4.conv1", "conv_clamp", float("nan"), "conv_clamp is nan"),
        ("mapping.fc0", "bias_gain", "0.01", "lr_multiplier is '0.01'"),
        ("synthesis.b8", "architecture", "unet", "architecture 'unet'"),
    ],
)
def test_what_changes_the_images_is_refused(path: str, name: str, value, match: str) -> None:
    files = NVlabs()
    stored = files.stored(files.g, name="Generator")
    layer = stored
    for part in path.split("."):
        layer = layer.state["_modules"][part]
    layer.state[name] = value
    with pytest.raises(CheckpointError, match=match):
        nvlabs.FAMILY.read(archive({"G_ema": stored}), key=KEY)


def test_stylegan3_is_known_and_refused() -> None:
    files = NVlabs()
    tensors = {"synthesis.input.freqs": torch.ones(4, 2), "mapping.w_avg": torch.ones(5)}
    content = {"G_ema": files.stored(tensors, name="Generator")}
    assert nvlabs.recognise(archive(content))
    with pytest.raises(CheckpointError, match="StyleGAN3"):
        nvlabs.FAMILY.read(archive(content), key=KEY)


def test_a_mean_code_that_was_not_tracked() -> None:
    files = NVlabs()
    del files.g["mapping.w_avg"]
    stored = files.stored(files.g, name="Generator")
    stored.state["_modules"]["mapping"].state["w_avg_beta"] = None
    found = nvlabs.FAMILY.read(archive({"G_ema": stored}), key=KEY)
    assert found.latent_avg is None and not found.generator.w_avg.any()


@pytest.mark.parametrize("content", [None, 3, [], {}, {"G_ema": 3}, {"G": {}}, {3: 4}, ("G",)])
def test_other_files_are_not_taken(content) -> None:
    assert not nvlabs.recognise(archive(content))


def test_half_precision_is_told() -> None:
    files = NVlabs()
    found = read(files, stored=True)
    assert found.meta["half_precision"] is True  # and runs in float32 all the same
    assert found.meta["network"] == "G_ema" and found.encoder is None
    assert read(files, stored=False).meta["half_precision"] is False
