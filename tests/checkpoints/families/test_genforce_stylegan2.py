"""genforce's and Hammer's StyleGAN2: tensors in their places, and the originals' images."""

import pytest
import torch

from idinvert.checkpoints.families import genforce
from idinvert.errors import CheckpointError

from .checks import (
    KEY,
    archive,
)
from .genforce_stylegan2_files import Genforce


def read(content, network: str | None = None):
    assert genforce.STYLEGAN2.recognise(archive(content))
    return genforce.STYLEGAN2.read(archive(content), key=KEY, network=network)


def test_nested_wrapped_and_bare_files() -> None:
    files = Genforce(hammer=False)
    const = files.g["synthesis.early_layer.const"][0]
    wrapped = {f"module.{name}": value for name, value in files.g.items()}
    for content in (
        files.content(),
        {"models": files.content(), "optimizers": {}},
        {"models": {"generator_smooth": wrapped}},
        files.g,
    ):
        assert torch.equal(read(content).generator.synthesis.const, const)
    assert torch.equal(read(files.content(), "g").generator.synthesis.const, const + 1)
    with pytest.raises(CheckpointError, match="no generator 'Gs'"):
        read(files.content(), "Gs")
    alone = {"discriminator": files.d}
    assert read(alone).generator is None and read(alone).discriminator is not None


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("generator_smooth", "final_tanh", True),
        ("generator_smooth", "noise_type", "channel"),
        ("generator_smooth", "normalize_embedding_latent", True),
        ("generator_smooth", "mapping_lr_mul", 0),
        ("discriminator", "use_wscale", False),
        ("discriminator", "conv_clamp", "256"),
        ("discriminator", "label_dim", 4),
    ],
)
def test_what_changes_the_images_is_refused(part: str, name: str, value) -> None:
    content = Genforce(hammer=True).content()
    content["model_kwargs_init"][part][name] = value
    with pytest.raises(CheckpointError, match=r"expected|no native network"):
        read(content)


def test_labels_of_the_old_kind_are_refused() -> None:
    files = Genforce(hammer=False)
    files.g["mapping.label_weight"] = torch.zeros(3, 6)
    with pytest.raises(CheckpointError, match="labels"):
        read(files.content())


@pytest.mark.parametrize(
    "content",
    [None, [], {}, {"generator": 3}, {3: 4}, {"generator": {"synthesis.layer0.const": 1}}],
)
def test_other_files_are_not_taken(content) -> None:
    assert not genforce.STYLEGAN2.recognise(archive(content))


@pytest.mark.parametrize("hammer", [True, False])
def test_who_wrote_it_is_told(hammer: bool) -> None:
    found = read(Genforce(hammer=hammer).content())
    assert found.meta["dialect"] == ("hammer" if hammer else "genforce")
