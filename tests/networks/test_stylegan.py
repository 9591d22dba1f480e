"""StyleGAN's generator against its layers written out, as in NVlabs' code, in float64."""

import functools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from idinvert.networks.stylegan import Epilogue, StyleGANGenerator

from .small_networks import awake, rand
from .small_networks import generator as small_generator

small = functools.partial(small_generator, "stylegan")


def fused(x: Tensor, weight: Tensor) -> Tensor:
    """The padded filter, the sum of its four shifts, a transposed convolution."""
    w = F.pad(weight, (1, 1, 1, 1))
    w = sum(w[:, :, a : a + 4, b : b + 4] for a in (0, 1) for b in (0, 1))
    return F.conv_transpose2d(x, w.transpose(0, 1), stride=2, padding=1)


def by_hand(generator: StyleGANGenerator, w: Tensor, *, fused_from: int) -> Tensor:
    p = {k.removeprefix("synthesis."): v for k, v in generator.state_dict().items()}

    def epilogue(x: Tensor, i: int) -> Tensor:
        name = f"epilogues.{i}"
        x = x + p[f"noise_{i}"] * p[f"{name}.noise_weight"][None, :, None, None]
        x = F.leaky_relu(x + p[f"{name}.bias"][None, :, None, None], 0.2)
        x = x - x.mean(dim=(2, 3), keepdim=True)
        x = x / torch.sqrt((x**2).mean(dim=(2, 3), keepdim=True) + 1e-8)
        y = w[:, i] @ (p[f"{name}.affine.weight"] / math.sqrt(w.shape[2])).T
        y = (y + p[f"{name}.affine.bias"]).reshape(w.shape[0], 2, -1, 1, 1)
        return x * (y[:, 0] + 1) + y[:, 1]

    taps = torch.tensor([1.0, 2, 1], dtype=torch.float64) / 4
    x = epilogue(p["const"][None].repeat(w.shape[0], 1, 1, 1), 0)
    for i in range(1, w.shape[1]):
        weight = p[f"convs.{i - 1}.weight"]
        weight = weight * math.sqrt(2) / math.sqrt(weight[0].numel())
        if i % 2 == 1:
            x = F.conv2d(x, weight, padding=1)
        else:
            if 2 * x.shape[2] >= fused_from:
                x = fused(x, weight)
            else:
                x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
                x = F.conv2d(x, weight, padding=1)
            n, c, h, _ = x.shape
            x = x.reshape(n * c, 1, h, h)
            x = F.conv2d(x, taps[None, None, :, None], padding=(1, 0))
            x = F.conv2d(x, taps[None, None, None, :], padding=(0, 1)).reshape(n, c, h, h)
        x = epilogue(x, i)
    weight = p["to_rgb.weight"]
    return F.conv2d(x, weight / math.sqrt(weight.shape[1]), p["to_rgb.bias"])


@pytest.mark.parametrize("fused_from", [8, 16, 128])
def test_synthesis_equals_the_layers_written_out(fused_from):
    generator = small(fused_from=fused_from)
    w = rand(2, 6, 5)
    expected = by_hand(generator, w, fused_from=fused_from)
    torch.testing.assert_close(generator.synthesis(w).detach(), expected)


def test_fused_from_is_no_idle_choice():
    w = rand(1, 6, 5)
    images = [small(fused_from=side).synthesis(w) for side in (8, 16, 128)]
    assert not torch.allclose(images[0], images[1])
    assert not torch.allclose(images[1], images[2])


def test_final_tanh():
    w = rand(2, 6, 5)
    bounded = small(final_tanh=True)
    torch.testing.assert_close(bounded.synthesis(w), small().synthesis(w).tanh())
    assert small().synthesis(w).abs().max() > 1  # else the test shows little


def test_style_sets_mean_and_deviation_of_every_map():
    layer = awake(Epilogue(3, w_dim=4))
    w = rand(2, 4)
    y = layer(10 * rand(2, 3, 8, 8, seed=1) + 5, w, None)
    scale, shift = layer.affine(w).chunk(2, dim=1)
    torch.testing.assert_close(y.mean(dim=(2, 3)), shift)
    torch.testing.assert_close(y.std(dim=(2, 3), correction=0), (scale + 1).abs())


def test_initial_state():
    synthesis = StyleGANGenerator(resolution=8, z_dim=4, w_dim=4, channels=[4, 3]).synthesis
    assert (synthesis.const == 1).all()
    for layer in synthesis.epilogues:
        assert (layer.noise_weight == 0).all() and (layer.affine.bias == 0).all()
    assert synthesis.epilogues[3].noise_weight.shape == (3,)  # one weight a map


def test_the_paper_counts_at_256():
    """Sec. 6.3: a code of 14 × 512 = 7,168 numbers; with all noise maps 181,920."""
    with torch.device("meta"):
        generator = StyleGANGenerator(resolution=256, multi_w=True)
    assert len(generator.noise_shapes) == 14
    code = generator.num_layers * generator.w_dim
    assert code == 7168
    assert generator.mapping.layers[-1].weight.shape == (7168, 512)
    assert code + sum(h * w for h, w in generator.noise_shapes) == 181_920
    widths = [layer.bias.shape[0] for layer in generator.synthesis.epilogues[::2]]
    assert widths == [512, 512, 512, 512, 256, 128, 64]


def test_image_of_a_state_comes_last():
    generator, w = small(), rand(1, 6, 5)
    assert all(generator.synthesis(w, stop=k).image is None for k in range(6))
    torch.testing.assert_close(generator.synthesis(w, stop=6).image, generator.synthesis(w))
