"""StyleGAN2's files: which generator is taken, what is refused, what one family alone holds."""

from typing import Any

import numpy as np
import pytest
import torch

from idinvert.checkpoints.checkpoint import Checkpoint
from idinvert.checkpoints.families import genforce, nvlabs, rosinality, tf_stylegan2
from idinvert.checkpoints.families.family import Family
from idinvert.errors import CheckpointError

from .checks import KEY, archive, whole
from .genforce_stylegan2_files import Genforce
from .nvlabs_files import NVlabs
from .reference import normal
from .rosinality_files import Rosinality
from .tf_stylegan2_files import TFStyleGAN2

NVLABS, ROSINALITY = nvlabs.FAMILY, rosinality.FAMILY
GENFORCE, TENSORFLOW = genforce.STYLEGAN2, tf_stylegan2.FAMILY


def read(family: Family, content: Any, network: str | None = None) -> Checkpoint:
    assert family.recognise(archive(content))
    return whole(family.read(archive(content), key=KEY, network=network))


def nvlabs_content(files: NVlabs, **networks: Any) -> dict[str, Any]:
    stored = {"G_ema": files.stored(files.g, name="Generator")}
    return stored | networks | {"augment_pipe": None, "training_set_kwargs": {"path": "a.zip"}}


def refused(family: Family, content: Any, match: str, network: str | None = None) -> None:
    with pytest.raises(CheckpointError, match=match) as error:
        read(family, content, network)
    assert "some.file" in str(error.value)


def test_which_generator():
    """The averaged one by default; both by the family's name, and by g_ema and g."""
    pair = NVlabs()
    live = {name: value + 1 for name, value in pair.g.items() if "filter" not in name}
    own = {"G_ema": pair.g, "G": pair.g | live, "init_kwargs": pair.plain()["init_kwargs"]}
    for family, content, ema, g, key in (
        (NVLABS, own, "G_ema", "G", "synthesis.b4.const"),
        (ROSINALITY, Rosinality().content(), "g_ema", "g", "input.input"),
        (GENFORCE, Genforce(hammer=False).content(), "generator_smooth", "generator", "const"),
        (TENSORFLOW, TFStyleGAN2().content(), "Gs", "G", "const"),
    ):
        averaged = read(family, content).generator.synthesis.const
        if isinstance(content, dict):
            held = next(value for name, value in content[ema].items() if name.endswith(key))
            assert torch.equal(averaged, held.reshape(averaged.shape))
        for name, expected in {ema: 0, "g_ema": 0, ema.upper(): 0, g: 1, "g": 1}.items():
            found = read(family, content, name)
            assert torch.equal(found.generator.synthesis.const, averaged + expected)
            assert found.meta["network"] == (g if expected else ema)
        refused(family, content, f"no generator 'D2'.*{ema}.*{g}", "D2")
    assert read(TENSORFLOW, TFStyleGAN2().content()).meta["networks"] == ["Gs", "G", "D"]
    assert read(ROSINALITY, Rosinality().content()).meta["networks"] == ["g_ema", "g", "d"]


def test_files_of_one_network():
    files = NVlabs()
    found = read(NVLABS, {"D": files.d, "G": files.g})
    assert found.meta["network"] == "G" and found.discriminator is not None
    content = Rosinality().content()
    del content["g_ema"]
    assert read(ROSINALITY, content).meta["network"] == "g"
    refused(ROSINALITY, content, r"no generator 'g_ema', expected one of \['g'\]", "g_ema")
    tf, plain = TFStyleGAN2(), Genforce(hammer=False)
    for family, g, d in (
        (TENSORFLOW, tf.generator(tf.g), tf.discriminator(tf.d)),
        (GENFORCE, plain.g, {"discriminator": plain.d}),
    ):
        found = read(family, g)
        assert found.generator is not None and found.discriminator is None
        found = read(family, d)
        assert found.generator is None and found.discriminator is not None


def test_nested_and_wrapped_files_of_genforce():
    files = Genforce(hammer=False)
    wrapped = {f"module.{name}": value for name, value in files.g.items()}
    for content in (
        {"models": files.content(), "optimizers": {}},
        {"models": {"generator_smooth": wrapped}},
    ):
        const = read(GENFORCE, content).generator.synthesis.const
        assert torch.equal(const, files.g["synthesis.early_layer.const"][0])
    for hammer, name in ((True, "hammer"), (False, "genforce")):
        assert read(GENFORCE, Genforce(hammer=hammer).content()).meta["dialect"] == name


