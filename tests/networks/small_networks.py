"""Small networks in float64 whose every parameter counts, and checks that any network must pass."""

import json
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idinvert.networks.stylegan import StyleGANGenerator
from idinvert.networks.stylegan2 import StyleGAN2Generator
from idinvert.networks.stylegan2_discriminator import StyleGAN2Discriminator
from idinvert.networks.stylegan_discriminator import StyleGANDiscriminator

GENERATORS = {"stylegan": StyleGANGenerator, "stylegan2": StyleGAN2Generator}
DISCRIMINATORS = {"stylegan": StyleGANDiscriminator, "stylegan2": StyleGAN2Discriminator}


def rand(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers, float64."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=rng, dtype=torch.float64)


def awake(network: nn.Module) -> Any:
    """Float64, with every zero or one of the initial state replaced, so that nothing hides."""
    network = network.double()
    for index, (name, parameter) in enumerate(network.named_parameters()):
        if "noise" in name or "bias" in name or "const" in name:
            with torch.no_grad():
                parameter.add_(0.3 * rand(*parameter.shape, seed=index))
    return network


def generator(kind: str, **choices: Any) -> Any:
    """G of 16 px: six layers, w of 5 numbers."""
    settings = {"resolution": 16, "z_dim": 6, "w_dim": 5, "channels": [5, 4, 3], "mapping_depth": 2}
    return _made(GENERATORS[kind], settings | choices)


def discriminator(kind: str, **choices: Any) -> Any:
    """D of 16 px."""
    return _made(DISCRIMINATORS[kind], {"resolution": 16, "channels": [5, 4, 3]} | choices)


def grouped(x: Tensor, weight: Tensor, styles: Tensor, *, demodulate: bool, up: bool) -> Tensor:
    """Karras et al. 2020, Eqs. (1) and (3): the filters of each image, one group an image."""
    n, c_in, h, w = x.shape
    filters = weight[None] * styles[:, None, :, None, None]  # [N, C_out, C_in, k, k]
    if demodulate:
        norm = (filters**2).sum(dim=(2, 3, 4), keepdim=True)
        filters = filters / torch.sqrt(norm + 1e-8)
    c_out = weight.shape[0]
    x = x.reshape(1, n * c_in, h, w)
    if not up:
        flat = filters.reshape(n * c_out, c_in, *weight.shape[2:])
        y = F.conv2d(x, flat, padding=weight.shape[-1] // 2, groups=n)
        return y.reshape(n, c_out, h, w)
    flat = filters.transpose(1, 2).reshape(n * c_in, c_out, *weight.shape[2:])
    y = F.conv_transpose2d(x, flat, stride=2, groups=n)
    taps = torch.tensor([1.0, 3, 3, 1], dtype=torch.float64) / 4  # gain 2 along each axis
    y = y.reshape(n * c_out, 1, 2 * h + 1, 2 * w + 1)
    y = F.conv2d(y, taps[None, None, :, None], padding=(1, 0))
    y = F.conv2d(y, taps[None, None, None, :], padding=(0, 1))
    return y.reshape(n, c_out, 2 * h, 2 * w)


def _made(network: Any, settings: dict[str, Any]) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return awake(network(**settings))


def check_round_trip(network: Any, *inputs: Tensor) -> None:
    """The architecture survives JSON and rebuilds the network."""
    architecture = json.loads(json.dumps(network.architecture))
    again = type(network)(**architecture).double()
    assert again.architecture == network.architecture
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(*inputs), network(*inputs))


def check_double_backward(function: Any, *inputs: Tensor) -> None:
    """Second derivatives agree with finite differences along random directions."""
    leaves = tuple(x.detach().clone().requires_grad_() for x in inputs)
    assert torch.autograd.gradcheck(function, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, leaves, fast_mode=True)
