"""Eq. 2 and 3: each step's loss and gradients against formulas written out in float64."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from idinvert.training.domain_guided import DomainGuidedTraining
from idinvert.training.objective import random_flip
from idinvert.training.schedules import Constant, ExponentialDecay

from .equations import (
    adam_first_step,
    discriminator_loss,
    encoder_loss,
    gradients,
    penalty,
    pixels,
    preset,
)
from .tiny import (
    fit,
    image_batches,
    labels_like,
    tiny_discriminator,
    tiny_encoder,
    tiny_features,
    tiny_generator,
)

TIGHT = dict(rtol=1e-9, atol=1e-12)
BATCH = 4


def settings_of(name: str = "paper", **changed: Any) -> dict[str, Any]:
    """The numbers of ``conf/objective``."""
    return preset(f"objective={name}", target="DomainGuidedTraining", seed=0, **changed)


def make(**settings):
    generator = tiny_generator()
    encoder = tiny_encoder(norm=settings.pop("norm", "batch"))
    encoder.set_offset(generator.w_avg)
    return DomainGuidedTraining(
        generator=generator,
        discriminator=tiny_discriminator(
            mbstd_channels=settings.pop("mbstd_channels", 0), c_dim=settings.pop("c_dim", 0)
        ),
        encoder=encoder,
        perceptual=tiny_features(),
        **settings,
    )


@pytest.mark.parametrize("kind", ["logistic", "wgan"])
@pytest.mark.parametrize("name", ["paper", "authors_code"])
def test_both_steps_are_the_equations(name, kind):
    settings = settings_of(name, adversarial=kind)
    assert settings["lambda_adv"] == {"paper": 0.1, "authors_code": 0.08}[name]
    assert settings["refresh_fakes"] is (name == "authors_code")
    assert settings["r1_gamma"] == 10.0 and settings["r1_every"] == 1
    batches = image_batches(size=BATCH)
    record = fit(make(**settings), batches, precision="64-true")

    reference = make(**settings).double()
    reference.discriminator.requires_grad_(True)
    x = pixels(batches[0])
    loss_e, y = encoder_loss(
        reference, x, lambda_vgg=0.3, lambda_adv=settings["lambda_adv"], kind=kind
    )
    of_e = gradients(loss_e, reference.encoder, "encoder")
    if name == "authors_code":  # the second session call encodes with the encoder just updated
        adam_first_step(reference.encoder, of_e, "encoder", lr=settings["lr"])
        y = reference.generator.synthesis(reference.encoder(x), noise="const").detach()
    loss_d = discriminator_loss(reference, x, y, gamma=10.0, kind=kind)
    of_d = gradients(loss_d, reference.discriminator, "discriminator")

    (output,) = record.outputs
    torch.testing.assert_close(output["loss/encoder"], loss_e.detach(), **TIGHT)
    torch.testing.assert_close(output["loss/discriminator"], loss_d.detach(), **TIGHT)
    torch.testing.assert_close(record.gradients[0], of_e, **TIGHT)
    torch.testing.assert_close(record.gradients[1], of_d, **TIGHT)


@pytest.mark.parametrize("name", ["paper", "authors_code"])
def test_a_conditional_d_is_shown_the_class_of_each_image(name):
    """Both steps are those of D with its labels bound, as an unconditional one."""
    settings = settings_of(name)
    batches = image_batches(size=BATCH)
    record = fit(make(**settings, c_dim=3), batches, precision="64-true")
    reference = make(**settings, c_dim=3).double()
    x, d = pixels(batches[0]), reference.discriminator
    bound = SimpleNamespace(
        generator=reference.generator,
        encoder=reference.encoder,
        perceptual=reference.perceptual,
        discriminator=lambda images: d(images, labels_like(x, 3)),
    )
    d.requires_grad_(True)
    weights = dict(lambda_vgg=0.3, lambda_adv=settings["lambda_adv"], kind="logistic")
    loss_e, y = encoder_loss(bound, x, **weights)
    of_e = gradients(loss_e, reference.encoder, "encoder")
    if name == "authors_code":
        adam_first_step(reference.encoder, of_e, "encoder", lr=settings["lr"])
        y = reference.generator.synthesis(reference.encoder(x), noise="const").detach()
    loss_d = discriminator_loss(bound, x, y, gamma=0, kind="logistic")
    for image, c in zip(x.split(1), labels_like(x, 3).split(1), strict=True):
        loss_d = loss_d + 10.0 / 2 * penalty(lambda one, c=c: d(one, c), image) / BATCH
    torch.testing.assert_close(record.outputs[0]["loss/encoder"], loss_e.detach(), **TIGHT)
    torch.testing.assert_close(record.gradients[0], of_e, **TIGHT)
    of_d = gradients(loss_d, d, "discriminator")
    torch.testing.assert_close(record.gradients[1], of_d, **TIGHT)


def test_e_and_d_see_the_same_flipped_images():
    settings = settings_of(mirror=True)
    batches = image_batches(size=8)
    (output,) = fit(make(**settings), batches, precision="64-true").outputs
    reference = make(**settings).double()
    reference.discriminator.requires_grad_(True)
    x = pixels(batches[0])
    flipped = random_flip(x, seed=0, nimg=0, rank=0, world_size=1)
    assert not torch.equal(x, flipped)
    loss_e, y = encoder_loss(reference, flipped, lambda_vgg=0.3, lambda_adv=0.1, kind="logistic")
    loss_d = discriminator_loss(reference, flipped, y, gamma=10.0, kind="logistic")
    torch.testing.assert_close(output["loss/encoder"], loss_e.detach(), **TIGHT)
    torch.testing.assert_close(output["loss/discriminator"], loss_d.detach(), **TIGHT)


def test_the_lazy_penalty_is_due_every_16_steps_and_counts_16_times():
    settings = settings_of(r1_every=16)
    batches = image_batches(count=3, size=BATCH)
    module = make(**settings)
    module.clock.nimg = 15 * BATCH
    states = []

    def before(batch, batch_idx):
        states.append({k: v.detach().clone().double() for k, v in module.state_dict().items()
                       if k != "clock._extra_state"})  # fmt: skip

    module.on_train_batch_start = before
    record = fit(module, batches, precision="64-true")
    assert ["loss/r1" in output for output in record.outputs] == [False, True, False]
    for step in range(3):
        reference = make(**settings).double()
        reference.load_state_dict(states[step], strict=False)
        reference.discriminator.requires_grad_(True)
        x = pixels(batches[step])
        y = reference.reconstruct(x).detach()
        gamma = 160.0 if step == 1 else 0.0
        loss = discriminator_loss(reference, x, y, gamma=gamma, kind="logistic")
        torch.testing.assert_close(
            record.outputs[step]["loss/discriminator"], loss.detach(), **TIGHT
        )


def test_without_an_adversarial_weight_there_is_no_discriminator():
    module = make(**settings_of(lambda_adv=0.0))
    (output,) = fit(module, image_batches()).outputs
    assert set(output) == {"loss/pixel", "loss/perceptual", "loss/encoder"}
    assert list(module.trained_networks) == ["encoder"]


def test_both_learning_rates_follow_the_schedule_of_images():
    decay = ExponentialDecay(factor=0.8, every_nimg=2 * BATCH)
    module = make(**settings_of(schedule=decay, lr=1e-3))
    rates: list[float] = []
    module.on_before_optimizer_step = lambda optimizer: rates.append(
        optimizer.param_groups[0]["lr"]
    )
    fit(module, image_batches(count=3, size=BATCH))
    assert rates == pytest.approx([1e-3] * 2 + [1e-3 * 0.8**0.5] * 2 + [1e-3 * 0.8] * 2)
    assert module.nimg == 3 * BATCH


def test_the_encoder_overfits_eight_images():
    module = make(**settings_of(lambda_adv=0.0, lambda_vgg=0.0, lr=1e-2, schedule=Constant()))
    rng = torch.Generator().manual_seed(6)
    z = torch.randn(8, module.generator.z_dim, generator=rng)
    with torch.no_grad():
        targets = module.generator.synthesis(module.generator.mapping(z), noise="const")
    targets = (targets / targets.abs().max() * 127.5 + 127.5).round().to(torch.uint8)
    record = fit(module, [{"image": targets}] * 80)
    losses = [output["loss/pixel"].item() for output in record.outputs]
    assert losses[-1] < 0.15 * losses[0]
