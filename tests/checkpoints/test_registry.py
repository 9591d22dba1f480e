"""Weights by others: found locally or an error that says how to get them."""

import dataclasses
import hashlib
from pathlib import Path

import pytest
from torchvision.models import AlexNet_Weights, SqueezeNet1_1_Weights, VGG16_Weights

from idinvert.checkpoints import registry
from idinvert.checkpoints.registry import ENTRIES, locate
from idinvert.data.content import weights_cache_dir
from idinvert.errors import CheckpointError, MissingWeightsError

KEY = "perceptual.path"


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("IDINVERT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def test_urls_are_the_publishers():
    assert ENTRIES["vgg16_caffe"].url == VGG16_Weights.IMAGENET1K_FEATURES.url
    assert ENTRIES["vgg16_imagenet"].url == VGG16_Weights.IMAGENET1K_V1.url
    assert ENTRIES["alexnet"].url == AlexNet_Weights.IMAGENET1K_V1.url
    assert ENTRIES["squeezenet"].url == SqueezeNet1_1_Weights.IMAGENET1K_V1.url
    from torch_fidelity import feature_extractor_inceptionv3 as fidelity

    assert ENTRIES["inception"].url == fidelity.URL_INCEPTION_V3


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.name)
def test_names_carry_the_first_digits(entry):
    assert entry.url.endswith("/" + entry.filename)
    assert entry.sha256.startswith(Path(entry.filename).stem.rsplit("-", 1)[1])
    assert len(entry.sha256) in (8, 64) and entry.licence and entry.purpose


@pytest.mark.parametrize("name", ENTRIES)
def test_missing_weights_say_how_to_get_them(name):
    with pytest.raises(MissingWeightsError) as caught:
        locate(name, key=KEY)
    message, entry = str(caught.value), ENTRIES[name]
    for word in (entry.filename, entry.url, entry.sha256, KEY, entry.licence):
        assert word in message
    assert str(weights_cache_dir()) in message


def test_a_missing_local_file_is_named(tmp_path):
    with pytest.raises(MissingWeightsError) as caught:
        locate("vgg16_caffe", path=tmp_path / "my_vgg.pth", key=KEY)
    message = str(caught.value)
    for word in ("my_vgg.pth", KEY, ENTRIES["vgg16_caffe"].url, "88682ab5"):
        assert word in message


def test_a_local_file_wins(tmp_path):
    mine = tmp_path / "mine.pth"
    mine.write_bytes(b"x")
    assert locate("vgg16_caffe", path=mine, key=KEY) == mine


@pytest.mark.parametrize("place", ["own", "torch"])
def test_the_caches_are_searched_and_checked(place, tmp_path, monkeypatch):
    content = b"weights"
    digest = hashlib.sha256(content).hexdigest()
    entry = dataclasses.replace(ENTRIES["squeezenet"], sha256=digest[:8])
    monkeypatch.setitem(registry.ENTRIES, "squeezenet", entry)
    folder = weights_cache_dir() if place == "own" else tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / entry.filename).write_bytes(content)
    assert locate("squeezenet", key=KEY) == folder / entry.filename

    (folder / entry.filename).write_bytes(b"damaged")
    with pytest.raises(CheckpointError) as caught:
        locate("squeezenet", key=KEY)
    message = str(caught.value)
    found = hashlib.sha256(b"damaged").hexdigest()
    for word in (found[:16], digest[:8], entry.url, KEY):
        assert word in message


def test_unknown_name():
    with pytest.raises(CheckpointError, match=r"'vgg19'.*vgg16_caffe.*perceptual\.path"):
        locate("vgg19", key=KEY)
