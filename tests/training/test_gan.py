"""GAN training: both losses and gradients in float64, mixing, the mean code, the average."""

from typing import Any

import pytest
import torch
from torch import Tensor

from idinvert.training.clock import random_stream
from idinvert.training.latents import draw_latents, mixed_codes

from .equations import gradients, log_one_plus_exp, penalty, pixels
from .tiny import fit, gan_training, image_batches, labels_like, tiny_generator

TIGHT = dict(rtol=1e-9, atol=1e-12)
BATCH = 4


def fakes_of(generator: Any, *, nimg: int, count: int) -> tuple[Tensor, Tensor]:
    """Codes and images of a step without mixing, drawn as the step draws them, in float64."""
    torch.set_default_dtype(torch.float64)
    try:
        return _fakes_of(generator, nimg=nimg, count=count)
    finally:
        torch.set_default_dtype(torch.float32)


def _fakes_of(generator: Any, *, nimg: int, count: int) -> tuple[Tensor, Tensor]:
    rng = random_stream(purpose="gan", seed=9, nimg=nimg)
    z = torch.randn(2 * count, generator.z_dim, generator=rng)
    labels = labels_like(z[:count], generator.c_dim).repeat(2, 1)
    w = generator.mapping(z, labels)[:count]
    torch.rand(count, generator=rng)  # coins
    torch.randint(1, generator.num_layers, (count,), generator=rng)  # crossover layers
    return w, generator.synthesis(w, noise="random", rng=rng)


@pytest.mark.parametrize(("multi_w", "c_dim"), [(False, 0), (True, 0), (True, 3)])
def test_a_step_is_the_non_saturating_loss_with_r1_both_against_the_networks_before_it(
    multi_w, c_dim
):
    batches = image_batches(size=BATCH)
    x = pixels(batches[0])
    networks = dict(multi_w=multi_w, c_dim=c_dim)
    reference = gan_training(**networks).double()
    _, fakes = fakes_of(reference.generator, nimg=0, count=BATCH)
    record = fit(gan_training(**networks), batches, precision="64-true")
    d, labels = reference.discriminator, labels_like(x, c_dim)
    loss_g = log_one_plus_exp(-d(fakes, labels)).mean()
    on_fakes, on_reals = d(fakes.detach(), labels), d(x, labels)
    adversarial = log_one_plus_exp(on_fakes).mean() + log_one_plus_exp(-on_reals).mean()
    each = zip(x.split(1), labels.split(1), strict=True)
    paid = sum(penalty(lambda one, c=c: d(one, c), image) for image, c in each) / BATCH
    (output,) = record.outputs
    torch.testing.assert_close(output["loss/generator"], loss_g.detach(), **TIGHT)
    torch.testing.assert_close(output["loss/discriminator"], adversarial.detach(), **TIGHT)
    torch.testing.assert_close(output["loss/r1"], paid.detach(), **TIGHT)  # gamma / 2 = 1
    of_d, of_g = record.gradients
    torch.testing.assert_close(of_d, gradients(adversarial + paid, d, "discriminator"), **TIGHT)
    torch.testing.assert_close(of_g, gradients(loss_g, reference.generator, "generator"), **TIGHT)


def test_the_lazy_penalty_comes_every_16_steps_with_adams_corrected_for_it():
    module = gan_training(r1_every=16, lr=0.01)
    module.clock.nimg = 15 * BATCH
    record = fit(module, image_batches(count=3, size=BATCH))
    assert ["loss/r1" in output for output in record.outputs] == [False, True, False]
    of_g, of_d = module.configure_optimizers()
    assert (of_g.defaults["lr"], of_g.defaults["betas"]) == (0.01, (0.0, 0.99))
    assert of_d.defaults["lr"] == pytest.approx(0.01 * 16 / 17)
    assert of_d.defaults["betas"] == pytest.approx((0.0, 0.99 ** (16 / 17)))
    assert module.trainer.optimizers[1].param_groups[0]["lr"] == pytest.approx(0.01 * 16 / 17)


def test_mixed_codes_take_their_later_layers_from_a_second_code():
    generator = tiny_generator()
    count = 400
    rng = random_stream(purpose="gan", seed=9, nimg=0)
    z = torch.randn(2 * count, generator.z_dim, generator=rng)
    with torch.no_grad():
        first, second = generator.mapping(z).split(count)
        rng = random_stream(purpose="gan", seed=9, nimg=0)
        latents = draw_latents(generator, torch.zeros(count, 0), style_mixing=0.5, rng=rng)
        codes, unmixed = mixed_codes(generator, latents)
    assert torch.equal(unmixed, first)
    from_first = (codes == first).all(-1)  # [N, L]
    from_second = (codes == second).all(-1)
    assert bool((from_first ^ from_second).all())
    assert bool(from_first[:, 0].all())
    assert bool((from_first.int().diff(dim=1) <= 0).all())  # one crossover, never back
    share = (~from_first[:, -1]).double().mean().item()
    assert abs(share - 0.5) < 0.1
    crossovers = from_first[~from_first[:, -1]].sum(1)
    assert crossovers.unique().tolist() == [1, 2, 3]  # L = 4


def test_the_mean_code_follows_the_batches_with_its_half_life():
    module = gan_training(w_avg_half_life=float(BATCH), lr=0.0)
    start = module.generator.w_avg.clone()
    reference = gan_training().double()
    fit(module, image_batches(count=3, size=BATCH), precision="64-true")
    expected = start.double()
    for nimg in (0, BATCH, 2 * BATCH):
        w, _ = fakes_of(reference.generator, nimg=nimg, count=BATCH)
        expected = 0.5 * expected + 0.5 * w.detach().mean(0)
    torch.testing.assert_close(module.generator.w_avg, expected, **TIGHT)
    torch.testing.assert_close(module.average.w_avg, expected, **TIGHT)


def test_the_average_follows_the_generator_and_is_what_is_kept():
    module = gan_training(ema_half_life=float(BATCH))
    history = [{n: p.detach().clone() for n, p in module.generator.named_parameters()}]

    def after(outputs, batch, batch_idx):
        history.append({n: p.detach().clone() for n, p in module.generator.named_parameters()})

    module.on_train_batch_end = after
    fit(module, image_batches(count=3, size=BATCH))
    for name, parameter in module.average.named_parameters():
        expected = history[0][name]
        for state in history[1:]:
            expected = (expected + state[name]) / 2
        torch.testing.assert_close(parameter, expected)
        assert not parameter.requires_grad
    assert module.trained_networks["generator"] is module.average
    moved = [not torch.equal(history[0][name], history[-1][name]) for name in history[0]]
    assert all(moved)


def test_gradients_of_a_step_stay_in_their_own_network():
    record = fit(gan_training(), image_batches(count=2, size=BATCH))
    assert [{name.split(".")[0] for name in step} for step in record.gradients] == [
        {"discriminator"},
        {"generator"},
    ] * 2
