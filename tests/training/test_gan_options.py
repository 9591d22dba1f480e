"""GAN training with augmentation, path lengths and micro-batches, in float64 where it counts."""

import functools
from typing import Any

import pytest
import torch
from torch import Tensor

from idinvert.errors import ConfigError
from idinvert.training.augment import AdaptiveAugment
from idinvert.training.clock import random_stream
from idinvert.training.gan import GANTraining
from idinvert.training.latents import draw_latents, mixed_codes

from .equations import gradients, log_one_plus_exp, pixels
from .tiny import fit, gan_training, image_batches

TIGHT = dict(rtol=1e-9, atol=1e-12)
BATCH = 4
PATHS = dict(path_length_every=2, path_length_weight=3.0, path_length_decay=0.25)


@pytest.fixture
def make():
    return functools.partial(gan_training, style_mixing=0.5, mirror=True)


def adaptive(**settings: Any) -> AdaptiveAugment:
    return AdaptiveAugment(**(dict(resolution=8, p=0.7, target=None) | settings))


def latents_of(module: GANTraining, purpose: str, count: int) -> tuple[Tensor, list[Tensor]]:
    """The codes and the noise of the first step, drawn as the step draws them."""
    torch.set_default_dtype(torch.float64)
    try:
        rng = random_stream(purpose=purpose, seed=9, nimg=0)
        latents = draw_latents(module.generator, torch.zeros(count, 0), style_mixing=0.5, rng=rng)
        return mixed_codes(module.generator, latents)[0], list(latents.noise)
    finally:
        torch.set_default_dtype(torch.float32)


def test_d_sees_nothing_but_augmented_images_and_both_learn_through_them(make):
    batches = image_batches(size=BATCH)
    settings = dict(mirror=False, augment=adaptive())
    reference = make(**settings).double()
    augment, d = reference.augment, reference.discriminator
    rng = random_stream(purpose="augment", seed=9, nimg=0)
    of_fakes, of_reals = augment.draw(BATCH, rng=rng), augment.draw(BATCH, rng=rng)
    codes, noise = latents_of(reference, "gan", BATCH)
    fakes = reference.generator.synthesis(codes, noise=noise)
    x = pixels(batches[0])
    record = fit(make(**settings), batches, precision="64-true")
    loss_g = log_one_plus_exp(-d(augment(fakes, of_fakes))).mean()
    on_fake = log_one_plus_exp(d(augment(fakes.detach(), of_fakes))).mean()
    logits = d(augment(x, of_reals))
    on_real = log_one_plus_exp(-logits).mean()
    penalty = torch.zeros((), dtype=torch.float64)
    for image, plan in zip(x, of_reals.split(1), strict=True):
        one = image[None].clone().requires_grad_(True)  # R1: the images before augmentation
        (gradient,) = torch.autograd.grad(d(augment(one, plan)), one, create_graph=True)
        penalty = penalty + (gradient**2).sum() / BATCH
    (output,) = record.outputs
    torch.testing.assert_close(output["loss/generator"], loss_g.detach(), **TIGHT)
    torch.testing.assert_close(output["loss/r1"], penalty.detach(), **TIGHT)
    assert output["augment/sign"] == logits.sign().mean()
    assert output["augment/p"].item() == pytest.approx(0.7)
    loss_d = on_fake + on_real + penalty
    of_d, of_g = record.gradients
    torch.testing.assert_close(of_d, gradients(loss_d, d, "discriminator"), **TIGHT)
    torch.testing.assert_close(of_g, gradients(loss_g, reference.generator, "generator"), **TIGHT)


def test_augmentation_that_stands_at_zero_is_no_augmentation(make):
    batches = image_batches(count=3, size=BATCH)
    plain, zero = make(), make(augment=adaptive(p=0.0))
    records = [fit(module, batches) for module in (plain, zero)]
    for one, other in zip(records[0].outputs, records[1].outputs, strict=True):
        assert set(other) - set(one) == {"augment/p", "augment/sign"}
        assert all(torch.equal(other[name], one[name]) for name in one)
    for name, value in plain.state_dict().items():
        if isinstance(value, Tensor):
            assert torch.equal(zero.state_dict()[name], value), name
    assert set(zero.state_dict()) - set(plain.state_dict()) == {"augment._extra_state"}


def test_p_moves_with_the_signs_that_the_steps_report(make):
    module = make(augment=adaptive(p=0.3, target=0.1, ramp_nimg=100, every=2))
    record = fit(module, image_batches(count=6, size=BATCH))
    p = 0.3
    for index in range(0, 6, 2):
        pair = record.outputs[index : index + 2]
        assert [output["augment/p"].item() for output in pair] == pytest.approx([p, p])
        mean = sum(output["augment/sign"].item() for output in pair) / 2
        p += 2 * BATCH / 100 * (1 if mean > 0.1 else -1)
    assert module.augment.p == pytest.approx(p)


