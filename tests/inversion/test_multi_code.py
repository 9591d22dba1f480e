"""Multi-code inversion: the blend against numpy, known answers, images kept apart, refusals."""

import numpy as np
import pytest
import torch

from idinvert.errors import ConfigError
from idinvert.inversion.inversion import Request
from idinvert.inversion.loop import Descent
from idinvert.inversion.multi_code import MultiCodeInverter, blend, usual_layer
from idinvert.inversion.observation import Region
from idinvert.networks.generator import SynthesisState
from idinvert.networks.stylegan import StyleGANGenerator
from idinvert.networks.stylegan2 import StyleGAN2Generator

WIDTHS = dict(resolution=16, z_dim=6, w_dim=6, channels=[8, 6, 4], mapping_depth=1)


def generators():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = {
            "stylegan": StyleGANGenerator(**WIDTHS, multi_w=True),
            "skip": StyleGAN2Generator(**WIDTHS),
            "resnet": StyleGAN2Generator(**WIDTHS, connections="resnet"),
        }
    for generator in made.values():
        generator.double().eval().requires_grad_(False)
        for name, parameter in generator.named_parameters():
            if name.endswith(("noise_strength", "noise_weight")):
                parameter.fill_(0.1)
    return made


def images_of(generator, n, seed=1):
    rng = torch.Generator().manual_seed(seed)
    w = generator.mapping(torch.randn(n, 6, generator=rng, dtype=torch.float64))
    return w, generator.synthesis(w)


def inverter(**given):
    usual = dict(perceptual=None, lambda_vgg=0, codes=3, layer=2, steps=5)
    return MultiCodeInverter(**{**usual, **given})


def test_the_blend_is_the_weighted_sum_of_every_map():
    rng = torch.Generator().manual_seed(2)
    features, image, shortcut, alpha = (
        torch.randn(*shape, generator=rng, dtype=torch.float64)
        for shape in ((6, 4, 5, 5), (6, 3, 5, 5), (6, 2, 9, 9), (2, 3, 9))
    )
    found = blend(SynthesisState(features, image, 3, shortcut), alpha)
    assert found.layer == 3
    first = 0
    for maps, got in zip((features, image, shortcut), found.maps.values(), strict=True):
        c = maps.shape[1]
        expected = np.zeros((2, *maps.shape[1:]))
        for b in range(2):
            for n in range(3):
                for k in range(c):
                    weight = alpha[b, n, first + k].item()
                    expected[b, k] += weight * maps[3 * b + n, k].numpy()
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-12, atol=1e-12)
        first += c


def test_one_code_that_counts_whole_is_the_plain_forward_pass():
    """At no step: the start's image is G's, and where G is resumed from the state, it is again."""
    for name, generator in generators().items():
        _, x = images_of(generator, 2)
        layers = range(1, generator.num_layers)
        for layer, space in [(at, None) for at in layers] + [(3, "z"), (3, "w_plus")]:
            method = inverter(codes=1, layer=layer, steps=0, space=space, keep_best=False)
            found = method.invert(x, generator=generator, ids=torch.arange(2))
            expected = generator.synthesis(found.codes)
            torch.testing.assert_close(found.images, expected, msg=f"{name} at {layer}")
            resumed = generator.synthesis(found.codes, resume=found.state)
            torch.testing.assert_close(found.images, resumed, rtol=1e-12, atol=1e-12)
            assert found.state.layer == layer and len(found.state.features) == 2


