"""One class of a conditional generator, by every method and task that draws codes."""

import pytest
import torch

from idinvert.checkpoints.bundle import find_weights, generator_hash, open_generator, open_network
from idinvert.checkpoints.mean_code import compute_mean_code
from idinvert.checkpoints.release import fingerprint, save_network
from idinvert.cli.assemble import assemble
from idinvert.cli.evaluate import evaluate
from idinvert.config.compose import compose_plain, given_keys
from idinvert.errors import ConfigError
from idinvert.evaluation.networks import fresh_encoder
from idinvert.networks.stylegan2 import StyleGAN2Generator
from idinvert.networks.stylegan2_discriminator import StyleGAN2Discriminator

pytestmark = pytest.mark.usefixtures("empty_cache")

SIZES = {"resolution": 16, "channels": [6, 6, 4]}
FEW = ("scale.resolution=16", "data.train=8", "data.val=2", "data.test=4")


@pytest.fixture
def networks(tmp_path):
    """The folder of a conditional G, its D, and an encoder that was trained for all classes."""
    torch.manual_seed(0)
    generator = StyleGAN2Generator(
        **SIZES, z_dim=6, w_dim=6, mapping_depth=2, multi_w=True, c_dim=4
    ).eval()
    for layer in generator.mapping.layers:
        torch.nn.init.normal_(layer.bias, std=10)
    folder = tmp_path / "networks"
    save_network(generator, folder / "generator.safetensors", provenance={})
    discriminator = StyleGAN2Discriminator(**SIZES, c_dim=4)
    save_network(discriminator, folder / "discriminator.safetensors", provenance={})
    words = ["encoder.backbone.channels=4", "encoder.backbone.channels_max=8", *FEW]
    node = compose_plain("train", words)["encoder"]
    latent = {"space": "w_plus", "offset": "auto"}
    encoder = fresh_encoder(node, latent, generator=generator).eval()
    stands_on = {"generator": fingerprint(folder / "generator.safetensors")}
    save_network(encoder, folder / "encoder.safetensors", provenance={"stands_on": stands_on})
    return folder


def test_a_class_has_its_own_mean_code_and_fingerprint(networks):
    node = {"path": str(networks), "label": None}
    whole = open_generator(node)
    assert generator_hash(node) == fingerprint(networks / "generator.safetensors")
    means, hashes = [], {generator_hash(node)}
    for label in range(4):
        one = open_generator(node | {"label": label})
        torch.testing.assert_close(one.w_avg, compute_mean_code(one))
        means.append(one.w_avg)
        hashes.add(generator_hash(node | {"label": label}))
        z, labels = torch.randn(2, 6), torch.eye(4)[[label] * 2]
        torch.testing.assert_close(one.mapping(z), whole.mapping(z, labels), rtol=1e-4, atol=1e-5)
    assert len(hashes) == 5
    assert all((means[k] - means[0]).abs().max() > 1e-3 for k in range(1, 4))


@pytest.fixture
def go(networks, tmp_path):
    def run(*overrides):
        words = [
            *FEW,
            "generator=checkpoint",
            f"generator.path={networks}",
            f"encoder.path={networks / 'encoder.safetensors'}",
            "perceptual=none",
            "~attributes",
            "n=2",
            "batch_size=2",
            "trainer=cpu",
            f"system.outputs={tmp_path / 'outputs'}",
            *overrides,
        ]
        return evaluate(compose_plain("evaluate", words), given=given_keys(words))

    return run


def test_every_method_inverts_a_class_as_any_generator(go):
    names = "metric.names=[mse,code_distance,code_error]"
    found = []
    for words in (
        ["inversion=encoder"],
        ["inversion=in_domain", "inversion.steps=2"],
        ["inversion=image2stylegan", "inversion.steps=2"],
        ["inversion=free", "inversion.steps=2"],
    ):
        (record,) = go("data=towers_mini", "generator.label=1", names, *words)
        found.append(record)
        assert record.metrics["code_distance_native"] == pytest.approx(1, abs=0.2)
    (other,) = go("data=towers_mini", "generator.label=0", names, "inversion=free")
    assert other.checkpoints["generator"] != found[0].checkpoints["generator"]
    assert {record.checkpoints["encoder"] for record in found[:2]} == {
        found[0].checkpoints["encoder"]
    }


def test_images_of_all_classes_need_a_label_where_codes_are_drawn_alone(go):
    for method in ("encoder", "image2stylegan"):
        words = ["data=all_mini", "inversion.steps=1"][: 1 + (method != "encoder")]
        (record,) = go(*words, f"inversion={method}", "metric.names=[mse]")
        assert record.n == 2 and record.data["name"] == "all_mini"
    for words in (
        ["inversion=free", "inversion.steps=1", "metric.names=[mse]"],
        ["inversion=encoder", "metric.names=[code_distance]"],
    ):
        with pytest.raises(ConfigError, match=r"conditional.*generator\.label=0"):
            go("data=all_mini", *words)
    with pytest.raises(ConfigError, match="has the classes 0 to 3"):
        go("data=all_mini", "generator.label=4", "inversion=encoder", "metric.names=[mse]")


def test_an_encoder_of_a_class_is_trained_against_d_of_that_class(networks, tmp_path):
    words = [
        "data=churches_mini",
        *FEW,
        "generator=checkpoint",
        f"generator.path={networks}",
        "generator.label=3",
        "perceptual=none",
        "encoder.backbone.channels=4",
        "encoder.backbone.channels_max=8",
    ]
    module = assemble(compose_plain("train", words)).module
    whole = open_network(str(networks), role="discriminator", key="discriminator.path")
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    expected = whole(x, torch.eye(4)[[3, 3]])
    torch.testing.assert_close(module.discriminator(x), expected, rtol=1e-4, atol=1e-5)
    assert module.generator.c_dim == 0


def test_the_attribute_network_of_all_domains_is_the_four_side_by_side():
    joined = open_network("shipped:all_mini", role="attributes", key="attributes.path")
    assert find_weights("shipped:all_mini", role="attributes", key="x").is_file()
    x = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    starts, features = 0, joined.features(x)
    for k, name in enumerate(("faces", "towers", "bedrooms", "churches")):
        one = open_network(f"shipped:{name}_mini", role="attributes", key="attributes.path")
        places = slice(starts, starts + len(one.names))
        assert joined.names[places] == tuple(f"{name}_{each}" for each in one.names)
        assert joined.kinds[places] == one.kinds
        torch.testing.assert_close(joined.predict(x)[:, places], one.predict(x))
        width = one.features(x).shape[1]
        ours = features[:, k * width : (k + 1) * width]
        torch.testing.assert_close(ours, one.features(x))
        starts = places.stop
    assert starts == len(joined.names)
    torch.testing.assert_close(joined.taps(x)[-1], features)
