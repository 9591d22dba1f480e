"""An encoder for somebody else's GAN: two steps on every family, converted and as it is."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from idinvert.checkpoints import mean_code
from idinvert.checkpoints.bundle import find_weights
from idinvert.checkpoints.checkpoint import open_checkpoint
from idinvert.checkpoints.convert import convert
from idinvert.checkpoints.release import fingerprint, read_header
from idinvert.cli.evaluate import evaluate
from idinvert.config.compose import compose_plain, given_keys
from idinvert.errors import CheckpointError, ConfigError
from tests.checkpoints.every_family import SAMPLES, D, G, write

WITH_G = [name for name, sample in SAMPLES.items() if G in sample.roles]
WITH_BOTH = [name for name, sample in SAMPLES.items() if {G, D} <= set(sample.roles)]
FOLDER = (
    "experiment=domain_guided",
    "data=folder",
    "data.split.test=2",
    "data.val=0",
    "scale.resolution=16",
    "scale.channels=[4,4,4]",
    "scale.encoder_channels=4",
    "scale.encoder_channels_max=4",
    "perceptual=none",
    "~attributes",
    "metric.names=[mse]",
    "trainer=cpu",
    "batch_size=4",
    "nimg=8",
    "max_seconds=600",
    "logging.validate_every_nimg=1000",
    "logging.panel_every_nimg=1000",
    "checkpoint.every_nimg=1000",
    "generator=checkpoint",
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Twelve pictures of 16 px."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for index in range(12):
        pixels = rng.integers(0, 256, size=(16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:02}.png")
    return folder


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch):
    """A cache of its own, and a mean code from few samples where a file has none."""
    monkeypatch.setenv("IDINVERT_CACHE", str(tmp_path / "cache"))
    few = mean_code.compute_mean_code
    monkeypatch.setattr(mean_code, "compute_mean_code", lambda g: few(g, samples=100))


@pytest.fixture
def train_on(command, photos, tmp_path):
    """``python train.py experiment=domain_guided generator=checkpoint generator.path=FILE …``"""
    where = (f"data.path={photos}", f"system.outputs={tmp_path / 'outputs'}")
    return lambda file, *more: command(*FOLDER, *where, f"generator.path={file}", *more)


def provenance_of(run: Path) -> dict[str, Any]:
    return read_header(run / "weights" / "encoder.safetensors").provenance


def other(name: str) -> tuple[str, ...]:
    """What a file without a D needs."""
    return () if name in WITH_BOTH else ("discriminator.init=scratch",)


@pytest.mark.parametrize("name", WITH_G)
def test_two_steps_on_what_convert_makes(name, train_on, tmp_path):
    out = tmp_path / "native" / "gan.safetensors"
    convert(write(name, tmp_path / "in" / "checkpoint"), out)
    before = hashlib.sha256(out.read_bytes()).hexdigest()
    run = train_on(out, *other(name))
    provenance = provenance_of(run)
    assert provenance["nimg"] == 8 and provenance["stands_on"]["generator"] == before[:16]
    assert hashlib.sha256(out.read_bytes()).hexdigest() == before
    if name in WITH_BOTH:  # D began as the file's own, and learnt
        beside = out.with_name("gan.discriminator.safetensors")
        assert provenance["stands_on"]["discriminator"] == fingerprint(beside)
        started = open_checkpoint(beside).networks[D].state_dict()
        ended = open_checkpoint(run).networks[D].state_dict()
        assert started.keys() == ended.keys()
        distance = max((started[key] - ended[key]).abs().max() for key in started)
        assert 0 < distance < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_G)
def test_two_steps_on_the_file_itself(name, train_on, tmp_path):
    file = write(name, tmp_path / "in" / "checkpoint")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    stands_on = provenance_of(train_on(file, *other(name)))["stands_on"]
    assert stands_on["generator"] == digest
    if name in WITH_BOTH:
        assert stands_on["discriminator"] == digest


def test_the_file_itself_under_another_name_is_the_same_run(train_on, tmp_path):
    file = write("rosinality", tmp_path / "in" / "checkpoint")
    first = train_on(file)
    moved = file.rename(tmp_path / "in" / "renamed.safetensors")
    assert train_on(moved) == first, "finished already: the run goes by content"


@pytest.mark.parametrize("name", [name for name in WITH_G if name not in WITH_BOTH])
def test_without_a_discriminator_the_error_names_the_key(name, train_on, tmp_path):
    file = write(name, tmp_path / "in" / "checkpoint")
    for path in (file, *convert(file, tmp_path / "gan.safetensors", role=G).values()):
        with pytest.raises(CheckpointError) as caught:
            train_on(path)
        for word in ("discriminator.init=checkpoint", "discriminator.init=scratch", str(path)):
            assert word in str(caught.value)
    with pytest.raises(CheckpointError, match=r"no discriminator.*discriminator\.path"):
        train_on(file, "discriminator.init=checkpoint", f"discriminator.path={file}")


def test_the_discriminator_of_another_file(train_on, tmp_path):
    file = write("e4e", tmp_path / "in" / "e4e.pt")
    lender = write("rosinality", tmp_path / "in" / "ffhq.pt")
    run = train_on(file, "discriminator.init=checkpoint", f"discriminator.path={lender}")
    digest = hashlib.sha256(lender.read_bytes()).hexdigest()[:16]
    assert provenance_of(run)["stands_on"]["discriminator"] == digest


def test_a_file_without_a_generator(train_on, tmp_path):
    file = write("idinvert_encoder", tmp_path / "in" / "encoder.pth")
    with pytest.raises(CheckpointError, match=r"holds encoder, but no generator"):
        train_on(file)


@pytest.mark.parametrize("content", [{"weight": torch.zeros(2)}, [1, 2]])
def test_a_file_that_is_no_checkpoint(content, train_on, tmp_path):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"no checkpoint family.*generator\.path"):
        train_on(tmp_path / "x.pt")


def test_a_checkpoint_of_our_own_gan_run(train_gan, train_on, tmp_path):
    """RUN/checkpoints/*.ckpt gives the averaged G and the D of RUN/weights."""
    run = train_gan()
    (ckpt,) = (run / "checkpoints").glob("*.ckpt")
    for role in (G, D):
        ours = open_checkpoint(run).networks[role].state_dict()
        path = find_weights(str(ckpt), role=role, key="generator.path")
        found = open_checkpoint(path).networks[role].state_dict()
        assert all(torch.equal(ours[key], found[key]) for key in ours)
        assert read_header(path).provenance["run"] == run.name
    assert provenance_of(train_on(ckpt))["stands_on"]["generator"] == fingerprint(ckpt)


def test_what_a_file_does_not_record_can_be_given(train_on, photos, tmp_path):
    file = write("genforce_stylegan", tmp_path / "in" / "checkpoint")
    scratch = "discriminator.init=scratch"
    assumed = train_on(file, scratch)
    tanh = train_on(file, scratch, "generator.final_tanh=true")
    fused = train_on(file, scratch, "generator.fused_scale=true")
    assert len({assumed, tanh, fused}) == 3, "another generator, another run"
    prints = {provenance_of(run)["stands_on"]["generator"] for run in (assumed, tanh, fused)}
    assert len(prints) == 3
    assert train_on(file, scratch, "generator.final_tanh=true") == tanh, "finished already"

    def measured(*words):
        place = (f"system.outputs={tmp_path / 'outputs'}", "trainer=cpu", "batch_size=4")
        more = ("n=2", "metric.names=[mse]", "inversion=encoder", *words)
        given = given_keys([*place, *more])
        (record,) = evaluate(compose_plain("evaluate", [*place, *more]), given=given)
        return record.metrics["mse"]

    assert measured(f"run={assumed}") != measured(f"run={tanh}")
    for run, words in ((tanh, "final_tanh=false"), (fused, "fused_scale=false")):
        with pytest.raises(ConfigError, match="generator"):
            measured(f"run={run}", f"generator.{words}")
    native = convert(file, tmp_path / "native.safetensors", role=G)[G]
    other = write("rosinality", tmp_path / "in" / "rosinality")
    for path in (native, other):
        for word in ("fused_scale=true", "final_tanh=true", "conv_clamp=256"):
            with pytest.raises(CheckpointError, match=word.split("=")[0]):
                train_on(path, scratch, f"generator.{word}")


@pytest.fixture
def train_gan(command, photos, tmp_path):
    """A GAN of this project on the same pictures, two steps."""
    words = [word for word in FOLDER if not word.startswith(("experiment", "generator"))]
    where = (f"data.path={photos}", f"system.outputs={tmp_path / 'outputs'}")
    small = ("scale.w_dim=4", "scale.mapping_depth=1")
    return lambda: command("experiment=gan", *words, *where, *small)
