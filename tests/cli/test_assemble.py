"""What an objective is given, what an encoder takes over from its generator, and their words."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from idinvert.checkpoints.release import save_network
from idinvert.cli import assemble
from idinvert.config.compose import compose_plain
from idinvert.errors import ConfigError
from idinvert.evaluation.networks import fresh_encoder
from idinvert.networks.stylegan import StyleGANGenerator
from idinvert.networks.stylegan2 import StyleGAN2Generator
from idinvert.networks.stylegan2_discriminator import StyleGAN2Discriminator

SIZES = {"resolution": 8, "channels": [4, 4]}
TINY = [
    "scale.resolution=8",
    "scale.channels=[4,4]",
    "scale.w_dim=4",
    "scale.mapping_depth=2",
    "scale.encoder_channels=4",
    "scale.encoder_channels_max=8",
    "data.train=8",
    "data.test=4",
    "data.val=4",
]


def generator(kind: Any = StyleGAN2Generator, *, multi_w: bool = False) -> Any:
    torch.manual_seed(0)
    net = kind(**SIZES, z_dim=4, w_dim=4, mapping_depth=2, multi_w=multi_w)
    net.w_avg.normal_()
    return net.eval().requires_grad_(False)


@pytest.fixture
def trained(tmp_path):
    """A folder of G and D."""
    save_network(generator(), tmp_path / "generator.safetensors", provenance={})
    torch.manual_seed(1)
    discriminator = StyleGAN2Discriminator(**SIZES)
    save_network(discriminator, tmp_path / "discriminator.safetensors", provenance={})
    return f"generator.path={tmp_path}"


def composed(*words: str) -> dict[str, Any]:
    return compose_plain("train", [*words, *TINY])


def made(words: list[str], g: Any) -> Any:
    config = composed(*words)
    return fresh_encoder(config["encoder"], config["latent"], generator=g)


ASKED = {
    "domain_guided": {"generator", "discriminator", "encoder", "perceptual"},
    "conventional": {"generator", "encoder"},
    "e4e": {"generator", "encoder", "perceptual"},
    "force_in_domain": {"generator", "discriminator", "encoder", "perceptual"},
}


@pytest.mark.parametrize("experiment", ASKED)
def test_an_objective_is_given_what_it_asks_for_and_stands_on_no_more(trained, experiment):
    words = [f"experiment={experiment}", "generator=checkpoint", trained]
    words += ["perceptual=none"] if "perceptual" in ASKED[experiment] else []
    parts = assemble.assemble(composed(*words))
    networks = {"generator", "discriminator", "encoder", "perceptual", "segmenter"}
    assert set(parts.unused) == networks - ASKED[experiment]
    assert not parts.module.generator.training
    for name in ASKED[experiment] - {"perceptual"}:
        assert getattr(parts.module, name) is not None
    files = {"data", "generator"} | ({"discriminator"} & ASKED[experiment])
    assert set(parts.contents) == files
    assert parts.choices["objective"]["name"] == parts.experiment == experiment


def test_what_an_objective_does_not_read_makes_no_other_run(trained):
    words = ["experiment=conventional", "generator=checkpoint", trained]
    one = assemble.assemble(composed(*words))
    others = [
        assemble.assemble(composed(*words, more))
        for more in ("perceptual=none", "discriminator.init=scratch")
    ]
    assert {other.identity for other in others} == {one.identity}
    assert assemble.assemble(composed(*words, "objective.lr=0.1")).identity != one.identity


def test_a_gan_is_fresh_and_an_encoder_needs_a_trained_one():
    module = assemble.assemble(composed("experiment=gan")).module
    assert module.generator.training and module.discriminator.training
    with pytest.raises(ConfigError, match=r"needs a trained generator"):
        assemble.assemble(composed("experiment=conventional", "generator=stylegan2"))


@pytest.mark.parametrize("kind", [StyleGANGenerator, StyleGAN2Generator])
def test_a_noise_encoder_carries_its_generators_own_maps(kind):
    g = generator(kind)
    encoder = made(["encoder=noise", "encoder.noise_blocks=1"], g).eval()
    noise = encoder.encode(torch.zeros(2, 3, 8, 8)).noise
    assert [tuple(m.shape) for m in noise] == [(2, 1, h, w) for h, w in g.noise_shapes]
    for i, (side, _) in enumerate(g.noise_shapes):
        own = g.synthesis.get_buffer(f"noise_{i}").expand(2, -1, -1, -1)
        assert torch.equal(noise[i], own) is (side > 4)


@pytest.mark.parametrize("multi_w", [False, True])
def test_an_encoder_of_z_carries_its_generators_mapping_and_adds_no_average(multi_w):
    g = generator(multi_w=multi_w)
    encoder = made(["latent=z"], g)
    assert not encoder.offset and encoder.code_space == "z"
    z = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(encoder.mapping(z), g.mapping(z), rtol=0, atol=0)
    with pytest.raises(ConfigError, match=r"latent\.offset=none"):
        made(["latent=z", "latent.offset=w_avg"], g)


WORDS = [
    ([], {"name": "base", "noise_blocks": 0}, {"space": "w_plus", "deltas": False}),
    (["encoder=resnet18"], {"name": "resnet18", "depth": 18}, {"space": "w_plus"}),
    (["encoder=resnet34"], {"name": "resnet34"}, {}),
    (["encoder=resnet50"], {"name": "resnet50"}, {}),
    (["encoder=mobilenet"], {"name": "mobilenet", "noise_blocks": 0}, {}),
    (["encoder=noise", "encoder.noise_blocks=2"], {"name": "base", "noise_blocks": 2}, {}),
    (["encoder=noise", "encoder.noise_blocks=0"], {"name": "base", "noise_blocks": 0}, {}),
    (["latent=w"], {}, {"space": "w", "offset": "w_avg"}),
    (["latent=z"], {}, {"space": "z", "offset": "none"}),
    (["experiment=e4e"], {}, {"space": "w_plus", "deltas": True}),
]


@pytest.mark.parametrize(("words", "encoder", "latent"), WORDS, ids=lambda w: "+".join(w))
def test_the_words_that_tables_select_by(words, encoder, latent):
    config, g = composed(*words), generator()
    choices = assemble.choices_of(config, generator=g, encoder=made(words, g))
    assert choices["encoder"].items() >= encoder.items()
    assert choices["latent"].items() >= latent.items()
    assert choices["generator"]["name"] == "stylegan2"


LAZY = [
    (experiment, key)
    for experiment in ("gan", *ASKED)
    for key in compose_plain("train", [f"experiment={experiment}"])["objective"]
    if key.endswith("r1_every")
]


@pytest.mark.parametrize(("experiment", "key"), LAZY)
def test_adam_is_corrected_for_every_lazy_penalty(trained, experiment, key):
    assert {name for name, _ in LAZY} == {"gan", *ASKED} - {"conventional"}
    assert ("force_in_domain", "w_r1_every") in LAZY
    words = [f"experiment={experiment}"]
    if experiment != "gan":
        words += ["generator=checkpoint", trained, "perceptual=none"]

    def adams(*more):
        lazily = [f"objective.{other}=1" for name, other in LAZY if name == experiment]
        module = assemble.assemble(composed(*words, *lazily, *more)).module
        return [(a.defaults["lr"], a.defaults["betas"][1]) for a in module.configure_optimizers()]

    each, lazy = adams(), adams(f"objective.{key}=16")
    (corrected,) = [i for i, pair in enumerate(each) if lazy[i] != pair]
    lr, beta = each[corrected]
    assert lazy[corrected] == pytest.approx((lr * 16 / 17, beta ** (16 / 17)), rel=1e-12)
    if experiment != "gan":  # nothing to correct for
        assert adams(f"objective.{key}=16", "objective.r1_gamma=0") == each


GROUPS = [
    (["encoder=resnet18"], 16),
    (["encoder=base"], 32),
    (["encoder=base", "encoder.backbone.variant=v1"], 16),
    (["encoder=base", "encoder.backbone.norm=batch"], 16),
    (["encoder=noise"], 32),
    (["encoder=mobilenet", "encoder.backbone.norm=sync"], 32),
    (["encoder=resnet50", "encoder.backbone.norm=none"], None),
]


@pytest.mark.parametrize(("words", "group"), GROUPS)
def test_batch_norm_groups(words, group):
    more = ["encoder.noise_blocks=1"] if "encoder=noise" in words else []
    config = composed(*words, *more, "trainer=ddp_cpu", "batch_size=32")

    class Module:
        encoder = fresh_encoder(config["encoder"], config["latent"], generator=generator())

    assert assemble.batch_norm_group(config, Module()) == group


def test_a_run_is_known_by_what_its_statistics_are_of_and_not_by_how(trained):
    words = ["generator=checkpoint", trained, "perceptual=none", "batch_size=8"]
    norm = "encoder.backbone.norm="

    def identity(*more):
        return assemble.assemble(composed(*words, *more)).identity

    one = {identity(), identity(f"{norm}batch"), identity(f"{norm}sync")}
    one.add(identity("trainer=ddp_cpu"))  # v2's default is over all ranks
    assert len(one) == 1
    others = {identity("trainer=ddp_cpu", f"{norm}batch"), identity(f"{norm}none")}
    assert len(others | one) == 3
    config = composed("encoder.backbone.norm=sync")
    made = fresh_encoder(config["encoder"], config["latent"], generator=generator())
    choices = assemble.choices_of(config, generator=generator(), encoder=made)
    assert choices["encoder"]["norm"] == "batch"


def test_a_large_folder_has_the_counts_that_were_defaults():
    def counted(images, **node):
        parts = {"train": range(images), "val": range(0), "test": range(0)}
        return assemble._with_counts({"split": {"kind": "order", "test": None}, "val": None} | node,
                            SimpleNamespace(**parts))  # type: ignore[arg-type]  # fmt: skip

    assert counted(2_500) == {"split": {"kind": "order", "test": 500}, "val": 100}
    assert counted(2_499) == {"split": {"kind": "order", "test": None}, "val": None}
    assert counted(2_500, val=7)["val"] == 7
    assert counted(2_500, split={"kind": "list", "test": "t.txt"})["val"] is None


def test_the_images_of_its_statistics_make_a_run_where_it_has_any(trained):
    words = ["generator=checkpoint", trained, "perceptual=none"]

    def identities(*more):
        configs = [composed(*more, f"recalibrate={count}") for count in (0, 50, 60)]
        old = {key: value for key, value in configs[0].items() if key != "recalibrate"}
        return [assemble.assemble(config).identity for config in (old, *configs)]

    of_before, *counts = identities(*words)
    assert of_before == counts[0] and len(set(counts)) == 3
    assert len(set(identities(*words, "encoder.backbone.norm=none"))) == 1
    assert len(set(identities("experiment=gan"))) == 1


@pytest.mark.parametrize("init", ["generator", "checkpoint"])
def test_labels_must_be_the_classes_of_the_images(tmp_path, init):
    path = tmp_path / "discriminator.safetensors"
    save_network(generator(), tmp_path / "generator.safetensors", provenance={})
    save_network(StyleGAN2Discriminator(**SIZES, c_dim=3), path, provenance={})
    node = {"init": init, "path": str(tmp_path)}
    given = dict(generator_path=str(tmp_path), hashes={})
    with pytest.raises(ConfigError, match="labels of 3 classes, and the images are of no classes"):
        assemble.starting_discriminator(node, **given)
    with pytest.raises(ConfigError, match=r"images are of 2 classes.*generator\.label=0"):
        assemble.starting_discriminator(node, **given, classes=["a", "b"])
    assert assemble.starting_discriminator(node, **given, classes=["a", "b", "c"]).c_dim == 3
    assert assemble.starting_discriminator(node, **given, label=2).c_dim == 0


def test_a_new_gan_is_conditional_where_the_images_are_of_classes():
    words = ["experiment=gan", "data=all_mini"]

    def labels(*more):
        module = assemble.assemble(composed(*words, *more)).module
        return [getattr(net, "c_dim", 0) for net in (module.generator, module.discriminator)]

    assert labels() == [4, 4]
    assert labels("+generator.c_dim=0", "+discriminator.network.c_dim=0") == [0, 0]
    assert labels("generator=stylegan", "discriminator=stylegan") == [0, 0]
    with pytest.raises(ConfigError, match="G takes labels of 0 classes and D of 4"):
        labels("+generator.c_dim=0")
    with pytest.raises(ConfigError, match="generator is conditional: it takes labels of 3 classes"):
        labels("+generator.c_dim=3")
