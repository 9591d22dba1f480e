"""The noise encoder (Sec. 6.3): which map reaches which noise input, and what the others are."""

from typing import Any

import pytest
import torch

from idinvert.errors import ConfigError
from idinvert.networks.encoder import Encoder, Encoding, decode
from idinvert.networks.encoder_base import BaseBackbone
from idinvert.networks.encoder_resnet import ResNetBackbone
from idinvert.networks.stylegan import StyleGANGenerator
from idinvert.networks.stylegan2 import StyleGAN2Generator

RESOLUTION, WIDTH = 16, 4
KINDS = {"stylegan": StyleGANGenerator, "stylegan2": StyleGAN2Generator}
BLOCK_OF = {  # of every noise input, the block of G that it stands in, from 1
    "stylegan": [1, 1, 2, 2, 3, 3],
    "stylegan2": [1, 2, 2, 3, 3],
}


def generator(kind: str) -> Any:
    torch.manual_seed(0)
    net = KINDS[kind](
        resolution=RESOLUTION, z_dim=WIDTH, w_dim=WIDTH, channels=[4, 4, 4], mapping_depth=2
    )
    for name, parameter in net.named_parameters():
        if "noise" in name:  # strengths start at zero, and nothing would be seen
            torch.nn.init.constant_(parameter, 0.7)
    return net.eval().requires_grad_(False)


def own_noise(net: Any) -> list[torch.Tensor]:
    return [net.synthesis.get_buffer(f"noise_{i}") for i in range(len(net.noise_shapes))]


def encoder(net: Any, *, blocks: int, std: float | None = None) -> Encoder:
    torch.manual_seed(1)
    made = Encoder(
        backbone=BaseBackbone(resolution=RESOLUTION, channels=4, channels_max=8),
        num_layers=net.num_layers,
        w_dim=WIDTH,
        noise_blocks=blocks,
        noise_shapes=net.noise_shapes,
        noise_std=std,
    )
    if blocks:
        made.noise_head.adopt(net.synthesis)
    return made.eval()


def images(count: int = 2) -> torch.Tensor:
    rng = torch.Generator().manual_seed(2)
    return torch.rand(count, 3, RESOLUTION, RESOLUTION, generator=rng) * 2 - 1


@pytest.mark.parametrize("blocks", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_blocks_one_to_b_get_a_projection_of_the_features_of_their_side(kind, blocks):
    g = generator(kind)
    e = encoder(g, blocks=blocks)
    x = images()
    codes, noise, _ = e.encode(x)
    torch.testing.assert_close(codes, e(x), rtol=0, atol=0)
    assert noise is not None and len(noise) == len(g.noise_shapes)

    # E by hand: the stem at 16 px, its blocks at 8 and 4; G's blocks 3, 2, 1.
    features = {16: e.backbone.stem(x)}
    features[8] = e.backbone.blocks[0](features[16])
    features[4] = e.backbone.blocks[1](features[8])
    seen: dict[int, int] = {}
    for i, block in enumerate(BLOCK_OF[kind]):
        side = 4 * 2 ** (block - 1)
        assert noise[i].shape == (2, 1, side, side)
        if block > blocks:
            expected = own_noise(g)[i].expand(2, -1, -1, -1)
        else:
            conv = e.noise_head.convs[str(side)]
            k = seen.get(side, 0)
            weight, bias = conv.weight[k, :, 0, 0], conv.bias[k]
            expected = torch.einsum("nchw,c->nhw", features[side], weight)[:, None] + bias
            seen[side] = k + 1
        torch.testing.assert_close(noise[i], expected)
    assert seen == {4 * 2**b: BLOCK_OF[kind].count(b + 1) for b in range(blocks)}


@pytest.mark.parametrize("kind", KINDS)
def test_decode_hands_every_map_to_its_input(kind):
    """Moving one block's maps moves G's features from that block on and none before."""
    g = generator(kind)
    e = encoder(g, blocks=2)
    encoding = e.encode(images())
    base = decode(g, encoding)
    torch.testing.assert_close(
        base, g.synthesis(encoding.codes, noise=encoding.noise), rtol=0, atol=0
    )
    with torch.no_grad():
        e.noise_head.convs["8"].bias += 1.0
    moved = e.encode(images())
    first = BLOCK_OF[kind].index(2)  # the layer of block 2's first noise input
    before = [g.synthesis(c.codes, noise=c.noise, stop=first).features for c in (encoding, moved)]
    after = [g.synthesis(c.codes, noise=c.noise, stop=first + 1) for c in (encoding, moved)]
    torch.testing.assert_close(before[0], before[1], rtol=0, atol=0)
    assert (after[0].features - after[1].features).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_without_noise_blocks_g_keeps_its_own(kind):
    g = generator(kind)
    e = encoder(g, blocks=0)
    encoding = e.encode(images())
    assert encoding.noise is None
    torch.testing.assert_close(
        decode(g, encoding), g.synthesis(e(images()), noise="const"), rtol=0, atol=0
    )
    same = Encoding(encoding.codes, [n.expand(2, -1, -1, -1) for n in own_noise(g)])
    torch.testing.assert_close(decode(g, same), decode(g, encoding))


def test_gradients_reach_the_projections_of_its_blocks():
    g = generator("stylegan2")
    e = encoder(g, blocks=3).train()
    decode(g, e.encode(images())).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in e.noise_head.parameters())


