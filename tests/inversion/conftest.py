"""A tiny literal world: G, E and F of a few lines each, float64, with curvature in every part."""

import inspect
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from idinvert.inversion.loop import Descent, Optimised
from idinvert.networks.encoder import Encoding
from idinvert.networks.generator import SynthesisState

PROBLEM = ("start", "synthesise", "objective", "preconditioner", "perturb", "project", "progress")


def optimise(slots=None, **given) -> Optimised:
    """Minimise a problem with the settings of `Descent`, both given by keyword.

    What the problem computes takes `rows` first where it knows images apart.
    """
    problem = {key: given.pop(key) for key in PROBLEM if key in given}
    for key in {"synthesise", "objective"} & problem.keys():
        if next(iter(inspect.signature(problem[key]).parameters)) != "rows":
            problem[key] = lambda rows, *given, of=problem[key]: of(*given)
    if "perturb" in problem:
        problem["perturb"] = lambda t, places, *v, of=problem["perturb"]: of(t, *v)
    descent = Descent(**given)
    descent.slots = slots
    return descent.minimise(**problem)


def mean_square(a, b):
    """Of one image: the sum of the squares over the number of elements."""
    return ((a - b) ** 2).sum() / a.numel()


def literal(start, terms_of, *, steps, lr):
    """Adam on the sum of the terms of one image; every iterate, and its total with its terms."""
    w = start.detach().clone().requires_grad_()
    adam = torch.optim.Adam([w], lr=lr, betas=(0.9, 0.999), eps=1e-8)
    path, losses = [], []
    for _ in range(steps + 1):
        terms = terms_of(w)
        path.append(w.detach().clone())
        losses.append([sum(terms).item(), *(term.item() for term in terms)])
        adam.zero_grad()
        sum(terms).backward()
        adam.step()
    return path, torch.tensor(losses, dtype=torch.float64)


def check_equal(found, best, n, path, losses, *, names, kept="codes"):
    """Image n of an inversion that keeps the last iterate, and of one that keeps the best."""
    torch.testing.assert_close(found.losses[:, n], losses[:, 0], rtol=1e-8, atol=0)
    for column, name in enumerate(names, start=1):
        torch.testing.assert_close(found.terms[name][:, n], losses[:, column], rtol=1e-8, atol=0)
    least = int(losses[:, 0].argmin())
    assert best.best_step[n] == least
    for one, expected in ((found, path[-1]), (best, path[least])):
        torch.testing.assert_close(getattr(one, kept)[n], expected[0], rtol=1e-8, atol=1e-10)


class TinyGenerator(nn.Module):
    """Three layers of codes to 8×8 images; noise is added where it is given."""

    def __init__(self, rng):
        super().__init__()
        self.resolution, self.num_layers, self.z_dim, self.w_dim = 8, 3, 4, 5
        self.multi_w = False
        self.noise_shapes = [(4, 4), (8, 8)]
        self.const = nn.Parameter(torch.randn(1, 6, 4, 4, generator=rng, dtype=torch.float64))
        self.style = nn.ParameterList(
            nn.Parameter(torch.randn(5, 6, generator=rng, dtype=torch.float64) / 2)
            for _ in range(3)
        )
        self.rgb = nn.Parameter(torch.randn(3, 6, 3, 3, generator=rng, dtype=torch.float64) / 4)
        self.register_buffer("noise_0", torch.randn(4, 4, generator=rng, dtype=torch.float64))
        self.register_buffer("noise_1", torch.randn(8, 8, generator=rng, dtype=torch.float64))
        self.m = nn.Parameter(torch.randn(3, 4, 5, generator=rng, dtype=torch.float64) / 2)
        average = torch.randn(3, 5, generator=rng, dtype=torch.float64) / 4
        self.register_buffer("w_avg", average[:1].repeat(3, 1))
        self.register_buffer("w_avg_each", average)

    def mapping(self, z):
        """One w for all layers; with `multi_w` another one a layer."""
        if self.multi_w:
            return torch.tanh(torch.einsum("nz,lzw->nlw", z, self.m)) + 0.3
        return (torch.tanh(z @ self.m[0]) + 0.3)[:, None].repeat(1, 3, 1)

    def become_multi_w(self):
        self.multi_w, self.w_avg = True, self.w_avg_each
        return self

    def synthesis(self, w, noise="const", *, stop=None, resume=None):
        if noise == "const":
            noise = [self.noise_0, self.noise_1]
        x, first = (self.const, 0) if resume is None else (resume.features, resume.layer)
        for i in range(first, 3 if stop is None else stop):
            x = x * (1 + w[:, i] @ self.style[i])[:, :, None, None]
            if i < 2:
                x = torch.tanh(x + (0 if noise == "none" else 0.1 * noise[i]))
            if i == 0:
                x = nn.functional.interpolate(x, scale_factor=2)
        if stop is not None:
            return SynthesisState(x, None, stop)
        return nn.functional.conv2d(x, self.rgb, padding=1)


