"""D_w: its layers, written out."""

import pytest
import torch

from idinvert.errors import ConfigError
from idinvert.networks.latent_discriminator import LatentDiscriminator


def test_four_dense_layers_with_leaky_relu_between():
    torch.manual_seed(0)
    net = LatentDiscriminator(features=6, width=5).double()
    assert net.architecture == {"features": 6, "width": 5, "depth": 4}
    weights = [(layer.weight, layer.bias) for layer in net.layers]
    assert [tuple(w.shape) for w, _ in weights] == [(5, 6), (5, 5), (5, 5), (1, 5)]
    codes = torch.randn(3, 6, generator=torch.Generator().manual_seed(1)).double()
    expected = []
    for x in codes:
        for w, b in weights[:-1]:
            x = w @ x + b
            x = torch.stack([v if v > 0 else 0.2 * v for v in x])
        expected.append(weights[-1][0][0] @ x + weights[-1][1][0])
    torch.testing.assert_close(net(codes), torch.stack(expected), rtol=1e-12, atol=1e-14)


def test_errors():
    with pytest.raises(ConfigError, match="depth 1"):
        LatentDiscriminator(features=6, depth=1)
