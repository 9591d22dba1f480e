"""Eq. 1: the loss, its gradients and its images against the formula in float64."""

import pytest
import torch

from idinvert.config.compose import compose_plain
from idinvert.errors import ConfigError
from idinvert.networks.encoder import Encoder
from idinvert.networks.encoder_base import BaseBackbone
from idinvert.training.clock import random_stream
from idinvert.training.conventional import ConventionalTraining
from idinvert.training.schedules import Constant

from .equations import gradients
from .tiny import fit, image_batches, tiny_encoder, tiny_generator

TIGHT = dict(rtol=1e-9, atol=1e-12)
BATCH = 4


def make(*, multi_w=False, c_dim=0, **settings):
    generator = tiny_generator(multi_w=multi_w, c_dim=c_dim)
    encoder = tiny_encoder()
    encoder.set_offset(generator.w_avg)
    defaults = dict(lr=1e-3, betas=(0.9, 0.99), schedule=Constant(), seed=3)
    return ConventionalTraining(generator=generator, encoder=encoder, **(defaults | settings))


@pytest.mark.parametrize(("multi_w", "c_dim"), [(False, 0), (True, 0), (True, 3)])
def test_it_is_the_equation(multi_w, c_dim):
    networks = dict(multi_w=multi_w, c_dim=c_dim)
    record = fit(make(**networks), image_batches(count=2), precision="64-true")

    reference = make(**networks).double()
    g, e = reference.generator, reference.encoder.train()
    rng = random_stream(purpose="synthetic images", seed=3, nimg=0)
    z = torch.randn(BATCH, g.z_dim, generator=rng).double()
    classes = torch.randint(0, 3, (BATCH,), generator=rng) if c_dim else torch.arange(BATCH) % 3
    with torch.no_grad():
        w = g.mapping(z, torch.eye(3, dtype=torch.float64)[classes])
        x = g.synthesis(w, noise="const")
    guess = e(x)
    loss = sum(((w[n] - guess[n]) ** 2).sum() / w[n].numel() for n in range(BATCH)) / BATCH
    torch.testing.assert_close(record.outputs[0]["loss/encoder"], loss.detach(), **TIGHT)
    torch.testing.assert_close(record.gradients[0], gradients(loss, e, "encoder"), **TIGHT)
    assert not torch.equal(record.outputs[0]["loss/code"], record.outputs[1]["loss/code"])


def test_the_real_images_change_nothing_but_their_number():
    outputs = [fit(make(), image_batches(seed=seed)).outputs[0] for seed in (1, 2)]
    assert torch.equal(outputs[0]["loss/code"], outputs[1]["loss/code"])
    (other,) = fit(make(), image_batches(size=6)).outputs
    assert not torch.equal(outputs[0]["loss/code"], other["loss/code"])


def test_it_learns_the_codes():
    batches = image_batches(size=16) * 60
    record = fit(make(lr=1e-2), batches)
    losses = [output["loss/code"].item() for output in record.outputs]
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_an_encoder_of_noise_is_refused():
    generator = tiny_generator()
    encoder = Encoder(
        backbone=BaseBackbone(resolution=8, channels=4, channels_max=8),
        num_layers=4,
        w_dim=8,
        noise_blocks=1,
        noise_shapes=generator.noise_shapes,
    )
    with pytest.raises(ConfigError, match=r"noise maps.*encoder=base"):
        ConventionalTraining(
            generator=generator,
            encoder=encoder,
            lr=1e-3,
            betas=(0.9, 0.99),
            schedule=Constant(),
            seed=0,
        )


def test_the_configuration_takes_the_optimiser_of_the_papers_objective():
    ours = compose_plain("train", ["experiment=conventional"])["objective"]
    paper = compose_plain("train", ["objective=paper"])["objective"]
    assert ours == {key: paper[key] for key in ours if key != "_target_"} | {
        "_target_": "idinvert.training.conventional.ConventionalTraining"
    }
