"""NVlabs' TensorFlow StyleGAN2: variables in their places, and the originals' images."""

import numpy as np
import pytest
import torch

from idinvert.checkpoints.families import tf_stylegan2
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
from .reference import double, normal
from .tf_stylegan2_files import TFStyleGAN2

CASES = {
    "ada": {},
    "stylegan2, default group": {"ada": False, "group": "default"},
    "ada, default group": {"group": "default"},
    "resnet and skip": {"arch_g": "resnet", "arch_d": "skip"},
    "orig": {"arch_g": "orig", "arch_d": "orig"},
    "grown, configurations B to D": {"ada": False, "arch_g": "grown", "arch_d": "grown"},
    "clamped": {"clamp": 0.7},
    "clamped resnet": {"arch_g": "resnet", "clamp": 0.7},
    "conditional": {"c_dim": 3},
    "8 px, depth 8": {"channels": (4, 3), "depth": 8},
}


def read(content, network: str | None = None):
    assert tf_stylegan2.recognise(archive(content, kind="pickle"))
    return tf_stylegan2.FAMILY.read(archive(content, kind="pickle"), key=KEY, network=network)


@pytest.mark.parametrize("case", CASES)
def test_images_and_logits_are_the_originals(case: str) -> None:
    files = TFStyleGAN2(**CASES[case])
    found = read(files.content())
    g, d = double(files.g), double(files.d)
    check_generator(
        found.generator,
        synthesis=lambda w: files.synthesis(g, w),
        mapping=lambda *z: files.mapping(g, *z),
    )
    check_discriminator(found.discriminator, lambda *x: files.judge(d, *x))
    assert torch.equal(found.latent_avg, torch.as_tensor(files.g["dlatent_avg"]))
    assert torch.equal(found.generator.w_avg[2], found.latent_avg)
    assert found.meta == {"network": "Gs", "networks": ["Gs", "G", "D"]}


@pytest.mark.parametrize("arch", ["skip", "resnet", "grown"])
def test_every_variable_counts(arch: str) -> None:
    c_dim = 2 if arch == "skip" else 0
    files = TFStyleGAN2(arch_g=arch, arch_d=arch, channels=(4, 3), c_dim=c_dim)
    w, z = normal(2, 4, 7, seed=1).double(), normal(2, 6, seed=2).double()
    x = normal(2, 3, 8, 8, seed=4).double()
    c = (normal(2, c_dim, seed=3).double(),) if c_dim else ()

    def images(variables):
        native = rebuilt(read(files.generator(variables)).generator)
        p = double(variables)
        codes = files.mapping(p, z, *c)[:, None] + w
        return native.synthesis(native.mapping(z, *c) + w), files.synthesis(p, codes)

    def logits(variables):
        content = (files.generator(files.g), files.discriminator(variables), files.content()[0])
        native = rebuilt(read(content).discriminator)
        return native(x, *c), files.judge(double(variables), x, *c)

    unused = [n for n in files.g | files.d if "_lod1" in n or n.endswith("lod")]
    check_every_tensor_counts(files.g, images, fixed=["dlatent_avg", *unused])
    check_every_tensor_counts(files.d, logits, fixed=unused)


@pytest.mark.parametrize("arch", ["skip", "resnet"])
def test_every_variable_is_named(arch: str) -> None:
    files = TFStyleGAN2(arch_g=arch, arch_d=arch, channels=(4, 3, 2), c_dim=2)
    check_every_key_is_named(files.g, lambda variables: read(files.generator(variables)))
    other = files.generator(files.g)
    check_every_key_is_named(
        files.d, lambda variables: read((other, files.discriminator(variables), other))
    )


def test_which_generator() -> None:
    files = TFStyleGAN2()
    const = torch.as_tensor(files.g["G_synthesis/4x4/Const/const"])[0]
    for network, expected in {None: const, "g_ema": const, "Gs": const, "g": const + 1}.items():
        assert torch.equal(read(files.content(), network).generator.synthesis.const, expected)
    alone = read(files.generator(files.g))
    assert torch.equal(alone.generator.synthesis.const, const) and alone.discriminator is None
    with pytest.raises(CheckpointError, match="no generator 'G_ema2'"):
        read(files.content(), "G_ema2")
    assert read(files.discriminator(files.d)).generator is None


def test_a_network_that_still_grows_is_refused() -> None:
    files = TFStyleGAN2(ada=False, arch_g="grown", arch_d="grown")
    files.g["lod"] = np.float32(0.5)
    with pytest.raises(CheckpointError, match=r"still growing \(lod=0\.5\)"):
        read(files.content())


@pytest.mark.parametrize(
    ("which", "name", "value"),
    [
        (2, "nonlinearity", "relu"),
        (2, "resample_kernel", [1, 2, 1]),
        (2, "mapping_lrmul", -1.0),
        (2, "conv_clamp", "256"),
        (1, "use_spectral_norm", True),
        (1, "num_channels", 1),
        (1, "label_size", 10),
    ],
)
def test_what_changes_the_images_is_refused(which: int, name: str, value) -> None:
    content = TFStyleGAN2().content()
    state = content[which].state
    for network in (content[which], *state["components"].values()):
        network.state["static_kwargs"][name] = value
    with pytest.raises(CheckpointError, match=r"expected|labels"):
        read(content)


def test_labels_of_the_old_kind_are_refused() -> None:
    files = TFStyleGAN2(ada=False)
    files.g["G_mapping/LabelConcat/weight"] = np.zeros((3, 6), dtype=np.float32)
    with pytest.raises(CheckpointError, match="labels"):
        read(files.content())


@pytest.mark.parametrize("content", [None, [], (), {}, (1, 2, 3), {"G": 1}])
def test_other_files_are_not_taken(content) -> None:
    assert not tf_stylegan2.recognise(archive(content))
