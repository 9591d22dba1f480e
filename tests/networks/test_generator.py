"""What holds for any generator: widths, noise, cuts, truncation, the average w."""

import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from idinvert.networks.generator import (
    SynthesisState,
    check_images,
    noise_map,
    resolutions,
    widths,
)
from idinvert.networks.stylegan2 import CONNECTIONS

from .small_networks import check_double_backward, check_round_trip, generator, rand

VARIANTS = [("stylegan", {}), *(("stylegan2", {"connections": each}) for each in CONNECTIONS)]


@pytest.fixture(params=VARIANTS, ids=str)
def network(request):
    kind, choices = request.param
    return generator(kind, **choices)


def test_resolutions():
    assert resolutions(8) == [4, 8]
    assert resolutions(64) == [4, 8, 16, 32, 64]
    for wrong in (4, 0, 48, 100):
        with pytest.raises(ValueError, match=r"generator\.resolution"):
            resolutions(wrong)


def test_widths_by_rule_and_by_list():
    rule = widths(256, None, channel_base=32768, channel_max=512)
    assert rule == [512, 512, 512, 512, 512, 256, 128]
    assert widths(16, [7, 5, 3], channel_base=1, channel_max=1) == [7, 5, 3]
    with pytest.raises(ValueError, match="2 entries, expected 3"):
        widths(16, [7, 5], channel_base=1, channel_max=1)


def test_stop_and_resume(network):
    """Any cut gives the full image, and a state depends on the layers before it alone."""
    w = rand(2, network.num_layers, network.w_dim)
    full = network.synthesis(w)
    for k in range(network.num_layers + 1):
        state = network.synthesis(w, stop=k)
        assert isinstance(state, SynthesisState) and state.layer == k
        other = w.clone()
        other[:, k:] = float("nan")  # not read before the cut …
        same = network.synthesis(other, stop=k)
        torch.testing.assert_close(same.features, state.features)
        other = w.clone()
        other[:, :k] = float("nan")  # … nor after it
        torch.testing.assert_close(network.synthesis(other, resume=state), full)
        for j in range(k, network.num_layers + 1):  # two cuts
            middle = network.synthesis(w, resume=state, stop=j)
            torch.testing.assert_close(network.synthesis(w, resume=middle), full)
    for stop in (-1, network.num_layers + 1):
        with pytest.raises(ValueError, match="cannot run from layer"):
            network.synthesis(w, stop=stop)
    with pytest.raises(ValueError, match="cannot run from layer"):
        network.synthesis(w, resume=network.synthesis(w, stop=3), stop=2)


def test_noise_modes(network):
    """Stored, given, drawn and absent noise agree where they must and differ where they must."""
    w = rand(2, network.num_layers, network.w_dim)
    synthesis = network.synthesis
    count = len(network.noise_shapes)
    stored = [synthesis.get_buffer(f"noise_{i}") for i in range(count)]
    assert [tuple(m.shape) for m in stored] == [(1, 1, *s) for s in network.noise_shapes]
    const = synthesis(w)
    assert torch.equal(const, synthesis(w, "const"))
    torch.testing.assert_close(synthesis(w, stored), const)
    zeros = [torch.zeros_like(m) for m in stored]
    torch.testing.assert_close(synthesis(w, zeros), synthesis(w, "none"))
    for i in range(count):  # every input counts, and image by image
        maps = list(stored)
        maps[i] = stored[i].repeat(2, 1, 1, 1)
        maps[i][1] += 1 + rand(*network.noise_shapes[i], seed=i)
        changed = synthesis(w, maps)
        torch.testing.assert_close(changed[0], const[0])
        assert (changed[1] - const[1]).abs().max() > 1e-6
    before = torch.get_rng_state()
    first = synthesis(w, "random", rng=torch.Generator().manual_seed(1))
    again = synthesis(w, "random", rng=torch.Generator().manual_seed(1))
    other = synthesis(w, "random", rng=torch.Generator().manual_seed(2))
    assert torch.equal(first, again)
    assert (first - other).abs().max() > 1e-6
    assert torch.equal(before, torch.get_rng_state())
    rng = torch.Generator().manual_seed(1)  # drawn in order, so a cut changes nothing
    state = synthesis(w, "random", stop=3, rng=rng)
    torch.testing.assert_close(synthesis(w, "random", resume=state, rng=rng), first)
    with pytest.raises(ValueError, match="needs rng"):
        synthesis(w, "random")
    with pytest.raises(ValueError, match="noise='fixed'"):
        synthesis(w, "fixed")
    with pytest.raises(ValueError, match=f"got {count - 1} noise maps, expected {count}"):
        synthesis(w, stored[:-1])
    for wrong in (stored[0].repeat(3, 1, 1, 1), stored[0].repeat(1, 1, 2, 2)):
        with pytest.raises(ValueError, match=r"noise map 0 has shape"):
            synthesis(w, [wrong, *stored[1:]])


def test_drawn_noise_differs_between_images_and_has_the_type_of_the_stored():
    stored = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    drawn = noise_map("random", 0, stored=stored, batch=3, rng=torch.Generator().manual_seed(1))
    assert drawn is not None and drawn.shape == (3, 1, 4, 4) and drawn.dtype == torch.float64
    assert not torch.equal(drawn[0], drawn[1])


