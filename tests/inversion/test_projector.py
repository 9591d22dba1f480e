"""The projector against StyleGAN2's loop written out, one image at a time."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from idinvert.errors import ConfigError
from idinvert.inversion.initialization import code_statistics, image_rng
from idinvert.inversion.noise import draw_noise, noise_regulariser, normalised
from idinvert.inversion.projector import ProjectorInverter, at_most_256

IDS = torch.tensor([10, 11, 12, 13, 14, 15])
STEPS = 20


def inverter(world, **changes):
    choices = dict(
        lambda_vgg=0.4, lambda_noise=30.0, steps=STEPS, samples=50, samples_seed=5, noise_factor=0.0
    )
    return ProjectorInverter(perceptual=world.features, **(choices | changes))


def regulariser(maps):
    """For one image: literally, sums over pixels with indices that wrap around."""
    total = 0.0
    for m in maps:
        m = m.reshape(m.shape[-2:])
        while True:
            side = m.shape[0]
            before = [(i - 1) % side for i in range(side)]
            total = total + ((m * m[:, before]).sum() / m.numel()) ** 2
            total = total + ((m * m[before]).sum() / m.numel()) ** 2
            if side <= 8:
                break
            m = (m[::2, ::2] + m[1::2, ::2] + m[::2, 1::2] + m[1::2, 1::2]) / 4
    return total


def reference(world, x, noise, *, w_bar, added=None):
    """One image, w [1, 1, w]; returns w, the maps and the losses. `added`: noise on w a step."""
    w = w_bar.clone().requires_grad_()
    maps = [m.clone().requires_grad_() for m in noise]
    adam = torch.optim.Adam([w, *maps], lr=0.1, betas=(0.9, 0.999))
    losses = []
    for step in range(STEPS + 1):
        t = step / STEPS
        ramp = 0.5 - 0.5 * math.cos(min(1.0, (1 - t) / 0.25) * math.pi)
        adam.param_groups[0]["lr"] = 0.1 * ramp * min(1.0, t / 0.05)
        seen = w if added is None else w + added[step]
        g = world.generator.synthesis(seen.repeat(1, 3, 1), noise=maps)
        loss = 30 * regulariser(maps)
        for f, f_g in zip(world.features.taps(x), world.features.taps(g), strict=True):
            loss = loss + 0.4 * ((f.detach() - f_g) ** 2).sum() / f.numel()
        losses.append(loss.item())
        if step == STEPS:
            break
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            for m in maps:
                m -= m.mean()
                m *= m.square().mean().rsqrt()
    return w.detach(), [m.detach() for m in maps], torch.tensor(losses, dtype=torch.float64)


def first_noise(world, n):
    return draw_noise(
        shapes=world.generator.noise_shapes, ids=IDS[n : n + 1], seed=0,
        dtype=torch.float64, device=torch.device("cpu"),
    )  # fmt: skip


def statistics(world):
    z = torch.from_numpy(np.random.RandomState(5).randn(50, 4))
    samples = world.generator.mapping(z)[:, 0].detach().numpy()  # [50, w]
    mean = samples.mean(0)
    deviation = np.sqrt(((samples - mean) ** 2).sum() / 50)
    return torch.from_numpy(mean)[None, None], deviation


def test_equals_the_literal_reference(world):
    found = inverter(world).invert(world.images, generator=world.generator, ids=IDS)
    w_bar, _ = statistics(world)
    for n in (0, 3):
        w, maps, losses = reference(
            world, world.images[n : n + 1], first_noise(world, n), w_bar=w_bar
        )
        torch.testing.assert_close(found.losses[:, n], losses, rtol=1e-8, atol=0)
        torch.testing.assert_close(found.codes[n], w[0].expand(3, -1), rtol=1e-8, atol=1e-10)
        for mine, theirs in zip(found.noise, maps, strict=True):
            torch.testing.assert_close(mine[n], theirs[0], rtol=1e-7, atol=1e-9)
    assert found.best_step.tolist() == [STEPS] * 6
    rebuilt = world.generator.synthesis(found.codes, noise=found.noise)
    torch.testing.assert_close(rebuilt, found.images)


def test_noise_on_w_fades_and_is_drawn_by_id(world):
    """With noise on w: the same loop, given the noise that each evaluation had."""
    seen = []
    synthesis = world.generator.synthesis
    world.generator.synthesis = lambda w, noise: (seen.append(w.detach()), synthesis(w, noise))[1]
    method = inverter(world, noise_factor=0.05)
    found = method.invert(world.images[2:3], generator=world.generator, ids=IDS[2:3])
    w_bar, deviation = statistics(world)
    # The first rate is 0 (the ramp begins at 0), so the first two evaluations show w̄ + noise.
    sizes = [0.05 * deviation * max(0.0, 1 - step / STEPS / 0.75) ** 2 for step in (0, 1)]
    drawn = [(seen[step][0, 0] - w_bar[0, 0]) / sizes[step] for step in (0, 1)]
    assert all(0.2 < d.std() < 3 for d in drawn) and not torch.allclose(drawn[0], drawn[1])
    # Replay: w of step k is w̄ + noise_k for k = 0, 1; later noise from the same generator.
    rng = image_rng(0, 12, purpose="perturb")
    added = []
    for step in range(STEPS + 1):
        size = 0.05 * deviation * max(0.0, 1 - step / STEPS / 0.75) ** 2
        draw = torch.randn(1, 5, generator=rng).double() if size else torch.zeros(1, 5).double()
        added.append(size * draw[None])
    torch.testing.assert_close(drawn[0], added[0][0, 0] / sizes[0])
    w, _, losses = reference(
        world, world.images[2:3], first_noise(world, 2), w_bar=w_bar, added=added
    )
    torch.testing.assert_close(found.losses[:, 0], losses, rtol=1e-8, atol=0)
    torch.testing.assert_close(found.codes[0], w[0].expand(3, -1), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("early_stop", [None, 2])
def test_does_not_depend_on_batch_mates(world, early_stop):
    method = inverter(world, noise_factor=0.1, early_stop=early_stop, early_stop_gain=0.05)
    together = method.invert(world.images, generator=world.generator, ids=IDS)
    pick = [5, 1]
    apart = method.invert(world.images[pick], generator=world.generator, ids=IDS[pick])
    torch.testing.assert_close(apart.codes, together.codes[pick], rtol=1e-8, atol=0)
    torch.testing.assert_close(apart.losses, together.losses[:, pick], rtol=1e-8, atol=0)
    for a, b in zip(apart.noise, together.noise, strict=True):
        torch.testing.assert_close(a, b[pick], rtol=1e-8, atol=1e-12)


def test_noise_maps_stay_normalised_and_fixed_ones_fixed(world):
    found = inverter(world).invert(world.images, generator=world.generator, ids=IDS)
    for m in found.noise:
        torch.testing.assert_close(m.mean((1, 2, 3)), torch.zeros(6).double(), atol=1e-12, rtol=0)
        torch.testing.assert_close(m.square().mean((1, 2, 3)), torch.ones(6).double())
    fixed = inverter(world, noise="const", steps=3)
    found = fixed.invert(world.images, generator=world.generator)  # nothing is drawn: no ids
    assert found.noise is None and list(found.terms) == ["perceptual"]


def test_multi_w_takes_w_plus_with_statistics_of_each_layer(world):
    generator = world.generator.become_multi_w()
    found = inverter(world, noise="const", steps=0).invert(world.images, generator=generator)
    known = code_statistics(generator, samples=50, seed=5)
    torch.testing.assert_close(found.codes[0], known.mean)
    assert not torch.allclose(known.mean[0], known.mean[1]), "the layers have one mean"
    with pytest.raises(ConfigError, match=r"inversion\.space=w_plus"):
        inverter(world, space="w").invert(world.images, generator=generator, ids=IDS)


def test_statistics_are_numpys_and_measured_once(world):
    known = code_statistics(world.generator, samples=50, seed=5, batch_size=7)
    mean, deviation = statistics(world)
    torch.testing.assert_close(known.mean, mean[0].expand(3, -1))
    torch.testing.assert_close(known.deviation, torch.full((3,), deviation, dtype=torch.float64))
    calls = []
    mapping = world.generator.mapping
    world.generator.mapping = lambda z: (calls.append(len(z)), mapping(z))[1]
    method = inverter(world, steps=0)
    for _ in range(3):
        method.invert(world.images, generator=world.generator, ids=IDS)
    assert sum(calls) == 50


def test_the_regulariser_is_the_literal_one_and_its_gradient_too():
    rng = torch.Generator().manual_seed(3)
    shapes = [(4, 4), (16, 16), (32, 32)]
    maps = [torch.randn(2, 1, *s, generator=rng, dtype=torch.float64) for s in shapes]
    found = noise_regulariser(maps)
    expected = torch.stack([regulariser([m[n] for m in maps]) for n in range(2)])
    torch.testing.assert_close(found, expected)
    small = [m.requires_grad_() for m in (maps[0], maps[1])]
    assert torch.autograd.gradcheck(lambda *m: noise_regulariser(m), small)
    smooth = functional.avg_pool2d(maps[2], 5, stride=1, padding=2)
    assert (noise_regulariser([normalised(smooth)]) > 5 * noise_regulariser([maps[2]])).all()


def test_large_images_are_averaged_before_f():
    shapes = []
    features = at_most_256(lambda images: shapes.append(images) or [images])
    x = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(0))
    features(x), features(x[..., :64, :64])
    assert [tuple(s.shape[2:]) for s in shapes] == [(256, 256), (64, 64)]
    torch.testing.assert_close(shapes[0], functional.avg_pool2d(x, 2))


def test_errors_name_the_key(world):
    with pytest.raises(ConfigError, match=r"inversion\.noise=optimise draws .* by image id"):
        inverter(world).invert(world.images, generator=world.generator)
    with pytest.raises(ConfigError, match=r"noise_factor draws noise on w by image id"):
        inverter(world, noise="const", noise_factor=0.1).invert(
            world.images, generator=world.generator
        )
    with pytest.raises(ConfigError, match="noise_ramp=0"):
        inverter(world, noise_ramp=0.0)
    with pytest.raises(ConfigError, match=r"inversion\.noise is 'fixed'"):
        inverter(world, noise="fixed")
    with pytest.raises(ConfigError, match=r"inversion\.lambda_pixel=1"):
        ProjectorInverter(perceptual=None, lambda_vgg=0.0)