class TinyEncoder(nn.Module):
    """A convolution, BatchNorm with trained-looking statistics, a dense layer: [N, 3, 5]."""

    def __init__(self, rng):
        super().__init__()
        self.conv = nn.Parameter(torch.randn(4, 3, 3, 3, generator=rng, dtype=torch.float64) / 3)
        self.bn = nn.BatchNorm2d(4, dtype=torch.float64)
        self.bn.running_mean.copy_(torch.randn(4, generator=rng, dtype=torch.float64) / 5)
        self.dense = nn.Parameter(torch.randn(64, 15, generator=rng, dtype=torch.float64) / 8)

    def forward(self, x):
        x = torch.tanh(self.bn(nn.functional.conv2d(x, self.conv, stride=2, padding=1)))
        return (x.flatten(1) @ self.dense).view(-1, 3, 5)

    def encode(self, x):
        return Encoding(self(x))


class TinyZEncoder(TinyEncoder):
    """The same, to z [N, 4], which goes through G's mapping."""

    def __init__(self, rng, mapping):
        super().__init__(rng)
        self.mapping = mapping
        self.to_z = nn.Parameter(torch.randn(15, 4, generator=rng, dtype=torch.float64) / 2)

    def z(self, x):
        return super().forward(x).flatten(1) @ self.to_z

    def forward(self, x):
        return self.mapping(self.z(x))

    def encode(self, x):
        z = self.z(x)
        return Encoding(self.mapping(z), None, z)


class TinyFeatures(nn.Module):
    """One convolution and a softplus, [N, 5, 8, 8]; a second, coarser layer as another tap."""

    def __init__(self, rng):
        super().__init__()
        self.conv = nn.Parameter(torch.randn(5, 3, 3, 3, generator=rng, dtype=torch.float64) / 2)
        self.down = nn.Parameter(torch.randn(4, 5, 3, 3, generator=rng, dtype=torch.float64) / 3)

    def forward(self, x):
        return nn.functional.softplus(nn.functional.conv2d(x, self.conv, padding=1))

    def taps(self, x):
        first = self(x)
        return [first, torch.tanh(nn.functional.conv2d(first, self.down, stride=2, padding=1))]


@pytest.fixture
def z_encoder(world):
    """E that ends in z, for the world's G."""
    return TinyZEncoder(torch.Generator().manual_seed(2), world.generator.mapping).eval()


@pytest.fixture
def world():
    """G, E, F in eval mode with trainable flags left ON, and six target images in [-1, 1]."""
    rng = torch.Generator().manual_seed(1)
    nets = [TinyGenerator(rng), TinyEncoder(rng), TinyFeatures(rng)]
    images = torch.rand(6, 3, 8, 8, generator=rng, dtype=torch.float64) * 2 - 1
    for net in nets:
        net.eval()
    return SimpleNamespace(generator=nets[0], encoder=nets[1], features=nets[2], images=images)
