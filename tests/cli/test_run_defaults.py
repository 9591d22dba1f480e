"""`generator.path=trained:KIND` finds the GAN of a kind for the data, or says how to train it."""

import fcntl
from pathlib import Path
from typing import Any

import pytest

from idinvert.checkpoints import bundle
from idinvert.checkpoints.release import save_network
from idinvert.cli import run_defaults
from idinvert.cli.evaluate import run_task
from idinvert.cli.run_defaults import changed, with_run
from idinvert.cli.trained_gans import KINDS, gan_command, with_trained_generator
from idinvert.config.argv import from_shell
from idinvert.config.compose import compose_plain, given_keys
from idinvert.errors import ConfigError
from idinvert.networks.stylegan import StyleGANGenerator
from idinvert.networks.stylegan2 import StyleGAN2Generator

SIZES = {"z_dim": 4, "w_dim": 4, "mapping_depth": 1}
FACES = {"data": "faces_mini"}


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    """A place for runs, in a package that ships nothing."""
    monkeypatch.setattr(bundle, "assets_folder", lambda: tmp_path / "assets")
    monkeypatch.setattr("idinvert.cli.trained_gans.assets_folder", lambda: tmp_path / "assets")
    return tmp_path / "outputs"


@pytest.fixture
def gan(outputs):
    """A GAN run with random weights."""

    def make(
        name,
        *,
        nimg=1,
        network=StyleGANGenerator,
        multi_w=True,
        resolution=8,
        data="faces_mini",
        place=None,
    ):
        folder = (place or outputs / "gan") / name
        channels = [4] * (resolution.bit_length() - 2)
        generator = network(resolution=resolution, channels=channels, multi_w=multi_w, **SIZES)
        below = folder if place else folder / "weights"
        provenance = {"data": data, "nimg": nimg, "run": name}
        save_network(generator, below / "generator.safetensors", provenance=provenance)
        return folder

    return make


def config(outputs: Path, kind: str = "stylegan_multi_w", **more: Any) -> dict[str, Any]:
    return {
        "generator": {"path": f"trained:{kind}"},
        "data": {"_target_": "idinvert.toy.miniature.faces_mini", "resolution": 8},
        "system": {"outputs": str(outputs)},
        "scale": {"name": "miniature"},
        **more,
    }


def found(outputs: Path, kind: str = "stylegan_multi_w", **more: Any) -> str:
    return Path(with_trained_generator(config(outputs, kind, **more))["generator"]["path"]).name


def test_it_is_the_one_of_the_kind_that_saw_the_most_images(outputs, gan):
    gan("short", nimg=10)
    gan("long", nimg=20)
    gan("single", nimg=99, multi_w=False)
    gan("two", nimg=99, network=StyleGAN2Generator)
    gan("large", nimg=99, resolution=16)
    gan("towers", nimg=99, data="towers_mini")
    assert found(outputs) == "long"
    assert found(outputs, "stylegan") == "single"
    assert found(outputs, "stylegan2_multi_w") == "two"
    data = {"_target_": "x", "name": "towers_mini", "resolution": 8}
    assert found(outputs, data=data) == "towers"


def test_it_has_the_sizes_of_the_scale(outputs, gan):
    gan("narrow", nimg=10)
    sizes = {"name": "miniature", "mapping_depth": 1, "channels": [4, 4]}
    assert found(outputs, scale={**sizes, "w_dim": 4}) == "narrow"
    for size in ({"w_dim": 8}, {"w_dim": 4, "channels": [8, 8]}, {"w_dim": 4, "mapping_depth": 2}):
        with pytest.raises(ConfigError) as caught:
            found(outputs, scale={**sizes, **size})
        message = str(caught.value)
        (key,) = {key for key, value in size.items() if value != {**sizes, "w_dim": 4}.get(key)}
        assert f"or take the one with scale.{key}=" in message and "narrow" in message
        command = message.split("python train.py ")[1].split(";")[0]
        plain = compose_plain("train", from_shell(command, key="x"))
        assert plain["scale"][key] == size[key] and plain["generator"][key] == size[key]


