"""Native to NVlabs' names and back: exact, for every architecture."""

import pytest
import torch

from idinvert.checkpoints.convert import to_nvlabs, to_rosinality, write_pt
from idinvert.checkpoints.families import nvlabs, rosinality
from idinvert.checkpoints.formats.read import read_archive
from idinvert.errors import CheckpointError
from tests.checkpoints.families.checks import archive, whole
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
def test_round_trip_is_exact(case, tmp_path):
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


def test_the_file_holds_what_nvlabs_classes_expect():
    files = NVlabs(c_dim=3)
    choices = {"w_dim": 7, "mapping_depth": 2, "c_dim": 3, "embed_dim": 4, "mapping_width": 8}
    d = discriminator(c_dim=3, cmap_dim=9, cmap_depth=2)
    content = to_nvlabs(generator(**choices), discriminator=d)
    for part, expected in (("G_ema", files.g), ("D", files.d)):
        assert content[part].keys() == expected.keys()
        for name, value in content[part].items():
            assert value.shape == expected[name].shape, name


def test_arguments_are_nvlabs_own():
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


OTHER = {
    "generator": {
        "resolution": 8, "z_dim": 5, "w_dim": 7, "channels": [7, 3, 2], "channel_base": 64,
        "channel_max": 4, "mapping_depth": 2, "multi_w": True, "conv_clamp": 2.0,
        "connections": "resnet", "mapping_lr_mul": 0.1, "mapping_width": 9, "c_dim": 2,
        "embed_dim": 4,
    },
    "discriminator": {
        "resolution": 8, "channels": [7, 3, 2], "channel_base": 64, "channel_max": 4,
        "mbstd_group": 2, "mbstd_channels": 0, "conv_clamp": 2.0, "connections": "orig",
        "c_dim": 2, "cmap_dim": 6, "cmap_depth": 2, "cmap_lr_mul": 0.2, "fc_width": 9,
    },
}  # fmt: skip
WITH = {
    "resolution": {"channels": [5, 4]}, "channel_base": {"channels": None, "channel_max": 8},
    "channel_max": {"channels": None, "channel_base": 64},
    **{name: {"c_dim": 2} for name in ("embed_dim", "cmap_dim", "cmap_depth", "cmap_lr_mul")},
    "w_dim": {"z_dim": 7},
}  # fmt: skip
"""Arguments that another one needs to count."""


@pytest.mark.parametrize("role", OTHER)
def test_every_argument_comes_back_or_is_refused_by_name(role):
    """Nothing that a network was built with is lost on the way out."""
    make = generator if role == "generator" else discriminator
    assert make().architecture.keys() == OTHER[role].keys()
    refused: dict[str, list[str]] = {"nvlabs": [], "rosinality": []}
    for name, value in OTHER[role].items():
        made = make(**WITH.get(name, {}) | {name: value})
        pair = {"generator": generator()} | {role: made}
        for family, export in ((nvlabs.FAMILY, to_nvlabs), (rosinality.FAMILY, to_rosinality)):
            try:
                content = export(**pair)
            except CheckpointError as error:
                assert f"{name}=" in str(error) or "c_dim=2" in str(error), name
                refused[family.name].append(name)
                continue
            again = whole(family.read(archive(content), key="path"))
            found = getattr(again, role)
            assert found.state_dict().keys() == made.state_dict().keys()
            for key, tensor in made.state_dict().items():
                assert torch.equal(tensor, found.state_dict()[key]), (name, key)
            images, z = normal(4, 3, made.resolution, made.resolution, seed=1), normal(4, 7, seed=2)
            given = [z[:, : made.z_dim] if role == "generator" else images]
            given += [normal(4, made.c_dim, seed=3)] if made.c_dim else []
            assert torch.equal(made(*given), found(*given)), name
    expected = {"generator": ["multi_w"], "discriminator": ["fc_width"]}[role]
    assert refused["nvlabs"] == expected and set(expected) < set(refused["rosinality"])


def test_a_mean_code_of_every_layer_is_refused():
    g = generator()
    g.w_avg.copy_(normal(6, 6, seed=3))
    with pytest.raises(CheckpointError, match=r"mean code differs between layers.*safetensors"):
        to_nvlabs(g)
