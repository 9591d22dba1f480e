"""StyleGAN2's generator against its layers written out, in NVlabs' order, in float64."""

import functools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from idinvert.networks.stylegan2 import StyleGAN2Generator

from .small_networks import check_round_trip, grouped, rand
from .small_networks import generator as small_generator

small = functools.partial(small_generator, "stylegan2")


def up2(x: Tensor) -> Tensor:
    """Zeros between, filter [1, 3, 3, 1] along both axes, gain 4."""
    n, c, h, w = x.shape
    y = x.new_zeros(n, c, 2 * h, 2 * w)
    y[:, :, ::2, ::2] = x
    return filtered(F.pad(y, (2, 1, 2, 1)))


def filtered(x: Tensor) -> Tensor:
    """Filter [1, 3, 3, 1] / 4 along both axes, without padding."""
    taps = (0.25, 0.75, 0.75, 0.25)
    x = sum(t * x[:, :, i : x.shape[2] - 3 + i] for i, t in enumerate(taps))
    return sum(t * x[:, :, :, i : x.shape[3] - 3 + i] for i, t in enumerate(taps))


def by_hand(generator: StyleGAN2Generator, w: Tensor) -> Tensor:
    """Blocks as in NVlabs' networks: (conv0 up), conv1, ToRGB with the next w, skip image."""
    p = {k.removeprefix("synthesis."): v for k, v in generator.state_dict().items()}

    def styles(name: str, w: Tensor) -> Tensor:
        scale = 1 / math.sqrt(w.shape[1])
        return w @ (p[f"{name}.affine.weight"] * scale).T + p[f"{name}.affine.bias"]

    def layer(x: Tensor, i: int, w: Tensor, *, up: bool) -> Tensor:
        name = f"convs.{i}"
        x = grouped(x, p[f"{name}.weight"], styles(name, w), up=up, demodulate=True)
        x = x + p[f"noise_{i}"] * p[f"{name}.noise_strength"]
        return F.leaky_relu(x + p[f"{name}.bias"][:, None, None], 0.2) * math.sqrt(2)

    x = p["const"][None].repeat(w.shape[0], 1, 1, 1)
    image, conv, code = None, 0, 0
    for block in range(3):
        if block > 0:
            x = layer(x, conv, w[:, code], up=True)
            conv, code = conv + 1, code + 1
        x = layer(x, conv, w[:, code], up=False)
        conv, code = conv + 1, code + 1
        name = f"to_rgb.{block}"
        weight = p[f"{name}.weight"]
        s = styles(name, w[:, code]) / math.sqrt(weight.shape[1])  # shares w with the next conv0
        rgb = grouped(x, weight, s, up=False, demodulate=False) + p[f"{name}.bias"][:, None, None]
        image = rgb if image is None else up2(image) + rgb
    assert image is not None
    return image


def test_synthesis_equals_the_layers_written_out():
    generator = small()
    w = rand(2, 6, 5)
    torch.testing.assert_close(generator.synthesis(w).detach(), by_hand(generator, w))


def test_clamp_bounds_and_changes_the_image_only_where_it_bites():
    w = rand(2, 6, 5)
    plain, loose, tight = small(), small(conv_clamp=256.0), small(conv_clamp=0.1)
    torch.testing.assert_close(loose.synthesis(w), plain.synthesis(w))
    state = tight.synthesis(w, stop=5)
    assert state.features.abs().max().item() == pytest.approx(0.1)
    assert state.image.abs().max() < 0.3  # two ToRGB of at most 0.1, upsampled


def test_parameters_at_full_scale_are_config_f():
    """30.37 M parameters at 1024 px, as NVlabs print for config F (noise and w_avg apart)."""
    with torch.device("meta"):
        generator = StyleGAN2Generator(resolution=1024)
    assert sum(p.numel() for p in generator.parameters()) == 30_370_060
    assert generator.num_layers == 18


def test_images_start_at_unit_scale():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = StyleGAN2Generator(resolution=16, z_dim=32, w_dim=32, channels=[32, 32, 32])
    with torch.no_grad():
        deviation = generator(rand(64, 32).float()).std().item()
    assert 0.3 < deviation < 3


def test_image_of_a_state_holds_what_was_shown():
    generator, w = small(), rand(1, 6, 5)
    assert generator.synthesis(w, stop=1).image is None
    assert generator.synthesis(w, stop=2).image.shape == (1, 3, 4, 4)
    assert generator.synthesis(w, stop=4).image.shape == (1, 3, 8, 8)
    torch.testing.assert_close(generator.synthesis(w, stop=6).image, generator.synthesis(w))


@pytest.mark.parametrize(("connections", "count"), [("skip", 3), ("resnet", 1), ("orig", 1)])
def test_layers_of_each_architecture(connections, count):
    generator = small(connections=connections)
    assert len(generator.synthesis.to_rgb) == count
    assert len(generator.synthesis.shortcuts) == (2 if connections == "resnet" else 0)
    state = generator.synthesis(rand(1, 6, 5), stop=4)
    assert (state.image is None) is (connections != "skip")
    assert (state.shortcut is None) is (connections != "resnet")


def test_a_residual_block_keeps_the_scale():
    """Both branches of a sum are scaled by √½ (NVlabs' order: clamp to the bound times √½)."""
    generator = small(connections="resnet", conv_clamp=0.1)
    state = generator.synthesis(rand(2, 6, 5), stop=4)  # the first convolution of 16 px is done
    before = generator.synthesis(rand(2, 6, 5), stop=2)
    assert before.features.abs().max().item() == pytest.approx(0.1)
    after = generator.synthesis(rand(2, 6, 5), resume=state, stop=5).features - state.shortcut
    assert after.abs().max().item() == pytest.approx(0.1 * math.sqrt(0.5))


def test_labels():
    generator = small(c_dim=3, embed_dim=4, mapping_width=7)
    z, c = rand(2, 6), rand(2, 3, seed=1)
    w = generator.mapping(z, c)
    torch.testing.assert_close(generator(z, c), generator.synthesis(w))
    assert not torch.allclose(generator.mapping(z, c + 1), w)
    for wrong in (None, rand(2, 4), rand(3, 3)):
        with pytest.raises(ValueError, match=r"conditional: labels c .*expected \[2, 3\]"):
            generator(z, wrong)
    check_round_trip(generator, z, c)


def test_unknown_connections_are_refused():
    with pytest.raises(ValueError, match=r"connections='unet'.*generator\.connections"):
        small(connections="unet")