def test_maps_of_normalised_features_start_with_unit_variance():
    g = generator("stylegan")
    e = encoder(g, blocks=3)
    rng = torch.Generator().manual_seed(0)
    features = {
        side: torch.randn(64, channels, side, side, generator=rng)
        for side, channels in e.backbone.channels_at.items()
    }
    spread = torch.stack([noise.std() for noise in e.noise_head(features)])
    assert 0.3 < spread.mean() < 1.7


@pytest.mark.parametrize("kind", KINDS)
def test_maps_can_be_scaled_to_what_they_add_to_g(kind):
    g = generator(kind)
    factors = [p for name, p in g.synthesis.named_parameters() if "noise" in name]
    for i, factor in enumerate(factors):
        factor.fill_(1e-3 * (i + 1))
    plain, scaled = encoder(g, blocks=2), encoder(g, blocks=2, std=0.1)
    state = plain.state_dict() | {"noise_head.gain": scaled.state_dict()["noise_head.gain"]}
    scaled.load_state_dict(state)
    before, after = plain.encode(images()).noise, scaled.encode(images()).noise
    for i, block in enumerate(BLOCK_OF[kind]):
        expected = 0.1 / (1e-3 * (i + 1)) if block <= 2 else 1.0
        torch.testing.assert_close(after[i], expected * before[i])


def test_the_architecture_rebuilds_it():
    g = generator("stylegan")
    net = encoder(g, blocks=2)
    twin = Encoder(**net.architecture)
    assert twin.architecture == net.architecture
    twin.load_state_dict(net.state_dict())
    for one, other in zip(net.encode(images()).noise, twin.eval().encode(images()).noise,
                          strict=True):  # fmt: skip
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_errors():
    g = generator("stylegan2")
    with pytest.raises(ConfigError, match=r"noise_blocks 4.*0 to 3.*encoder\.noise_blocks"):
        encoder(g, blocks=4)
    with pytest.raises(ConfigError, match=r"no features of 64x64.*to 4 at most.*encoder=noise"):
        Encoder(
            backbone=ResNetBackbone(resolution=64, width=4),
            num_layers=10,
            w_dim=WIDTH,
            noise_blocks=5,
            noise_shapes=[(side, side) for side in (4, 8, 8, 16, 16, 32, 32, 64, 64)],
        )
    with pytest.raises(ConfigError, match="do not belong together"):
        encoder(g, blocks=1).noise_head.adopt(generator("stylegan").synthesis)
