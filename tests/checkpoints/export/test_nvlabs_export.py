"""Native to NVlabs' names and back: exact, for every architecture."""

from pathlib import Path

import pytest
import torch

from idinvert.checkpoints.convert import to_nvlabs, write_pt
from idinvert.checkpoints.families import nvlabs
from idinvert.checkpoints.formats.read import read_archive
from idinvert.errors import CheckpointError
from tests.checkpoints.families.nvlabs_files import NVlabs
from tests.checkpoints.families.reference import normal

from .test_rosinality_export import discriminator, generator

CASES = {
    "plain": ({}, {}),
    "resnet and skip": ({"connections": "resnet"}, {"connections": "skip"}),
    "orig": ({"connections": "orig"}, {"connections": "orig", "mbstd_channels": 0}),
    "clamped": ({"conv_clamp": 256.0}, {"conv_clamp": 256.0, "mbstd_group": None}),
    "conditional": (
        {"c_dim": 3, "embed_dim": 4, "mapping_width": 9, "mapping_lr_mul": 0.1, "z_dim": 5},
        {"c_dim": 3, "cmap_dim": 7, "cmap_depth": 2, "cmap_lr_mul": 0.2},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_round_trip_is_exact(case: str, tmp_path: Path) -> None:
    g, d = generator(**CASES[case][0]), discriminator(**CASES[case][1])
    write_pt(to_nvlabs(g, discriminator=d), tmp_path / "out.pt")
    assert set(torch.load(tmp_path / "out.pt", weights_only=True)) == {"G_ema", "D", "init_kwargs"}
    archive = read_archive(tmp_path / "out.pt", key="path")
    assert nvlabs.recognise(archive)
    found = nvlabs.FAMILY.read(archive, key="path")
    for before, after in ((g, found.generator), (d, found.discriminator)):
        assert before.state_dict().keys() == after.state_dict().keys()
        for name, value in before.state_dict().items():
            assert torch.equal(value, after.state_dict()[name]), name
    c = (normal(2, 3, seed=3),) if g.c_dim else ()
    x, z = normal(2, 3, 16, 16, seed=1), normal(2, g.z_dim, seed=2)
    assert torch.equal(g(z, *c), found.generator(z, *c))
    assert torch.equal(d(x, *c), found.discriminator(x, *c))


def test_the_file_holds_what_nvlabs_classes_expect() -> None:
    files = NVlabs(c_dim=3)
    choices = {"w_dim": 7, "mapping_depth": 2, "c_dim": 3, "embed_dim": 4, "mapping_width": 8}
    d = discriminator(c_dim=3, cmap_dim=9, cmap_depth=2)
    content = to_nvlabs(generator(**choices), discriminator=d)
    for part, expected in (("G_ema", files.g), ("D", files.d)):
        assert content[part].keys() == expected.keys()
        for name, value in content[part].items():
            assert value.shape == expected[name].shape, name


def test_arguments_are_nvlabs_own() -> None:
    content = to_nvlabs(generator(channels=None, channel_base=64, channel_max=8))
    made = content["init_kwargs"]["G_ema"]
    assert made["synthesis_kwargs"] == {
        "channel_base": 64,
        "channel_max": 8,
        "architecture": "skip",
        "conv_clamp": None,
        "num_fp16_res": 0,
    }
    assert made["mapping_kwargs"]["num_layers"] == 3 and made["img_resolution"] == 16
    other = to_nvlabs(generator())["init_kwargs"]["G_ema"]["synthesis_kwargs"]
    assert other["channels"] == [5, 4, 3] and "channel_base" not in other


def test_one_w_a_layer_is_refused() -> None:
    with pytest.raises(CheckpointError, match="multi_w=True"):
        to_nvlabs(generator(multi_w=True))
