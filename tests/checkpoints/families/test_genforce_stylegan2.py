"""genforce's and Hammer's StyleGAN2: tensors in their places, and the originals' images."""

import pytest
import torch

from idinvert.checkpoints.families import genforce
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
from .genforce_stylegan2_files import Genforce
from .reference import double, normal

CASES = {
    "genforce": {"hammer": False},
    "genforce, skip D": {"hammer": False, "arch_d": "skip"},
    "genforce, origin": {"hammer": False, "arch_g": "origin", "arch_d": "origin"},
    "genforce, multi-w": {"hammer": False, "repeat_w": False},
    "genforce, 8 px": {"hammer": False, "channels": (4, 3), "depth": 8},
    "hammer": {"hammer": True},
    "hammer, resnet and skip": {"hammer": True, "arch_g": "resnet", "arch_d": "skip"},
    "hammer, origin": {"hammer": True, "arch_g": "origin", "arch_d": "origin"},
    "hammer, clamped": {"hammer": True, "clamp": 0.7},
    "hammer, conditional": {"hammer": True, "c_dim": 3},
    "hammer, multi-w": {"hammer": True, "repeat_w": False, "depth": 1},
}


def read(content, network: str | None = None):
    assert genforce.STYLEGAN2.recognise(archive(content))
    return genforce.STYLEGAN2.read(archive(content), key=KEY, network=network)


@pytest.mark.parametrize("case", CASES)
def test_images_and_logits_are_the_originals(case: str) -> None:
    files = Genforce(**CASES[case])
    found = read(files.content())
    g, d = double(files.g), double(files.d)
    check_generator(
        found.generator,
        synthesis=lambda w: files.synthesis(g, w),
        mapping=lambda *z: files.mapping(g, *z),
    )
    check_discriminator(found.discriminator, lambda *x: files.judge(d, *x))
    mean = files.g["w_avg" if files.hammer else "truncation.w_avg"]
    assert torch.equal(found.latent_avg, mean if files.repeat_w else mean.reshape(-1, files.w_dim))
    w_avg = found.generator.w_avg
    assert torch.equal(w_avg, found.latent_avg.expand_as(w_avg))
    assert found.generator.multi_w is not files.repeat_w
    assert found.meta["dialect"] == ("hammer" if files.hammer else "genforce")


@pytest.mark.parametrize(
    "case",
    [
        {"hammer": False, "arch_d": "skip"},
        {"hammer": False, "arch_g": "origin"},
        {"hammer": True, "arch_g": "resnet"},
        {"hammer": True, "arch_d": "skip", "c_dim": 2},
    ],
)
def test_every_tensor_counts(case: dict) -> None:
    files = Genforce(**case, channels=(4, 3))
    w, z = normal(2, 4, 7, seed=1).double(), normal(2, 6, seed=2).double()
    x = normal(2, 3, 8, 8, seed=4).double()
    c = (normal(2, files.c_dim, seed=3).double(),) if files.c_dim else ()

    def images(tensors):
        native = rebuilt(read({"generator": tensors}).generator)
        p = double(tensors)
        codes = files.mapping(p, z, *c)[:, None] + w
        return native.synthesis(native.mapping(z, *c) + w), files.synthesis(p, codes)

    def logits(tensors):
        content = {"generator": files.g, "discriminator": tensors}
        native = rebuilt(read(content).discriminator)
        return native(x, *c), files.judge(double(tensors), x, *c)

    filters = [name for name in files.g | files.d if name.endswith(("kernel", "filter"))]
    means = ["w_avg", "truncation.w_avg"]
    check_every_tensor_counts(files.g, images, fixed=[*filters, *means])
    check_every_tensor_counts(files.d, logits, fixed=filters)


@pytest.mark.parametrize("hammer", [True, False])
def test_every_key_is_named(hammer: bool) -> None:
    files = Genforce(hammer=hammer, channels=(4, 3), c_dim=2 if hammer else 0)
    check_every_key_is_named(files.g, lambda tensors: read({"generator_smooth": tensors}))
    content = {"generator": files.g}
    check_every_key_is_named(files.d, lambda tensors: read(content | {"discriminator": tensors}))


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
