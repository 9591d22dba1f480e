"""The pieces that generators share: widths, noise, truncation, the average w."""

import pytest
import torch

from idinvert.networks.generator import check_images, noise_map, resolutions, truncate, widths
from idinvert.networks.stylegan import StyleGANGenerator
from idinvert.networks.stylegan2 import StyleGAN2Generator


def test_resolutions() -> None:
    assert resolutions(8) == [4, 8]
    assert resolutions(64) == [4, 8, 16, 32, 64]
    for wrong in (4, 0, 48, 100):
        with pytest.raises(ValueError, match=r"generator\.resolution"):
            resolutions(wrong)


def test_widths_by_rule_and_by_list() -> None:
    rule = widths(256, None, channel_base=32768, channel_max=512)
    assert rule == [512, 512, 512, 512, 512, 256, 128]
    assert widths(16, [7, 5, 3], channel_base=1, channel_max=1) == [7, 5, 3]
    with pytest.raises(ValueError, match="2 entries, expected 3"):
        widths(16, [7, 5], channel_base=1, channel_max=1)


def test_const_and_no_noise() -> None:
    stored = torch.randn(1, 1, 4, 4)
    assert noise_map("const", 0, stored=stored, batch=3, rng=None) is stored
    assert noise_map("none", 0, stored=stored, batch=3, rng=None) is None


def test_random_noise_differs_between_images_and_repeats_with_the_seed() -> None:
    stored = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    before = torch.get_rng_state()
    draws = [
        noise_map("random", 0, stored=stored, batch=3, rng=torch.Generator().manual_seed(s))
        for s in (1, 1, 2)
    ]
    assert draws[0] is not None and draws[1] is not None and draws[2] is not None
    assert draws[0].shape == (3, 1, 4, 4) and draws[0].dtype == torch.float64
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0][0], draws[0][1])
    assert torch.equal(before, torch.get_rng_state())


def test_given_maps_and_what_does_not_fit() -> None:
    stored = torch.zeros(1, 1, 4, 4)
    shared, own = torch.ones(1, 1, 4, 4), torch.ones(3, 1, 4, 4)
    assert noise_map([own, shared], 1, stored=stored, batch=3, rng=None) is shared
    assert noise_map([own, shared], 0, stored=stored, batch=3, rng=None) is own
    with pytest.raises(ValueError, match=r"noise map 0 has shape \(2, 1, 4, 4\)"):
        noise_map([torch.ones(2, 1, 4, 4)], 0, stored=stored, batch=3, rng=None)
    with pytest.raises(ValueError, match="noise map 0"):
        noise_map([torch.ones(3, 1, 8, 8)], 0, stored=stored, batch=3, rng=None)
    with pytest.raises(ValueError, match="needs rng"):
        noise_map("random", 0, stored=stored, batch=3, rng=None)
    with pytest.raises(ValueError, match="noise='fixed'"):
        noise_map("fixed", 0, stored=stored, batch=3, rng=None)


@pytest.mark.parametrize("kind", [StyleGANGenerator, StyleGAN2Generator])
def test_codes_noise_and_spans_that_do_not_fit(kind: type) -> None:
    generator = kind(resolution=8, z_dim=4, w_dim=4, channels=[4, 4], mapping_depth=1)
    for shape in ((2, 4), (2, 5, 4), (2, 4, 3)):
        with pytest.raises(ValueError, match=r"expected \[N, 4, 4\]"):
            generator.synthesis(torch.zeros(shape))
    w, count = torch.zeros(2, 4, 4), len(generator.noise_shapes)
    with pytest.raises(ValueError, match=f"got 1 noise maps, expected {count}"):
        generator.synthesis(w, [torch.ones(1, 1, 4, 4)])
    done = generator.synthesis(w, stop=3)
    for span in ({"resume": done, "stop": 2}, {"stop": -1}, {"stop": 5}):
        with pytest.raises(ValueError, match="<= 4"):
            generator.synthesis(w, **span)


def test_images_that_do_not_fit() -> None:
    check_images(torch.zeros(2, 3, 8, 8), 8)
    for shape in ((3, 8, 8), (2, 1, 8, 8), (2, 3, 16, 16)):
        with pytest.raises(ValueError, match=r"data\.resolution"):
            check_images(torch.zeros(shape), 8)


def test_truncation() -> None:
    w, w_avg = torch.full((2, 3, 4), 5.0), torch.full((3, 4), 1.0)
    assert truncate(w, w_avg, 1.0) is w
    torch.testing.assert_close(truncate(w, w_avg, 0.25), torch.full((2, 3, 4), 2.0))
    torch.testing.assert_close(truncate(w, w_avg, 0.0), torch.full((2, 3, 4), 1.0))


def test_average_moves_layer_by_layer() -> None:
    generator = StyleGANGenerator(resolution=8, z_dim=2, w_dim=2, channels=[4, 4], mapping_depth=1)
    generator.w_avg.copy_(torch.tensor([[1.0, 1.0], [0.0, 0.0]]).repeat(2, 1))
    w = torch.tensor([[[2.0, 4.0], [8.0, 0.0]], [[4.0, 4.0], [8.0, 0.0]]], requires_grad=True)
    generator.track_w_avg(w.repeat(1, 2, 1), decay=0.75)
    expected = torch.tensor([[1.5, 1.75], [2.0, 0.0]]).repeat(2, 1)
    torch.testing.assert_close(generator.w_avg, expected)
    assert not generator.w_avg.requires_grad
