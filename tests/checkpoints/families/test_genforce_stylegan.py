"""genforce's and Hammer's StyleGAN: every tensor's place, and the images, in float64."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from idinvert.checkpoints.checkpoint import Checkpoint
from idinvert.checkpoints.families import genforce
from idinvert.checkpoints.formats.read import read_archive
from idinvert.errors import CheckpointError

from . import stylegan_by_hand as hand
from .genforce_stylegan_files import discriminator_state, generator_state, write


def open_file(path: Path, network: str | None = None) -> Checkpoint:
    archive = read_archive(path, key="my.path")
    assert genforce.STYLEGAN.recognise(archive)
    return genforce.STYLEGAN.read(archive, key="my.path", network=network)


def generate(
    state: dict[str, Tensor], z: Tensor, *, hammer: bool, fused_from: int = 128
) -> tuple[Tensor, Tensor]:
    """The codes and the images of a generator's state dict."""
    p = hand.double(state)
    num_layers = sum(name.endswith(".style.bias") for name in p)
    depth = sum(name.startswith("mapping.") for name in p) // 2
    dense = [(p[f"mapping.dense{i}.weight"], p[f"mapping.dense{i}.bias"]) for i in range(depth)]
    w = hand.mapping(z, dense)
    w_dim = p["synthesis.layer0.style.weight"].shape[1]
    w = w.reshape(len(z), -1, w_dim).expand(-1, num_layers, -1)
    x = p["synthesis.layer0.const"].repeat(len(z), 1, 1, 1)
    for i in range(num_layers):
        layer = f"synthesis.layer{i}"
        if i > 0:
            weight = p[f"{layer}.weight"]
            if i % 2 == 1:
                x = hand.conv(x, weight)
            elif 2 * x.shape[2] >= fused_from:
                x = hand.blur(hand.fused_up(x, weight))
            else:
                x = hand.blur(hand.conv(hand.nearest_up(x), weight))
        if hammer:
            x = x + p[f"{layer}.noise"] * p[f"{layer}.noise_strength"]
        else:
            strength = p[f"{layer}.apply_noise.weight"].view(1, -1, 1, 1)
            x = x + p[f"{layer}.apply_noise.noise"] * strength
        x = hand.instance_norm(hand.lrelu(x + p[f"{layer}.bias"].view(1, -1, 1, 1)))
        x = hand.style(x, w[:, i], p[f"{layer}.style.weight"], p[f"{layer}.style.bias"])
    top = f"synthesis.output{num_layers // 2 - 1}"
    image = hand.conv(x, p[f"{top}.weight"], gain=1.0) + p[f"{top}.bias"].view(1, -1, 1, 1)
    return w, image


@pytest.mark.parametrize("hammer", [False, True], ids=["genforce", "hammer"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"repeat_w": False}, {"hidden": 7}, {"channels": (4, 4, 3, 3, 2, 2), "depth": 1}],
    ids=["small", "multi_w", "hidden", "128px"],
)
def test_images(tmp_path: Path, hammer: bool, settings: dict[str, Any]) -> None:
    held = write(tmp_path / "g.pth", hammer=hammer, **settings)
    networks = open_file(tmp_path / "g.pth")
    assert networks.meta["network"] == "generator_smooth"
    state = held["generator_smooth"]
    z = hand.normal(2, 6)
    codes, images = generate(state, z, hammer=hammer)
    generator: Any = networks.generator
    assert not generator.training and not any(p.requires_grad for p in generator.parameters())
    with torch.no_grad():
        single = generator(z.float())
        torch.testing.assert_close(single.double(), images, rtol=1e-4, atol=1e-4)
        generator.double()
        torch.testing.assert_close(generator.mapping(z), codes, rtol=0, atol=1e-9)
        torch.testing.assert_close(generator(z), images, rtol=0, atol=1e-6)
    assert images.std() > 0.1


@pytest.mark.parametrize("hammer", [False, True], ids=["genforce", "hammer"])
@pytest.mark.parametrize("batch", [2, 8])
def test_logits(tmp_path: Path, hammer: bool, batch: int) -> None:
    state = discriminator_state((5, 4, 3), fc_width=6, hammer=hammer)
    torch.save({"discriminator": state}, tmp_path / "d.pth")
    discriminator: Any = open_file(tmp_path / "d.pth").discriminator
    p = hand.double(state)
    names = {
        "rgb": "input0",
        "blocks": [("layer0", "layer1"), ("layer2", "layer3")],
        "conv": "layer4",
        "fc": "layer5",
        "out": "output" if hammer else "layer6",
    }
    x = hand.normal(batch, 3, 16, 16)
    expected = hand.discriminator(x, p.__getitem__, names)
    torch.testing.assert_close(discriminator.double()(x), expected, rtol=0, atol=1e-6)


def test_every_tensor_has_its_place(tmp_path: Path) -> None:
    held = write(tmp_path / "g.pth")
    networks = open_file(tmp_path / "g.pth")
    state, own = held["generator_smooth"], networks.generator.state_dict()
    for i in range(3):
        for kind in ("weight", "bias"):
            name = f"dense{i}.{kind}"
            assert torch.equal(own[f"mapping.layers.{i}.{kind}"], state[f"mapping.{name}"])
    for i in range(6):
        layer, native = f"synthesis.layer{i}", f"synthesis.epilogues.{i}"
        assert torch.equal(own[f"{native}.bias"], state[f"{layer}.bias"])
        assert torch.equal(own[f"{native}.affine.weight"], state[f"{layer}.style.weight"])
        assert torch.equal(own[f"{native}.affine.bias"], state[f"{layer}.style.bias"])
        assert torch.equal(own[f"{native}.noise_weight"], state[f"{layer}.apply_noise.weight"])
        assert torch.equal(own[f"synthesis.noise_{i}"], state[f"{layer}.apply_noise.noise"])
        if i:
            assert torch.equal(own[f"synthesis.convs.{i - 1}.weight"], state[f"{layer}.weight"])
    assert torch.equal(own["synthesis.const"], state["synthesis.layer0.const"][0])
    assert torch.equal(own["synthesis.to_rgb.weight"], state["synthesis.output2.weight"])
    assert torch.equal(own["w_avg"], state["truncation.w_avg"].expand(6, 5))
    assert torch.equal(networks.latent_avg, state["truncation.w_avg"])


