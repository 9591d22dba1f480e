"""NVlabs' TensorFlow StyleGAN2: variables in their places, and the originals' images."""

import numpy as np
import pytest
import torch

from idinvert.checkpoints.families import tf_stylegan2
from idinvert.errors import CheckpointError

from .checks import (
    KEY,
    archive,
)
from .tf_stylegan2_files import TFStyleGAN2


def read(content, network: str | None = None):
    assert tf_stylegan2.recognise(archive(content, kind="pickle"))
    return tf_stylegan2.FAMILY.read(archive(content, kind="pickle"), key=KEY, network=network)


def test_which_generator() -> None:
    files = TFStyleGAN2()
    const = torch.as_tensor(files.g["G_synthesis/4x4/Const/const"])[0]
    for network, expected in {None: const, "g_ema": const, "Gs": const, "g": const + 1}.items():
        assert torch.equal(read(files.content(), network).generator.synthesis.const, expected)
    assert read(files.content()).meta == {"network": "Gs", "networks": ["Gs", "G", "D"]}
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