def test_one_that_is_still_in_training_or_half_written_is_left_alone(outputs, gan):
    gan("whole", nimg=1)
    at_work = gan("working", nimg=50)
    (outputs / "gan" / "half" / "weights").mkdir(parents=True)
    (outputs / "gan" / "half" / "weights" / "generator.safetensors").write_bytes(b"half")
    with open(at_work / ".lock", "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # A second descriptor of this process is refused as another process would be.
        assert found(outputs) == "whole"
    assert found(outputs) == "working"


def test_a_shipped_one_will_do(outputs, gan, tmp_path):
    gan("faces_mini", place=tmp_path / "assets")
    chosen = with_trained_generator(config(outputs))["generator"]
    assert chosen == {"path": "shipped:faces_mini"}


def test_other_paths_are_left_as_they_are(outputs):
    for node in ({"path": "shipped:faces_mini"}, {"_target_": "x"}, None):
        assert with_trained_generator(config(outputs, generator=node))["generator"] == node


def test_what_is_missing_is_said_with_its_command(outputs):
    with pytest.raises(ConfigError, match="Did you mean 'stylegan'"):
        found(outputs, "stylegan3")
    with pytest.raises(ConfigError) as caught:
        found(outputs, "stylegan2_multi_w")
    message = str(caught.value)
    assert "faces_mini at 8 px" in message
    command = message.split("Train it first: python train.py ")[1]
    plain = compose_plain("train", command.split())
    assert plain["generator"]["multi_w"] is True
    assert "stylegan2_discriminator" in str(plain["discriminator"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_of_each_kind_composes(outputs, kind):
    command = gan_command(kind, config(outputs))
    plain = compose_plain("train", command.removeprefix("python train.py ").split())
    architecture, multi = plain["generator"]["_target_"], plain["generator"]["multi_w"]
    assert (architecture.rsplit(".", 1)[-1], multi) == KINDS[kind]
    folder = {"_target_": "x", "path": "P", "name": "photos", "resolution": 8}
    ffhq = {"_target_": "idinvert.data.paper_splits.ffhq256", "path": "P", "resolution": 8}
    for data, said in ((folder, {"data=folder", "data.name=photos"}), (ffhq, {"data=ffhq256"})):
        full = config(outputs, data=data, scale={"name": "full"})
        words = gan_command(kind, full).removeprefix("python train.py ").split()
        assert said | {"data.path=P", "scale=full"} <= set(words)
        compose_plain("train", words)


def test_one_image_is_no_set_and_ones_own_pictures_have_no_split(outputs):
    def started(*words):
        given = given_keys(words)
        run_task(with_run(compose_plain("evaluate", list(words)), given=given))

    for name in ("fid", "kid", "fd_attributes"):
        with pytest.raises(ConfigError, match=f"got n=1, expected 2 or more: {name} .*change n"):
            started("n=1", f"metric.names=[mse,{name}]", f"system.outputs={outputs}")
    for word in ("n=3", "split=val"):
        key = word.split("=")[0]
        with pytest.raises(ConfigError, match=f"and {key} has no effect: leave {key}= out"):
            started("task=invert", "images=x", word)


def test_data_that_an_entry_names_has_the_resolution_of_the_command():
    for words, more, expected in (
        ("data=towers_mini", [], 32),
        ("data=towers_mini", ["scale.resolution=64"], 64),
        ("data=towers_mini", ["data.resolution=64"], 64),
        ("data=towers_mini scale.resolution=16", ["scale.resolution=64"], 16),
        ("data=towers_mini data.resolution=16", ["scale.resolution=64"], 16),
    ):
        found = changed(compose_plain("evaluate", more), {"words": words})["data"]
        assert found["_target_"].endswith("towers_mini") and found["resolution"] == expected


def test_a_gan_brings_the_networks_for_its_data_and_its_resolution(tmp_path, monkeypatch):
    stored = compose_plain("train", ["experiment=gan", "scale.resolution=64"])
    monkeypatch.setattr(run_defaults, "find_run", lambda run, outputs: tmp_path)
    monkeypatch.setattr(run_defaults, "stored_config", lambda folder, classes: stored)
    config = with_run(compose_plain("evaluate", ["run=gan"]), given={"run": ["run"]})
    found = [config["attributes"], config["perceptual"]["network"], config["segmenter"]]
    assert {node["path"] for node in found} == {"shipped:faces_mini_64"}
    assert config["generator"] == {"path": str(tmp_path)}
