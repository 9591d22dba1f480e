"""NVlabs' PyTorch files: tensors in their places, and the original's images, in float64."""

import pytest
import torch

from idinvert.checkpoints.families import nvlabs
from idinvert.errors import CheckpointError

from .checks import (
    KEY,
    archive,
    check_discriminator,
    check_every_key_is_named,
    check_every_tensor_counts,
    check_generator,
    rebuilt,
)
from .nvlabs_files import NVlabs
from .reference import double, normal

CASES = {
    "skip and resnet": {},
    "resnet and skip": {"arch_g": "resnet", "arch_d": "skip"},
    "orig": {"arch_g": "orig", "arch_d": "orig"},
    "clamped": {"clamp": 0.7},
    "clamped resnet and skip": {"arch_g": "resnet", "arch_d": "skip", "clamp": 0.7},
    "conditional": {"c_dim": 3},
    "conditional, mapping of one layer": {"c_dim": 2, "depth": 1, "cmap_depth": 0},
    "deep mapping, whole batch": {"depth": 8, "group": None},
    "without noise": {"noise": False},
    "8 px": {"channels": (4, 3)},
}


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


@pytest.mark.parametrize("stored", [True, False], ids=["pickled", "plain"])
@pytest.mark.parametrize("case", CASES)
def test_images_and_logits_are_the_originals(case: str, stored: bool) -> None:
    files = NVlabs(**CASES[case])
    found = read(files, stored=stored)
    g, d = double(files.g), double(files.d)
    check_generator(
        found.generator,
        synthesis=lambda w: files.synthesis(g, w),
        mapping=lambda *z: files.mapping(g, z[0], z[1] if len(z) > 1 else None),
    )
    check_discriminator(found.discriminator, lambda *x: files.judge(d, *x))
    torch.testing.assert_close(found.latent_avg, files.g["mapping.w_avg"], rtol=0, atol=0)
    w_avg = found.generator.w_avg
    assert torch.equal(w_avg, files.g["mapping.w_avg"].expand_as(w_avg))
    assert found.generator.architecture["channels"] == list(files.channels)
    assert found.meta["network"] == "G_ema" and found.encoder is None
    if stored:
        assert found.meta["half_precision"] is True  # and runs in float32 all the same


@pytest.mark.parametrize("arch", ["skip", "resnet", "orig"])
def test_every_tensor_counts(arch: str) -> None:
    files = NVlabs(arch_g=arch, arch_d=arch, c_dim=2, channels=(4, 3))
    w, c = normal(2, 4, files.w_dim, seed=1).double(), normal(2, 2, seed=2).double()
    z, x = normal(2, files.z_dim, seed=3).double(), normal(2, 3, 8, 8, seed=4).double()

    def images(tensors):
        content = files.plain() | {"G_ema": tensors}
        native = rebuilt(nvlabs.FAMILY.read(archive(content), key=KEY).generator)
        p = double(tensors)
        codes = files.mapping(p, z, c)[:, None] + w
        return native.synthesis(native.mapping(z, c) + w), files.synthesis(p, codes)

    def logits(tensors):
        content = files.plain() | {"D": tensors}
        native = rebuilt(nvlabs.FAMILY.read(archive(content), key=KEY).discriminator)
        return native(x, c), files.judge(double(tensors), x, c)

    filters = [name for name in files.g | files.d if name.endswith("resample_filter")]
    check_every_tensor_counts(files.g, images, fixed=["mapping.w_avg", *filters])
    check_every_tensor_counts(files.d, logits, fixed=filters)


@pytest.mark.parametrize("arch", ["skip", "resnet", "orig"])
def test_every_key_is_named(arch: str) -> None:
    files = NVlabs(arch_g=arch, arch_d=arch, c_dim=2, channels=(4, 3))
    plain = files.plain()

    def generator(tensors):
        content = {"G_ema": tensors, "init_kwargs": plain["init_kwargs"]}
        return nvlabs.FAMILY.read(archive(content), key=KEY)

    def discriminator(tensors):
        return nvlabs.FAMILY.read(archive({"D": files.stored(tensors, name="D")}), key=KEY)

    check_every_key_is_named(files.g, generator)
    check_every_key_is_named(files.d, discriminator)


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
