"""Checks that any generator must pass; the test files of the two StyleGANs call them."""

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from idinvert.networks.generator import SynthesisState


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


def check_stop_and_resume(generator: Any) -> None:
    """Any cut gives the full image, and a state depends on the layers before it alone."""
    w = rand(2, generator.num_layers, generator.w_dim)
    full = generator.synthesis(w)
    for k in range(generator.num_layers + 1):
        state = generator.synthesis(w, stop=k)
        assert isinstance(state, SynthesisState) and state.layer == k
        other = w.clone()
        other[:, k:] = float("nan")  # not read before the cut …
        same = generator.synthesis(other, stop=k)
        torch.testing.assert_close(same.features, state.features)
        other = w.clone()
        other[:, :k] = float("nan")  # … nor after it
        torch.testing.assert_close(generator.synthesis(other, resume=state), full)
        for j in range(k, generator.num_layers + 1):  # two cuts
            middle = generator.synthesis(w, resume=state, stop=j)
            torch.testing.assert_close(generator.synthesis(w, resume=middle), full)
    with pytest.raises(ValueError, match="cannot run from layer"):
        generator.synthesis(w, stop=generator.num_layers + 1)
    with pytest.raises(ValueError, match="cannot run from layer"):
        generator.synthesis(w, resume=generator.synthesis(w, stop=3), stop=2)


def check_noise_modes(generator: Any) -> None:
    """Stored, given, drawn and absent noise agree where they must and differ where they must."""
    w = rand(2, generator.num_layers, generator.w_dim)
    synthesis = generator.synthesis
    count = len(generator.noise_shapes)
    stored = [synthesis.get_buffer(f"noise_{i}") for i in range(count)]
    assert [tuple(m.shape) for m in stored] == [(1, 1, *s) for s in generator.noise_shapes]
    const = synthesis(w)
    assert torch.equal(const, synthesis(w, "const"))
    torch.testing.assert_close(synthesis(w, stored), const)
    zeros = [torch.zeros_like(m) for m in stored]
    torch.testing.assert_close(synthesis(w, zeros), synthesis(w, "none"))
    for i in range(count):  # every input counts, and image by image
        maps = list(stored)
        maps[i] = stored[i].repeat(2, 1, 1, 1)
        maps[i][1] += 1 + rand(*generator.noise_shapes[i], seed=i)
        changed = synthesis(w, maps)
        torch.testing.assert_close(changed[0], const[0])
        assert (changed[1] - const[1]).abs().max() > 1e-6
    first = synthesis(w, "random", rng=torch.Generator().manual_seed(1))
    again = synthesis(w, "random", rng=torch.Generator().manual_seed(1))
    other = synthesis(w, "random", rng=torch.Generator().manual_seed(2))
    assert torch.equal(first, again)
    assert (first - other).abs().max() > 1e-6
    rng = torch.Generator().manual_seed(1)  # drawn in order, so a cut changes nothing
    state = synthesis(w, "random", stop=3, rng=rng)
    torch.testing.assert_close(synthesis(w, "random", resume=state, rng=rng), first)
    with pytest.raises(ValueError, match="needs rng"):
        synthesis(w, "random")
    with pytest.raises(ValueError, match="noise maps"):
        synthesis(w, stored[:-1])


def check_batch_independence(generator: Any) -> None:
    """An image does not depend on its batch mates."""
    w = rand(3, generator.num_layers, generator.w_dim)
    together = generator.synthesis(w)
    for i in range(3):
        alone = generator.synthesis(w[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-10, atol=1e-10)
    w.requires_grad_()
    (gradient,) = torch.autograd.grad(generator.synthesis(w)[1].sum(), w)
    assert (gradient[[0, 2]] == 0).all() and (gradient[1] != 0).any()


def check_every_code_counts(generator: Any) -> None:
    """Each of the L codes changes the image."""
    w = rand(1, generator.num_layers, generator.w_dim).requires_grad_()
    (gradient,) = torch.autograd.grad(generator.synthesis(w).square().sum(), w)
    assert (gradient[0].abs().amax(dim=1) > 1e-8).all()


def check_round_trip(network: Any, *inputs: Tensor) -> None:
    """The architecture survives JSON and rebuilds the network."""
    architecture = json.loads(json.dumps(network.architecture))
    again = type(network)(**architecture).double()
    assert again.architecture == network.architecture
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(*inputs), network(*inputs))


def check_average(generator: Any) -> None:
    """w_avg is [L, w_dim], saved with the network, and what truncation 0 shows."""
    assert generator.w_avg.shape == (generator.num_layers, generator.w_dim)
    assert "w_avg" in generator.state_dict()
    z = rand(5, generator.z_dim)
    w = generator.mapping(z)
    generator.track_w_avg(w, decay=0.9)
    torch.testing.assert_close(generator.w_avg, 0.1 * w.detach().mean(dim=0))
    mean_image = generator.synthesis(generator.w_avg[None])
    torch.testing.assert_close(generator(z, truncation=0.0)[3:4], mean_image)
    half = generator.w_avg + 0.5 * (w - generator.w_avg)
    torch.testing.assert_close(generator(z, truncation=0.5), generator.synthesis(half))
    torch.testing.assert_close(generator(z), generator.synthesis(w))


def check_double_backward(function: Any, *inputs: Tensor) -> None:
    """Second derivatives agree with finite differences along random directions."""
    leaves = tuple(x.detach().clone().requires_grad_() for x in inputs)
    assert torch.autograd.gradcheck(function, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, leaves, fast_mode=True)
