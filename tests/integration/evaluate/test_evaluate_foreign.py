"""Published encoders measured as ours: their own files, no conversion by hand."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from idinvert.checkpoints.convert import convert
from idinvert.cli.evaluate import evaluate
from idinvert.config.compose import compose_plain, given_keys
from idinvert.errors import CheckpointError, ConfigError
from tests.checkpoints.every_family import write

pytestmark = pytest.mark.usefixtures("empty_cache")

FEW = (
    "data=folder",
    "data.split.test=4",
    "data.val=0",
    "scale.resolution=16",
    "perceptual=none",
    "~attributes",
    "metric.names=[mse,ssim]",
    "n=3",
    "batch_size=2",
    "trainer=cpu",
    "generator=checkpoint",
)


@pytest.fixture
def measure(tmp_path):
    """``python evaluate.py generator.path=FILE encoder.path=FILE …`` on four small pictures."""
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for index in range(6):
        pixels = rng.integers(0, 256, size=(16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{index}.png")

    def go(generator, encoder, *more):
        words = [
            *FEW,
            f"data.path={tmp_path / 'photos'}",
            f"system.outputs={tmp_path / 'outputs'}",
            f"generator.path={generator}",
            f"encoder.path={encoder}",
            "inversion=encoder",
            *more,
        ]
        return evaluate(compose_plain("evaluate", words), given=given_keys(words))

    return go


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("name", "objective", "family"),
    [
        ("tf_idinvert_a", "domain_guided", "tf-idinvert"),
        ("tf_idinvert_c", "domain_guided", "tf-idinvert"),
        ("e4e", "e4e", "encoder4editing"),
        ("psp", "psp", "encoder4editing"),
    ],
)
def test_one_file_with_both(name, objective, family, measure, tmp_path):
    file = write(name, tmp_path / "in" / "published.bin")
    (record,) = measure(file, file)
    assert record.n == 3 and 0 < record.metrics["mse"] < 100
    assert record.checkpoints["generator"] == record.checkpoints["encoder"] == digest(file)
    assert record.choices["weights"] == family
    assert record.choices["objective"]["name"] == objective
    assert json.dumps(record.choices)


def test_the_authors_two_files(measure, tmp_path):
    generator = write("idinvert_generator", tmp_path / "in" / "generator.pth")
    encoder = write("idinvert_encoder", tmp_path / "in" / "encoder.pth")
    (record,) = measure(generator, encoder)
    assert record.checkpoints["generator"] == digest(generator)
    assert record.checkpoints["encoder"] == digest(encoder)
    assert record.choices["encoder"]["name"] == "base"


def test_its_code_is_a_start_for_optimisation(measure, tmp_path):
    file = write("tf_idinvert_c", tmp_path / "in" / "published.pkl")
    (alone,) = measure(file, file)
    (found,) = measure(file, file, "inversion=in_domain", "inversion.steps=5")
    assert found.metrics["mse"] < alone.metrics["mse"]


def test_what_convert_makes_measures_the_same(measure, tmp_path):
    file = write("tf_idinvert_c", tmp_path / "in" / "published.pkl")
    made = convert(file, tmp_path / "native.safetensors")
    (ours,) = measure(made["generator"], made["encoder"])
    (theirs,) = measure(file, file)
    assert ours.metrics == theirs.metrics


def test_an_encoder_of_another_generator_is_refused(measure, tmp_path):
    first = write("tf_idinvert_c", tmp_path / "in" / "a.pkl")
    second = write("tf_idinvert_a", tmp_path / "in" / "b.pkl")
    with pytest.raises(ConfigError, match="codes do not carry over"):
        measure(second, first)
    with pytest.raises(ConfigError, match="the generator takes"):
        measure(write("rosinality", tmp_path / "in" / "c.pt"), first)


def test_a_file_without_an_encoder(measure, tmp_path):
    file = write("rosinality", tmp_path / "in" / "ffhq.pt")
    with pytest.raises(CheckpointError, match=r"but no encoder.*encoder\.path"):
        measure(file, file)