@pytest.mark.parametrize(
    ("family", "content"),
    [
        *((NVLABS, c) for c in (None, 3, [], {}, {"G_ema": 3}, {"G": {}}, {3: 4}, ("G",))),
        *((ROSINALITY, c) for c in (None, [], {}, {"g_ema": 3}, {"g_ema": {3: 4}}, {"d": {}})),
        *((GENFORCE, c) for c in (None, [], {}, {"generator": 3}, {3: 4})),
        (GENFORCE, {"generator": {"synthesis.layer0.const": 1}}),
        *((TENSORFLOW, c) for c in (None, [], (), {}, (1, 2, 3), {"G": 1})),
    ],
)
def test_other_files_are_not_taken(family, content):
    assert not family.recognise(archive(content))


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
def test_attributes_of_nvlabs_that_change_the_images(path, name, value, match):
    content = nvlabs_content(NVlabs())
    layer = content["G_ema"]
    for part in path.split("."):
        layer = layer.state["_modules"][part]
    layer.state[name] = value
    refused(NVLABS, content, match)


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
def test_settings_of_hammer_that_change_the_images(part, name, value):
    content = Genforce(hammer=True).content()
    content["model_kwargs_init"][part][name] = value
    refused(GENFORCE, content, r"expected|no native network")


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
def test_settings_of_tensorflow_that_change_the_images(which, name, value):
    content = TFStyleGAN2().content()
    for network in (content[which], *content[which].state["components"].values()):
        network.state["static_kwargs"][name] = value
    refused(TENSORFLOW, content, r"expected|labels")


def test_networks_that_the_native_ones_are_not():
    growing = TFStyleGAN2(ada=False, arch_g="grown", arch_d="grown")
    growing.g["lod"] = np.float32(0.5)
    refused(TENSORFLOW, growing.content(), r"still growing \(lod=0\.5\)")
    old, label = TFStyleGAN2(ada=False), "G_mapping/LabelConcat/weight"
    old.g[label] = np.zeros((3, 6), dtype=np.float32)
    refused(TENSORFLOW, old.content(), "labels")
    plain = Genforce(hammer=False)
    plain.g["mapping.label_weight"] = torch.zeros(3, 6)
    refused(GENFORCE, plain.content(), "labels")
    tensors = {"synthesis.input.freqs": torch.ones(4, 2), "mapping.w_avg": torch.ones(5)}
    alias_free = NVlabs().stored(tensors, name="Generator")
    refused(NVLABS, {"G_ema": alias_free}, "StyleGAN3")


def test_a_filter_of_other_values_is_named():
    files, name = NVlabs(), "synthesis.b16.conv0.resample_filter"
    files.g[name] = torch.ones(4, 4) / 16
    refused(NVLABS, nvlabs_content(files), rf"{name} has other values")
    for name in ("convs.0.conv.blur.kernel", "to_rgbs.0.upsample.kernel"):  # without their gain
        made = Rosinality()
        made.g[name] = made.g[name] / 4
        refused(ROSINALITY, made.content(), rf"{name} has other values")


def test_half_precision_is_told():
    files = NVlabs()
    found = read(NVLABS, nvlabs_content(files))
    assert found.meta["half_precision"] is True  # and runs in float32 all the same
    assert read(NVLABS, files.plain()).meta["half_precision"] is False


def test_forms_of_the_mean_code():
    content = Rosinality().content()
    for shape in ((6,), (1, 6), (6, 6)):
        mean = normal(*shape, seed=9)
        found = read(ROSINALITY, content | {"latent_avg": mean})
        assert torch.equal(found.generator.w_avg, mean.expand(6, 6))
        assert found.latent_avg is not None
        assert found.latent_avg.shape == ((6, 6) if shape == (6, 6) else (6,))
    for mean in (torch.zeros(5), torch.zeros(2, 6), torch.zeros(6).long(), 3):
        match = r"latent_avg .*instead of \(6, 6\)|latent_avg .*int64"
        refused(ROSINALITY, content | {"latent_avg": mean}, match)
    del content["latent_avg"]
    files = NVlabs()
    del files.g["mapping.w_avg"]
    untracked = nvlabs_content(files)
    untracked["G_ema"].state["_modules"]["mapping"].state["w_avg_beta"] = None
    for found in (read(ROSINALITY, content), read(NVLABS, untracked)):
        assert found.latent_avg is None and not found.generator.w_avg.any()


def test_without_constant_noise_a_fixed_one_is_drawn():
    files = Rosinality()
    files.g = {name: value for name, value in files.g.items() if not name.startswith("noises.")}
    content = files.content()
    before = torch.random.get_rng_state()
    first, again = read(ROSINALITY, content), read(ROSINALITY, content)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.meta["constant_noise"] is False
    noise = first.generator.synthesis.get_buffer("noise_3")
    assert torch.equal(noise, again.generator.synthesis.get_buffer("noise_3"))
    assert 0.5 < noise.std() < 1.5


def test_the_multiplier_of_the_usual_widths_is_told():
    for widths, expected in (
        ([512, 512, 512, 512, 512, 256, 128], [2]),
        ([512, 512, 512, 512, 256, 128, 64], [1]),
        ([512, 512, 512], [1, 2]),
        ([5, 4, 3], []),
    ):
        assert rosinality.channel_multipliers(widths) == expected


def test_what_is_larger_than_the_file_takes_no_memory():
    files = Rosinality()
    for huge in (
        torch.zeros(1, 1).expand(1, 10**9).reshape(1, 10**9, 1, 1, 1)[:, :, :, :, :0],
        torch.zeros(()).expand(1, 10**6, 10**6, 1, 1),
    ):
        content = files.content() | {"g_ema": files.g | {"conv1.conv.weight": huge}}
        refused(ROSINALITY, content, r"conv1\.conv\.weight")