@pytest.mark.parametrize("hammer", [False, True])
def test_a_mean_for_each_layer(tmp_path: Path, hammer: bool) -> None:
    held = write(tmp_path / "g.pth", repeat_w=False, hammer=hammer)
    networks = open_file(tmp_path / "g.pth")
    mean = held["generator_smooth"]["w_avg" if hammer else "truncation.w_avg"].view(6, 5)
    assert networks.generator.multi_w
    assert torch.equal(networks.generator.w_avg, mean) and torch.equal(networks.latent_avg, mean)


@pytest.mark.parametrize("choices", [{}, {"nested": True}, {"nested": True, "wrapped": True}])
@pytest.mark.parametrize("network", ["generator", "g", "generator_smooth", "g_ema", None])
def test_which_generator(tmp_path: Path, choices: dict[str, bool], network: str | None) -> None:
    held = write(tmp_path / "g.pth", **choices)
    name = "generator" if network in ("generator", "g") else "generator_smooth"
    networks = open_file(tmp_path / "g.pth", network)
    assert networks.meta == {
        "network": name,
        "networks": ["generator_smooth", "generator", "discriminator"],
    }
    const = held[name]["synthesis.layer0.const"][0]
    assert torch.equal(networks.generator.synthesis.const, const)


def test_a_generator_alone(tmp_path: Path) -> None:
    state = generator_state()
    torch.save(state, tmp_path / "g.pth")
    networks = open_file(tmp_path / "g.pth")
    assert networks.discriminator is None and networks.meta["network"] == "generator"
    with pytest.raises(CheckpointError, match=r"'generator_smooth'.*expected one of.*my\.path"):
        open_file(tmp_path / "g.pth", "generator_smooth")


def test_what_hammer_says_of_the_networks(tmp_path: Path) -> None:
    state = generator_state(hammer=True)
    d = discriminator_state(hammer=True)
    built: dict[str, Any] = {"final_tanh": True, "fused_scale": "auto", "fused_scale_res": 16}
    built |= {"resolution": 16, "noise_type": "spatial", "filter_kernel": (1, 2, 1)}
    content: dict[str, Any] = {"models": {"generator_smooth": state, "discriminator": d}}
    content["model_kwargs_init"] = {"generator_smooth": built, "discriminator": {"mbstd_groups": 2}}
    torch.save(content, tmp_path / "g.pth")
    networks = open_file(tmp_path / "g.pth")
    z = hand.normal(2, 6)
    images = generate(state, z, hammer=True, fused_from=16)[1].tanh()
    generator: Any = networks.generator
    torch.testing.assert_close(generator.double()(z), images, rtol=0, atol=1e-6)
    assert networks.discriminator.mbstd_group == 2  # type: ignore[union-attr]
    for name, value in (("mapping_lr_mul", 1.0), ("final_tanh", "yes"), ("fused_scale", 3)):
        content["model_kwargs_init"]["generator_smooth"] = {**built, name: value}
        torch.save(content, tmp_path / "g.pth")
        with pytest.raises(CheckpointError, match=name):
            open_file(tmp_path / "g.pth")


def broken(tmp_path: Path, **changes: Tensor | None) -> str:
    """The error of a file some of whose generator's tensors are replaced or taken out."""
    state = generator_state()
    for name, value in changes.items():
        state.pop(name, None)
        if value is not None:
            state[name] = value
    torch.save({"generator_smooth": state}, tmp_path / "g.pth")
    with pytest.raises(CheckpointError) as error:
        open_file(tmp_path / "g.pth")
    message = str(error.value)
    assert "g.pth" in message and "my.path" in message and "generator_smooth" in message
    return message


def test_whatever_does_not_fit_is_named(tmp_path: Path) -> None:
    message = broken(
        tmp_path,
        **{
            "synthesis.layer3.weight": None,
            "synthesis.layer2.apply_noise.noise": torch.zeros(1, 1, 16, 16),
            "mapping.dense1.bias": torch.zeros(4),
            "synthesis.surprise": torch.zeros(2),
        },
    )
    assert "missing: synthesis.layer3.weight" in message
    assert "extra: synthesis.surprise" in message
    assert "synthesis.layer2.apply_noise.noise (1, 1, 16, 16) instead of (1, 1, 8, 8)" in message
    assert "mapping.dense1.bias (4,) instead of (5,)" in message


def test_every_key_counts(tmp_path: Path) -> None:
    unused = ("synthesis.output0", "synthesis.output1", "synthesis.layer0.const")
    for name in generator_state():
        if name.startswith(unused):  # without the constant it is no file of this family
            continue
        message = broken(tmp_path, **{name: None})
        assert name in message


def test_another_filter_growing_and_labels_are_refused(tmp_path: Path) -> None:
    kernel = torch.ones(4, 1, 3, 3) / 9
    assert "synthesis.layer2.blur.kernel has other" in broken(
        tmp_path, **{"synthesis.layer2.blur.kernel": kernel}
    )
    assert "growing (level of detail 2.5)" in broken(
        tmp_path, **{"synthesis.lod": torch.tensor(2.5)}
    )
    assert "labels" in broken(tmp_path, **{"mapping.label_weight": torch.zeros(3, 6)})
