"""The authors' encoders A, B and C: the originals' codes in float64, and every tensor's place."""

from typing import Any

import pytest
import torch

from idinvert.checkpoints.checkpoint import Checkpoint
from idinvert.checkpoints.families import idinvert
from idinvert.errors import CheckpointError

from .checks import (
    KEY,
    Tensors,
    about_same,
    archive,
    check_every_key_is_named,
    check_every_tensor_counts,
    check_settled,
    rebuilt,
    same,
    whole,
)
from .idinvert_encoder_files import IdinvertEncoder, tuple_of
from .reference import double, normal
from .stylegan_files import TFStyleGAN

VARIANTS = ("A", "B", "C")
MARKS = {
    "A": "encoder/input_image_stage/weight",
    "B": "block1.conv1.weight",
    "C": "FromImg/weight",
}


def open_content(content: Any, network: str | None = None) -> Checkpoint:
    family = idinvert.PYTORCH if isinstance(content, dict) else idinvert.TENSORFLOW
    assert family.recognise(archive(content))
    return whole(family.read(archive(content), key=KEY, network=network))


def open_encoder(files: IdinvertEncoder, tensors: Tensors) -> Checkpoint:
    return open_content(tensors if files.variant == "B" else files.stored(tensors))


@pytest.mark.parametrize("variant", VARIANTS)
def test_codes_are_the_originals(variant):
    for settings in ({}, {"resolution": 32, "channels_max": 5}, {"resolution": 8}):
        files = IdinvertEncoder(variant, **settings)
        found = open_encoder(files, files.e)
        assert found.generator is None and found.meta["encoder"] == variant
        encoder: Any = found.encoder
        check_settled(encoder)
        side = settings.get("resolution", 16)
        x = normal(2, 3, side, side, seed=1).double()
        expected = files.encode(double(files.e), x)
        assert expected.shape == (2, 2 * (side.bit_length() - 2), 5) and expected.std() > 0.1
        about_same(encoder(x.float()), expected)
        same(encoder.double()(x), expected)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_tensor_counts(variant):
    files = IdinvertEncoder(variant, resolution=8)
    x = normal(2, 3, 8, 8, seed=1).double()

    def codes(tensors):
        positive = {name: abs(value) if "var" in name else value for name, value in tensors.items()}
        encoder = open_encoder(files, positive).encoder
        return rebuilt(encoder)(x), files.encode(double(positive), x)

    gamma = [name for name in files.e if variant == "B" and "bn" in name and "weight" in name]
    fixed = [*gamma, *(name for name in files.e if name.endswith("tracked"))]
    check_every_tensor_counts(files.e, codes, fixed=fixed)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_key_is_named(variant):
    files = IdinvertEncoder(variant, resolution=8)
    counters = tuple(name for name in files.e if name.endswith("tracked"))
    check_every_key_is_named(
        files.e,
        lambda tensors: open_encoder(files, tensors),
        unused=counters,
        mark=MARKS[variant],
    )


def test_a_factor_that_was_trained_after_all_is_refused():
    e = IdinvertEncoder("B").e | {"block1.bn1.bn.weight": torch.full((3,), 1.5)}
    with pytest.raises(CheckpointError, match=r"block1\.bn1\.bn\.weight has other values"):
        open_content(e)


@pytest.mark.parametrize("variant", [None, "A", "C"])
def test_tuples(variant):
    found = open_content(tuple_of(variant))
    assert found.generator.multi_w and not found.generator.architecture["final_tanh"]
    assert found.latent_avg is None  # the file's is layer 0's alone
    assert found.discriminator is not None
    names = ["G", "D", "Gs"]
    assert found.meta["networks"] == (names if variant is None else ["E", *names])
    assert open_content(tuple_of(variant), "g").meta["network"] == "G"
    if variant is None:
        assert found.encoder is None
        return
    codes = found.encoder(torch.zeros(1, 3, 16, 16))
    assert found.generator.synthesis(codes).shape == (1, 3, 16, 16)
    plain = open_content(tuple_of(variant, repeat_w=True))
    assert not plain.generator.multi_w and plain.latent_avg.shape == (5,)  # type: ignore[union-attr]


def test_what_is_not_one_of_them():
    e, g = IdinvertEncoder("A").stored(), TFStyleGAN(repeat_w=False).generator()
    for content in ((e, g), (e, e, e), [], {}, 3, (g, 4, g), None):
        assert not idinvert.TENSORFLOW.recognise(archive(content))