@pytest.mark.parametrize("optimizer, lr", [("sgd", 1.0), ("adam", 0.05), ("lbfgs", 0.05)])
def test_images_do_not_influence_one_another(optimizer, lr):
    ids = torch.tensor([3, 1, 4])
    for noise, generator in zip(("const", "random", "none"), generators().values(), strict=True):
        _, x = images_of(generator, 3)
        method = inverter(optimizer=optimizer, lr=lr, steps=8, noise=noise)
        together = method.invert(x, generator=generator, ids=ids)
        assert (together.losses.min(0).values < together.losses[0]).all()
        for n in range(3):
            one = slice(n, n + 1)
            alone = method.invert(x[one], generator=generator, ids=ids[one])
            torch.testing.assert_close(alone.losses[:, 0], together.losses[:, n], rtol=1e-8, atol=0)
            torch.testing.assert_close(alone.images[0], together.images[n], rtol=1e-8, atol=1e-10)
        noise = together.noise or noise
        resumed = generator.synthesis(together.codes, noise=noise, resume=together.state)
        torch.testing.assert_close(together.images, resumed, rtol=1e-10, atol=1e-12)
        for mode in (torch.no_grad, torch.inference_mode):
            with mode():
                again = method.invert(x + 0, generator=generator, ids=ids)
            torch.testing.assert_close(again.images, together.images, rtol=1e-10, atol=1e-12)


def test_gradient_descent_equals_steps_by_hand(world):
    """The published optimiser, on codes and importance at once, in a literal reading of G."""
    generator, lr = world.generator, 0.3
    x, ids = world.images[:1], torch.tensor([7])
    kw = dict(perceptual=world.features, lambda_vgg=0.05, codes=2, layer=1, lr=lr, space="w_plus")
    start = MultiCodeInverter(steps=0, **kw).invert(x, generator=generator, ids=ids)
    codes = [
        MultiCodeInverter(steps=0, **{**kw, "codes": 1}).invert(x, generator=generator, ids=ids)
    ]
    found = MultiCodeInverter(steps=4, **kw, keep_best=False).invert(
        x, generator=generator, ids=ids
    )
    torch.testing.assert_close(found.losses[0], start.losses[0])
    # The mean of both codes, of which the first is that of N = 1, gives the second.
    first = codes[0].codes[:, :1]
    second = 2 * start.codes[:, :1] - first
    upper = start.codes[:, 1:].clone().requires_grad_()
    first, second = (w[:, 0].clone().requires_grad_() for w in (first, second))
    alpha = torch.full((2, 6), 0.5, dtype=torch.float64, requires_grad=True)
    for step in range(5):
        maps = [
            generator.synthesis(w[:, None].expand(-1, 3, -1), stop=1).features
            for w in (first, second)
        ]
        mixed = sum(a[None, :, None, None] * m for a, m in zip(alpha, maps, strict=True))
        w = torch.cat([first.detach()[:, None], upper], dim=1)
        g = generator.synthesis(w, resume=SynthesisState(mixed, None, 1))
        features = (world.features(x) - world.features(g)).abs().mean()
        loss = (x - g).square().mean() + 0.05 * features
        torch.testing.assert_close(found.losses[step, 0], loss.detach(), rtol=1e-9, atol=0)
        parts = [first, second, upper, alpha]
        slopes = torch.autograd.grad(loss, parts)
        with torch.no_grad():
            for part, slope in zip(parts, slopes, strict=True):
                part -= lr * slope


def test_an_image_of_g_is_recovered_and_several_codes_do_better_than_one():
    generator = generators()["skip"]
    _, x = images_of(generator, 2)
    kw = dict(layer=3, optimizer="lbfgs", lr=0.05)
    found = inverter(codes=4, steps=220, **kw).invert(x, generator=generator, ids=torch.arange(2))
    assert (found.losses.min(0).values < 1e-4 * found.losses[0]).all()
    noisy = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)).double() * 2 - 1
    few, many = (
        inverter(codes=n, steps=40, **kw).invert(noisy, generator=generator, ids=torch.arange(2))
        for n in (1, 8)
    )
    assert (many.losses.min(0).values < few.losses.min(0).values).all()


def test_images_are_blended_behind_the_last_layer():
    """`blend=images`: α-weighted sum of whole images, to which the rest of G adds nothing."""
    for generator in generators().values():
        _, x = images_of(generator, 2)
        method = inverter(blend="images", layer=None, codes=2, steps=3, lr=0.1)
        found = method.invert(x, generator=generator, ids=torch.arange(2))
        assert found.state.layer == generator.num_layers
        assert torch.equal(found.images, found.state.image)
        torch.testing.assert_close(
            found.images, generator.synthesis(found.codes, resume=found.state)
        )
        assert (found.losses.min(0).values < found.losses[0]).all()


