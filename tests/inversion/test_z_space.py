"""Z: Eq. (4) over z through M, against the equation written out, one image at a time."""

import functools

import pytest
import torch

from idinvert.editing.diffusion import DiffusionInverter
from idinvert.errors import ConfigError
from idinvert.inversion.initialization import image_rng
from idinvert.inversion.optimize_codes import FreeInverter, Image2StyleGANInverter, InDomainInverter
from idinvert.inversion.projector import ProjectorInverter
from idinvert.networks.attributes import AttributeFeatures, AttributeNetwork
from idinvert.networks.encoder import Encoder
from idinvert.networks.encoder_base import BaseBackbone
from idinvert.networks.stylegan import StyleGANGenerator

from .conftest import check_equal, literal, mean_square

IDS = torch.tensor([10, 11, 12, 13, 14, 15])
LAMBDA_VGG, LAMBDA_DOM = 0.3, 2.0


def inverter(world, encoder, **changes):
    choices = dict(lambda_vgg=LAMBDA_VGG, lambda_dom=LAMBDA_DOM, steps=20, lr=0.02) | changes
    return InDomainInverter(encoder=encoder, perceptual=world.features, latent="z", **choices)


def eq4(world, encoder, x, z, *, cut=False):
    """Eq. (4) for one image with z in the place of the code; its terms."""
    g = world.generator.synthesis(world.generator.mapping(z))
    e = encoder.z(g).detach() if cut else encoder.z(g)
    perceptual = LAMBDA_VGG * mean_square(world.features(x).detach(), world.features(g))
    return mean_square(x, g), perceptual, LAMBDA_DOM * mean_square(z, e)


@pytest.mark.parametrize("multi", [False, True])
def test_equals_the_literal_reference(world, z_encoder, multi):
    generator = world.generator.become_multi_w() if multi else world.generator
    found = inverter(world, z_encoder, keep_best=False).invert(world.images, generator=generator)
    best = inverter(world, z_encoder).invert(world.images, generator=generator)
    for n in range(len(world.images)):
        x = world.images[n : n + 1]
        terms_of = functools.partial(eq4, world, z_encoder, x)
        path, losses = literal(z_encoder.z(x), terms_of, steps=20, lr=0.02)
        names = ["pixel", "perceptual", "domain"]
        check_equal(found, best, n, path, losses, names=names, kept="z")
    for one in (found, best):  # the codes that are kept are M's of that z, in W+
        torch.testing.assert_close(one.codes, generator.mapping(one.z), rtol=1e-10, atol=0)
        torch.testing.assert_close(one.images, generator.synthesis(one.codes))
        assert torch.equal(one.codes[:, 0], one.codes[:, 2]) != multi
    assert (found.losses[-1] < 0.9 * found.losses[0]).all(), "nothing was learned"


def test_the_gradient_goes_through_m_g_and_e(world, z_encoder):
    """Adam's first step is −lr·sign(gradient); the gradient is taken by differences here."""
    x, signs, cut = world.images, [], []
    found = inverter(world, z_encoder, steps=1, lr=1e-3, keep_best=False)
    moved = found.invert(x, generator=world.generator).z - z_encoder.z(x)
    for n in range(len(x)):
        z, slope = z_encoder.z(x[n : n + 1]).detach(), torch.zeros(4, dtype=torch.float64)
        for i in range(4):
            step = torch.zeros_like(z)
            step[0, i] = 1e-5
            up, down = (sum(eq4(world, z_encoder, x[n : n + 1], z + s)) for s in (step, -step))
            slope[i] = (up - down).detach() / 2e-5
        signs.append(-slope.sign())
        z.requires_grad_()
        total = sum(eq4(world, z_encoder, x[n : n + 1], z, cut=True))
        cut.append(-torch.autograd.grad(total, z)[0][0].sign())
    assert torch.equal(moved.sign(), torch.stack(signs))
    assert not torch.equal(torch.stack(cut), torch.stack(signs)), "the check cannot fail"


def test_z_is_the_own_space_of_an_encoder_that_ends_in_z(world, z_encoder):
    own, given = inverter(world, z_encoder, steps=3), inverter(world, z_encoder, space="z", steps=3)
    assert own.settings == given.settings and own.settings["space"] == "z"
    as_w = inverter(world, z_encoder, space="w_plus", steps=3)
    found = as_w.invert(world.images, generator=world.generator)
    assert found.z is None and not torch.equal(found.codes[:, 0], found.codes[:, 2])