@pytest.mark.parametrize("multi_w", [False, True])
@pytest.mark.parametrize("kind", ["stylegan2", "stylegan"])
def test_path_lengths_are_a_lazy_step_of_g_alone(make, kind, multi_w):
    batches = image_batches(count=3, size=BATCH)
    one = dict(kind=kind, multi_w=multi_w)
    settings = one | dict(lr=0.0) | PATHS  # with networks that stand still
    reference, module = make(**settings).double(), make(**settings)
    record = fit(module, batches, precision="64-true")
    networks = [{name.split(".")[0] for name in step} for step in record.gradients]
    d, g = {"discriminator"}, {"generator"}
    assert networks == [d, g, g, d, g, d, g, g]  # in steps 0 and 2
    codes, noise = latents_of(reference, "path length", BATCH // 2)
    images = reference.generator.synthesis(codes, noise=noise)
    rng = random_stream(purpose="path length", seed=9, nimg=0)
    torch.set_default_dtype(torch.float64)
    draw_latents(reference.generator, torch.zeros(BATCH // 2, 0), style_mixing=0.5, rng=rng)
    y = torch.randn(images.shape, generator=rng)
    torch.set_default_dtype(torch.float32)
    (step,) = torch.autograd.grad((images * y / 8).sum(), codes, create_graph=True)
    lengths = ((step**2).sum(2).mean(1)) ** 0.5
    paid = 3.0 * (lengths**2).mean()  # the mean length starts at zero
    output = record.outputs[0]
    torch.testing.assert_close(output["path_length"], lengths.mean().detach(), **TIGHT)
    torch.testing.assert_close(output["loss/path_length"], paid.detach(), **TIGHT)
    expected = gradients(2 * paid, reference.generator, "generator")
    torch.testing.assert_close(record.gradients[2], expected, **TIGHT)
    assert "path_length" not in record.outputs[1]
    first, third = (record.outputs[index]["path_length"].item() for index in (0, 2))
    assert module.path_length.mean == pytest.approx(0.75 * 0.25 * first + 0.25 * third)


def test_adam_of_g_is_corrected_for_the_lazy_penalty(make):
    of_g, _ = make(path_length_every=4, lr=0.01).configure_optimizers()
    assert of_g.defaults["lr"] == pytest.approx(0.01 * 4 / 5)
    assert of_g.defaults["betas"] == pytest.approx((0.0, 0.99 ** (4 / 5)))


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize(("kind", "c_dim"), [("stylegan2", 0), ("stylegan2", 3), ("stylegan", 0)])
def test_a_step_in_parts_is_the_step(make, kind, c_dim, count):
    batches = image_batches(count=3, size=BATCH)
    records, modules, sizes = [], [], []
    for accumulate in (1, count):
        ada = adaptive(p=0.3, target=0.1, ramp_nimg=100, every=2)
        networks = dict(kind=kind, c_dim=c_dim)
        module = make(**networks, accumulate=accumulate, augment=ada, r1_every=2, **PATHS)
        module.discriminator.register_forward_hook(
            lambda _, inputs, output, n=accumulate: sizes.append((n, len(inputs[0])))
        )
        records.append(fit(module, batches, precision="64-true"))
        modules.append(module)
    assert set(sizes) == {(1, BATCH), (count, BATCH // count)}
    for one, other in zip(records[0].outputs, records[1].outputs, strict=True):
        torch.testing.assert_close(other, one, **TIGHT)
    for one, other in zip(records[0].gradients, records[1].gradients, strict=True):
        torch.testing.assert_close(other, one, **TIGHT)
    whole, parts = (module.state_dict() for module in modules)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-7, atol=1e-10, msg=name)


def test_micro_batches_that_tear_ds_groups_apart_are_refused(make):
    words = r"accumulate=2.* 2 images .*groups of 4.*discriminator\.network\.mbstd_group"
    with pytest.raises(ConfigError, match=words):
        fit(make(mbstd_channels=1, accumulate=2), image_batches(size=4))
    record = fit(make(mbstd_channels=1, accumulate=2), image_batches(size=8))
    assert len(record.outputs) == 1
    module = make(mbstd_channels=1, accumulate=2)
    module.discriminator.mbstd_group = None
    with pytest.raises(ConfigError, match="whole batches"):
        fit(module, image_batches(size=8))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"path_length_every": -1}, r"objective\.path_length_every=-1, expected a whole number"),
        ({"path_length_every": "often"}, r"objective\.path_length_every='often'"),
        (PATHS | {"path_length_weight": -1.0}, r"objective\.path_length_weight=-1\.0"),
        (PATHS | {"path_length_decay": 2}, r"path_length_decay=2, expected a number, from 0 to 1"),
        (PATHS | {"path_length_shrink": 0}, r"path_length_shrink=0"),
    ],
)
def test_what_is_out_of_range_is_refused(make, wrong, words):
    with pytest.raises(ConfigError, match=words):
        make(**wrong)