def test_the_terms_are_over_a_region_where_there_is_one():
    generator = generators()["stylegan"]
    _, x = images_of(generator, 2)
    mask = torch.zeros(2, 1, 16, 16, dtype=torch.float64)
    mask[:, :, :8] = 1
    region = Region(mask, 0.0, torch.full((2,), 0.5, dtype=torch.float64))
    asked = Request(x, generator, torch.arange(2), observation=region)
    found = inverter(steps=2)._invert(asked)
    inside = (found.start_images - x)[:, :, :8].square().flatten(1).mean(1)
    torch.testing.assert_close(found.losses[0], inside)


def test_the_usual_layer_is_the_originals_share():
    assert [usual_layer(n) for n in (4, 6, 8, 10, 14, 18)] == [2, 4, 4, 6, 8, 10]


def test_what_makes_no_sense_is_refused():
    generator = generators()["stylegan"]
    _, x = images_of(generator, 1)
    for given, words in (
        (dict(codes=0), "inversion.codes is 0: expected 1 code or more"),
        (dict(blend="pixels", layer=None), "inversion.blend is 'pixels': expected features or"),
        (dict(blend="images"), "inversion.layer is 2: set inversion.layer=null"),
        (dict(init="mean"), "inversion.init=mean starts all inversion.codes=3 alike"),
        (dict(lambda_vgg=1.0), "inversion.lambda_vgg is 1.0, but there is no perceptual network"),
        (dict(optimizer="lbfgs_gn"), "inversion.optimizer is 'lbfgs_gn'"),
    ):
        with pytest.raises(ConfigError, match=words.replace(".", r"\.")):
            inverter(**given)
    for layer, words in (
        (6, "is 6, which leaves nothing of the generator to run. Did you mean 5? Known here: 1, 2"),
        (9, "inversion.layer is 9. Did you mean 5? Known here: 1, 2, 3, 4, 5."),
    ):
        with pytest.raises(ConfigError, match=words.replace("?", r"\?").replace(".", r"\.")):
            inverter(layer=layer).invert(x, generator=generator, ids=torch.arange(1))
    with pytest.raises(ConfigError, match="one w a layer"):
        inverter(space="w").check(generator)


def test_another_optimiser_of_torch_may_move_the_variables():
    """A method hands the loop any that works element by element, with a rate of its own each."""
    from idinvert.inversion.optimizers import TorchOptimizer

    class Other(Descent):
        def stepping(self, variables, preconditioner):
            groups = [
                {"params": [v], "lr": lr} for v, lr in zip(variables, (0.1, 0.2), strict=True)
            ]
            return TorchOptimizer(torch.optim.RMSprop(groups))

    start = [torch.randn(3, 2, generator=torch.Generator().manual_seed(k)).double() for k in (0, 1)]
    found = Other(steps=6, lr=1.0, schedule="cosine", keep_best=False).minimise(
        start=start,
        synthesise=lambda rows, a, b: a[:, :, None, None],
        objective=lambda rows, _, a, b: {"q": (a * b - 1).square().sum(1) + b.square().sum(1)},
    )
    for n in range(3):
        parts = [v[n : n + 1].clone().requires_grad_() for v in start]
        groups = [{"params": [v], "lr": lr} for v, lr in zip(parts, (0.1, 0.2), strict=True)]
        optimizer = torch.optim.RMSprop(groups)
        for step in range(6):
            a, b = parts
            optimizer.zero_grad()
            ((a * b - 1).square().sum() + b.square().sum()).backward()
            factor = 0.5 + 0.5 * np.cos(np.pi * step / 6)
            for group, lr in zip(optimizer.param_groups, (0.1, 0.2), strict=True):
                group["lr"] = lr * factor
            optimizer.step()
        for got, v in zip(found.variables, parts, strict=True):
            torch.testing.assert_close(got[n : n + 1], v.detach(), rtol=1e-10, atol=1e-12)
