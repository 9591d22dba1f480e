"""Figures of several methods: which image stands where, and what is left open."""

import pytest
import torch

from idinvert.errors import ConfigError, DataError
from idinvert.evaluation import gallery
from idinvert.evaluation.inversions import invert_images
from idinvert.evaluation.manipulation import Moves
from idinvert.inversion.encoder import EncoderInverter


@pytest.fixture
def section(subject, domain, networks, directions, tmp_path):
    """Images 5, 2, 0 and 7 by the encoder, by the encoder with random noise, and by nothing."""
    four = gallery.picked(domain, split="test", images=[5, 2, 0, 7])
    found = []
    for name in ("const", "random"):
        inverter = EncoderInverter(encoder=networks.encoder, noise=name)
        one = subject(inverter, domain=four, n=None, inversions=tmp_path / name)
        found.append(gallery.Shown(name, invert_images(one), directions))
    missing = gallery.Shown("missing", None, {})
    return gallery.Section("Faces", [four.test[i]["image"] for i in range(4)], [*found, missing])


def near(a, b):
    return (a.int() - b.int()).abs().max() <= 1


def test_the_images_picked_are_those_named(domain):
    few = gallery.picked(domain, split="test", images=[5, 2])
    assert [few.test[k]["id"] for k in range(2)] == [105, 102]
    assert few.fingerprint != domain.fingerprint and len(few.val) == 4
    with pytest.raises(DataError, match="names image 10, but split=test of smooth has 10"):
        gallery.picked(domain, split="test", images=[10])
    with pytest.raises(ConfigError, match="each once"):
        gallery.picked(domain, split="test", images=[1, 1])


def test_reconstructions_by_column_and_by_row(section, networks, rounded):
    x = torch.stack(section.inputs).float() / 127.5 - 1
    y = rounded(networks.generator.synthesis(networks.encoder(x)))
    across = gallery.reconstruction_sheet([section, section], across=True)
    assert [text for text, _ in across.headers] == ["Input", "const", "random", "missing"]
    assert across.groups == [("Faces", 4), ("Faces", 4)] and len(across.rows) == 8
    for i in range(4):
        assert torch.equal(across.rows[i][0], section.inputs[i])
        assert near(across.rows[i][1], y[i]) and across.rows[i][3] is None
    down = gallery.reconstruction_sheet([section], across=False)
    assert down.labels == ["Input", "const", "random", "missing"]
    assert near(down.rows[1][2], y[2])


def test_interpolations_have_a_row_a_pair_and_method(section, networks, rounded):
    sheet = gallery.interpolation_sheet([section], steps=3)
    assert sheet.labels == ["const", "random", "missing"] * 2
    assert torch.equal(sheet.rows[3][0], section.inputs[2])
    assert torch.equal(sheet.rows[3][-1], section.inputs[3])
    x = torch.stack(section.inputs[2:]).float() / 127.5 - 1
    w = networks.encoder(x)
    middle = rounded(networks.generator.synthesis(0.5 * w[:1] + 0.5 * w[1:]))[0]
    assert near(sheet.rows[3][3], middle)
    assert sheet.rows[2][1:-1] == [None] * 5
    odd = gallery.Section("", section.inputs[:3], section.methods)
    with pytest.raises(ConfigError, match="takes pairs and steps: got 3 images"):
        gallery.interpolation_sheet([odd], steps=3)


def test_manipulations_by_row_and_by_group(section, networks, directions, rounded):
    moves = Moves(steps=[-3, 2], layers=[0])
    sheet = gallery.manipulation_sheet([section], moves=moves, across=False)
    assert sheet.headers == [("Input", 1), ("Inversion", 1), ("glasses", 2), ("light", 2)]
    w = networks.encoder(section.inputs[1][None].float() / 127.5 - 1)
    w[:, 0] += 2 * directions["light"].vector[0]
    edited = rounded(networks.generator.synthesis(w))[0]
    assert sheet.labels[3] == "const" and near(sheet.rows[3][5], edited)
    groups = gallery.manipulation_sheet([section], moves=moves, across=True)
    assert groups.headers == [("const", 4), ("random", 4), ("missing", 4)]
    assert groups.labels[:4] == ["Input", "Inversion", "glasses -3", "glasses +2"]
    assert near(groups.rows[5][1], edited)
    assert groups.rows[5][8:] == [None] * 4


def test_noise_is_shown_where_an_encoder_gives_it(section):
    with pytest.raises(ConfigError, match="const: its encoder gives no noise maps"):
        gallery.noise_sheet([section])
    some = gallery.Section("", section.inputs, section.methods[1:])
    sheet = gallery.noise_sheet([some])
    assert sheet.labels == ["Input", "random", "Finest noise", "missing", "Finest noise"]
    maps = some.methods[0].inverted.noise(torch.arange(4))[-1]
    shown = sheet.rows[2][1]
    assert shown.shape == (3, 16, 16) and shown.abs().max() == 1
    torch.testing.assert_close(shown[0], maps[1, 0] / maps[1].abs().max())