def test_methods_without_an_encoder_move_z_too(world):
    """One of them against the equation; each stays M of its z, whatever its batch mates."""
    z = torch.stack([_drawn(i) for i in IDS.tolist()]).requires_grad_()
    adam = torch.optim.Adam([z], lr=0.02)
    for _ in range(10):
        g = world.generator.synthesis(world.generator.mapping(z))
        f, f_g = world.features(world.images).detach(), world.features(g)
        loss = 6 * ((world.images - g) ** 2).mean() + 6 * LAMBDA_VGG * ((f - f_g) ** 2).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    kw = dict(perceptual=world.features, lambda_vgg=LAMBDA_VGG, space="z", init="random", steps=10)
    free = FreeInverter(**kw, lr=0.02, keep_best=False)
    found = free.invert(world.images, generator=world.generator, ids=IDS)
    torch.testing.assert_close(found.z, z.detach(), rtol=1e-8, atol=1e-10)
    for method in (free, Image2StyleGANInverter(**kw)):
        together = method.invert(world.images, generator=world.generator, ids=IDS)
        apart = method.invert(world.images[2:3], generator=world.generator, ids=IDS[2:3])
        torch.testing.assert_close(apart.z[0], together.z[2], rtol=1e-8, atol=0)
        torch.testing.assert_close(together.codes, world.generator.mapping(together.z))
        assert (together.losses[-1] < together.losses[0]).all()


def _drawn(image_id):
    return torch.randn(4, generator=image_rng(0, image_id, purpose="start")).double()


def test_diffusion_starts_at_the_blends_z(world, z_encoder):
    kw = dict(encoder=z_encoder, perceptual=None, lambda_vgg=0.0, latent="z", size=4, centre=[4, 4])
    still = DiffusionInverter(**kw, steps=0).invert(world.images, generator=world.generator)
    torch.testing.assert_close(still.z, z_encoder.z(world.images))
    found = DiffusionInverter(**kw, steps=4).invert(world.images, generator=world.generator)
    torch.testing.assert_close(found.codes, world.generator.mapping(found.z))
    assert (found.losses[-1] < found.losses[0]).all()


def test_what_has_no_z_is_refused_by_name(world, z_encoder):
    with pytest.raises(ConfigError, match=r"inversion\.space=z moves E's z.*latent=z"):
        InDomainInverter(encoder=world.encoder, perceptual=world.features, space="z")
    with pytest.raises(ConfigError, match=r"no z stands for.*init=random"):
        inverter(world, z_encoder, init="mean")
    for method in (FreeInverter, Image2StyleGANInverter):
        with pytest.raises(ConfigError, match=r"inversion\.init=random"):
            method(perceptual=world.features, space="z", init="mean")
    with pytest.raises(ConfigError, match=r"inversion\.space.*'z': expected w_plus or w"):
        ProjectorInverter(perceptual=world.features, space="z")


def test_the_papers_parts_in_z(world):
    """StyleGAN, E with latent=z and F: images stay apart, G is shown M(z), codes are float32."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = StyleGANGenerator(
            resolution=16, z_dim=6, w_dim=8, channels=[8, 8, 8], mapping_depth=2, multi_w=True
        )
        backbone = BaseBackbone(resolution=16, channels=8, channels_max=16)
        encoder = Encoder(
            backbone=backbone, num_layers=generator.num_layers, w_dim=8, latent="z",
            mapping=generator.mapping.architecture,
        )  # fmt: skip
        encoder.set_mapping(generator.mapping)
        # z of about unit variance, as a trained E gives it
        torch.nn.init.normal_(encoder.dense.weight, std=50.0)
        network = AttributeNetwork(resolution=16, kinds=["binary"], names=["x"], width=8)
        x = torch.rand(3, 3, 16, 16, dtype=torch.float64) * 2 - 1
    features = AttributeFeatures(network=network)
    for net in (generator, encoder, features):
        net.double().eval().requires_grad_(False)
    kw = dict(encoder=encoder, perceptual=features, lambda_vgg=0.1, latent=encoder.code_space)
    method = InDomainInverter(**kw, steps=20, lr=1e-3)
    together = method.invert(x, generator=generator)
    assert (together.best_step > 0).all() and together.z.shape == (3, 6)
    for n in range(3):
        alone = method.invert(x[n : n + 1], generator=generator)
        torch.testing.assert_close(alone.z[0], together.z[n], rtol=1e-8, atol=1e-12)
        torch.testing.assert_close(alone.losses[:, 0], together.losses[:, n], rtol=1e-8, atol=0)
    torch.testing.assert_close(together.codes, generator.mapping(together.z))
    for net in (generator, encoder, features):
        net.float()
    with torch.autocast("cpu", torch.bfloat16):
        low = method.invert(x.float(), generator=generator)
    assert low.z.dtype == low.codes.dtype == torch.float32
    assert not torch.equal(low.codes, low.codes.bfloat16().float()), "M ran in half precision"
