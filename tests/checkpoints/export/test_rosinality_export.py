"""Native to rosinality and back: exact; and what that layout cannot hold is told."""

import pytest
import torch

from idinvert.checkpoints.convert import to_rosinality, write_pt
from idinvert.checkpoints.families import rosinality
from idinvert.checkpoints.formats.read import read_archive
from idinvert.errors import CheckpointError, OutputError
from idinvert.networks.stylegan import StyleGANGenerator
from idinvert.networks.stylegan2 import StyleGAN2Generator
from idinvert.networks.stylegan2_discriminator import StyleGAN2Discriminator
from tests.checkpoints.families.reference import double, normal
from tests.checkpoints.families.rosinality_files import Rosinality


def generator(**choices) -> StyleGAN2Generator:
    settings = {"resolution": 16, "z_dim": 6, "w_dim": 6, "channels": [5, 4, 3], "mapping_depth": 3}
    return _drawn(StyleGAN2Generator(**settings | choices))


def discriminator(**choices) -> StyleGAN2Discriminator:
    return _drawn(StyleGAN2Discriminator(**{"resolution": 16, "channels": [5, 4, 3]} | choices))


def _drawn(network):
    state = network.state_dict()
    drawn = {name: normal(*t.shape, seed=i) for i, (name, t) in enumerate(state.items())}
    if "w_avg" in drawn and not network.multi_w:
        drawn["w_avg"] = drawn["w_avg"][:1].expand_as(drawn["w_avg"])
    network.load_state_dict(drawn)
    return network


def test_round_trip_is_exact(tmp_path):
    g, d = generator(), discriminator()
    path = tmp_path / "folder" / "out.pt"
    write_pt(to_rosinality(g, discriminator=d), path)
    assert [file.name for file in path.parent.iterdir()] == ["out.pt"]
    archive = read_archive(path, key="path")
    assert rosinality.recognise(archive)
    found = rosinality.FAMILY.read(archive, key="path")
    for before, after in ((g, found.generator), (d, found.discriminator)):
        assert before.state_dict().keys() == after.state_dict().keys()
        for name, value in before.state_dict().items():
            assert torch.equal(value, after.state_dict()[name]), name
    x, z = normal(2, 3, 16, 16, seed=1), normal(2, 6, seed=2)
    assert torch.equal(g(z), found.generator(z)) and torch.equal(d(x), found.discriminator(x))


def test_the_file_holds_what_rosinalitys_class_expects():
    files, g = Rosinality(), generator()
    content = to_rosinality(g, discriminator=discriminator())
    for part, expected in (("g_ema", files.g), ("d", files.d)):
        assert content[part].keys() == expected.keys()
        for name, value in content[part].items():
            assert value.shape == expected[name].shape and value.is_contiguous(), name
    assert content["latent_avg"].shape == (6,)
    w = normal(2, 6, 6, seed=1).double()
    images = files.synthesis(double(content["g_ema"]), w)
    assert (g.double().synthesis(w) - images).abs().max() <= 1e-6 * images.abs().max()


def test_torch_reads_the_file_with_weights_only(tmp_path):
    write_pt(to_rosinality(generator()), tmp_path / "g.pt")
    found = torch.load(tmp_path / "g.pt", weights_only=True)
    assert set(found) == {"g_ema", "latent_avg"}


def test_mean_codes():
    g = generator()
    g.w_avg.copy_(normal(6, 6, seed=3))
    assert torch.equal(to_rosinality(g)["latent_avg"], g.w_avg)
    g.w_avg.zero_()
    assert "latent_avg" not in to_rosinality(g)


@pytest.mark.parametrize(
    "choices",
    [
        {"multi_w": True},
        {"connections": "resnet"},
        {"connections": "orig"},
        {"c_dim": 2},
        {"z_dim": 5},
        {"mapping_width": 9},
        {"mapping_lr_mul": 0.1},
        {"conv_clamp": 256.0},
    ],
)
def test_what_the_layout_cannot_hold_is_told(choices):
    (name,) = choices
    with pytest.raises(CheckpointError, match=rf"rosinality.*{name}=.*safetensors"):
        to_rosinality(generator(**choices))


@pytest.mark.parametrize(
    "choices",
    [{"connections": "skip"}, {"c_dim": 2}, {"mbstd_group": 8}, {"mbstd_channels": 0}],
)
def test_what_the_layout_cannot_hold_of_d_is_told(choices):
    (name,) = choices
    with pytest.raises(CheckpointError, match=rf"{name}="):
        to_rosinality(generator(), discriminator=discriminator(**choices))


def test_a_bound_is_dropped_only_when_told_to():
    g, d = generator(conv_clamp=256.0), discriminator(conv_clamp=256.0)
    content = to_rosinality(g, discriminator=d, drop_clamp=True)
    assert torch.equal(content["g_ema"]["input.input"][0], g.synthesis.const)


def test_other_networks_are_refused():
    other = StyleGANGenerator(resolution=8, z_dim=4, w_dim=4, channels=[2, 2], mapping_depth=1)
    with pytest.raises(CheckpointError, match="got a StyleGANGenerator"):
        to_rosinality(other)
    with pytest.raises(CheckpointError, match="got a Linear"):
        to_rosinality(generator(), discriminator=torch.nn.Linear(2, 2))


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "g.pt"
    path.write_bytes(b"old")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match=r"g\.pt.*No space left.*unchanged"):
        write_pt({}, path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
