"""Domain-guided with D_w: three steps against formulas in float64."""

from typing import Any

import pytest
import torch

from idinvert.errors import ConfigError
from idinvert.training.domain_guided import DomainGuidedTraining
from idinvert.training.force_in_domain import ForceInDomainTraining

from .equations import (
    discriminator_loss,
    drawn_codes,
    encoder_loss,
    gradients,
    latent_loss,
    latent_term,
    of_layer,
    pixels,
    preset,
)
from .tiny import (
    fit,
    image_batches,
    tiny_discriminator,
    tiny_encoder,
    tiny_features,
    tiny_generator,
)

TIGHT = dict(rtol=1e-9, atol=1e-12)
BATCH = 4


def settings_of(**changed: Any) -> dict[str, Any]:
    """The numbers of ``conf/objective/force_in_domain.yaml``."""
    return preset("experiment=force_in_domain", target="ForceInDomainTraining", seed=3, **changed)


def make(*, multi_w=False, **settings):
    generator = tiny_generator(multi_w=multi_w)
    encoder = tiny_encoder()
    encoder.set_offset(generator.w_avg)
    discriminator = tiny_discriminator() if settings["lambda_adv"] > 0 else None
    torch.manual_seed(7)
    return ForceInDomainTraining(
        generator=generator,
        discriminator=discriminator,
        encoder=encoder,
        perceptual=tiny_features(),
        **settings,
    )


@pytest.mark.parametrize("multi_w", [False, True])
@pytest.mark.parametrize("kind", ["logistic", "wgan"])
def test_the_three_steps_are_the_formulas(kind, multi_w):
    settings = settings_of(adversarial=kind)
    batches = image_batches(size=BATCH)
    record = fit(make(multi_w=multi_w, **settings), batches, precision="64-true")

    reference = make(multi_w=multi_w, **settings).double()
    g, e, d_w = reference.generator, reference.encoder, reference.latent_adversary.network
    x = pixels(batches[0])
    loss_e, y = encoder_loss(reference, x, lambda_vgg=0.3, lambda_adv=0.1, kind=kind)
    w = e(x)  # statistics of the batch: the same codes
    loss_e = loss_e + settings["lambda_w"] * latent_term(d_w, w, layers=4)
    loss_d = discriminator_loss(reference, x, y, gamma=10.0, kind=kind)
    codes, layer = drawn_codes(g, count=BATCH, layers=4, seed=3, nimg=0)
    loss_w = latent_loss(d_w, of_layer(codes, layer), of_layer(w.detach(), layer), gamma=160.0)

    (output,) = record.outputs
    torch.testing.assert_close(output["loss/encoder"], loss_e.detach(), **TIGHT)
    torch.testing.assert_close(output["loss/discriminator"], loss_d.detach(), **TIGHT)
    torch.testing.assert_close(output["loss/latent_discriminator"], loss_w.detach(), **TIGHT)
    expected = [
        gradients(loss_e, e, "encoder"),
        gradients(loss_d, reference.discriminator, "discriminator"),
        gradients(loss_w, d_w, "latent_adversary.network"),
    ]
    for found, value in zip(record.gradients, expected, strict=True):
        torch.testing.assert_close(found, value, **TIGHT)


def test_without_d_w_it_is_domain_guided():
    settings = settings_of(lambda_w=0.0)
    batches = image_batches(count=3)
    ours = make(**settings)
    parts = make(**settings)
    theirs = DomainGuidedTraining(
        generator=parts.generator,
        discriminator=parts.discriminator,
        encoder=parts.encoder,
        perceptual=parts.perceptual,
        refresh_fakes=False,
        **{
            key: value
            for key, value in settings.items()
            if not key.startswith("w_") and key not in ("lambda_w", "pool_size", "truncation")
        },
    )
    fit(ours, batches)
    fit(theirs, batches)
    for name in ("encoder", "discriminator"):
        one, other = (getattr(module, name).state_dict() for module in (ours, theirs))
        assert all(torch.equal(one[key], value) for key, value in other.items()), name


def test_it_needs_its_image_discriminator():
    with pytest.raises(ConfigError, match=r"lambda_adv is 0.*objective=e4e"):
        make(**settings_of(lambda_adv=0.0))