def test_batch_independence(network):
    """An image does not depend on its batch mates."""
    w = rand(3, network.num_layers, network.w_dim)
    together = network.synthesis(w)
    for i in range(3):
        alone = network.synthesis(w[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-10, atol=1e-10)
    w.requires_grad_()
    (gradient,) = torch.autograd.grad(network.synthesis(w)[1].sum(), w)
    assert (gradient[[0, 2]] == 0).all() and (gradient[1] != 0).any()


def test_every_code_counts(network):
    """Each of the L codes changes the image."""
    w = rand(1, network.num_layers, network.w_dim).requires_grad_()
    (gradient,) = torch.autograd.grad(network.synthesis(w).square().sum(), w)
    assert (gradient[0].abs().amax(dim=1) > 1e-8).all()


@pytest.mark.parametrize("kind", ["stylegan", "stylegan2"])
def test_average(kind):
    """w_avg is [L, w_dim], saved with the network, and what truncation 0 shows."""
    network = generator(kind, multi_w=True)
    assert network.w_avg.shape == (network.num_layers, network.w_dim)
    assert "w_avg" in network.state_dict()
    z = rand(5, network.z_dim)
    w = network.mapping(z)
    network.track_w_avg(w, decay=0.9)
    torch.testing.assert_close(network.w_avg, 0.1 * w.detach().mean(dim=0))
    assert not network.w_avg.requires_grad
    mean_image = network.synthesis(network.w_avg[None])
    torch.testing.assert_close(network(z, truncation=0.0)[3:4], mean_image)
    half = network.w_avg + 0.5 * (w - network.w_avg)
    torch.testing.assert_close(network(z, truncation=0.5), network.synthesis(half))
    torch.testing.assert_close(network(z), network.synthesis(w))


@pytest.mark.parametrize("multi_w", [False, True])
@pytest.mark.parametrize("kind", ["stylegan", "stylegan2"])
def test_mapping_gives_one_code_a_layer(kind, multi_w):
    network = generator(kind, multi_w=multi_w)
    w = network.mapping(rand(3, 6))
    assert w.shape == (3, 6, 5) and network.multi_w is multi_w
    assert torch.equal(w[:, 0], w[:, 5]) is not multi_w


@pytest.mark.parametrize(("resolution", "layers"), [(8, 4), (32, 8), (256, 14)])
@pytest.mark.parametrize("kind", ["stylegan", "stylegan2"])
def test_counts(kind, resolution, layers):
    sides = resolutions(resolution)
    with torch.device("meta"):
        network = generator(kind, resolution=resolution, channels=[2] * len(sides))
        image = network(torch.zeros(1, 6, dtype=torch.float64))
    assert image.shape == (1, 3, resolution, resolution)
    shapes = [(s, s) for s in sides for _ in (0, 1)]
    assert network.noise_shapes == shapes[1 if kind == "stylegan2" else 0 :]
    assert network.num_layers == layers


@pytest.mark.parametrize(
    ("kind", "choices"),
    [
        ("stylegan", {"final_tanh": True, "fused_from": 16}),
        ("stylegan2", {"conv_clamp": 256.0}),
    ],
)
def test_round_trip(kind, choices):
    check_round_trip(generator(kind, multi_w=True, **choices), rand(2, 6))


@pytest.mark.parametrize("kind", ["stylegan", "stylegan2"])
def test_double_backward(kind):
    """Path-length regularisation differentiates the gradient with respect to w."""
    network = generator(kind, resolution=8, channels=[3, 2])
    check_double_backward(lambda w: network.synthesis(w), rand(2, 4, 5))


class LiveMemory(TorchDispatchMode):
    """Bytes of the tensors made inside that live at a time, at their most."""

    def __init__(self):
        super().__init__()
        self.bytes = self.most = 0
        self.known = weakref.WeakSet()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for storage in (t.untyped_storage() for t in tree_leaves(found) if hasattr(t, "data_ptr")):
            if storage not in self.known:
                self.known.add(storage)
                self._count(storage.nbytes())
                weakref.finalize(storage, self._count, -storage.nbytes())
        return found

    def _count(self, change):
        self.bytes += change
        self.most = max(self.most, self.bytes)


@pytest.mark.parametrize(("kind", "choices"), VARIANTS, ids=str)
def test_checkpointing_saves_memory_and_changes_nothing(kind, choices):
    network = generator(kind, resolution=32, channels=[8, 8, 8, 8], **choices)
    w = rand(2, network.num_layers, network.w_dim).requires_grad_()
    inputs = [w, *network.synthesis.parameters()]
    found, most = [], []
    for again in (False, True):
        network.synthesis.checkpoint_activations = again
        with LiveMemory() as memory:
            images = network.synthesis(w)
            gradients = torch.autograd.grad(images.square().mean(), inputs, allow_unused=True)
            del images
        most.append(memory.most)
        images = network.synthesis(w)
        (slope,) = torch.autograd.grad(images.square().mean(), w, create_graph=True)
        (second,) = torch.autograd.grad(slope.square().sum(), w)  # as path lengths need it
        with torch.no_grad():
            plain = network.synthesis(w)
        found.append([images, plain, second, *(each for each in gradients if each is not None)])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
    assert most[1] < 0.75 * most[0]


def test_codes_that_do_not_fit(network):
    for shape in ((2, 5), (2, 5, 5), (2, 6, 4)):
        with pytest.raises(ValueError, match=r"expected \[N, 6, 5\]"):
            network.synthesis(rand(*shape))


def test_images_that_do_not_fit():
    check_images(torch.zeros(2, 3, 8, 8), 8)
    for shape in ((3, 8, 8), (2, 1, 8, 8), (2, 3, 16, 16)):
        with pytest.raises(ValueError, match=r"data\.resolution"):
            check_images(torch.zeros(shape), 8)
