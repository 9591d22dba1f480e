"""What holds for every objective: who learns, what stays, micro-batches, gradients meet once."""

import warnings
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor
from torch.utils.data import DataLoader

from idinvert.cli.devices import quieten_lightning
from idinvert.errors import ConfigError
from idinvert.training.conventional import ConventionalTraining
from idinvert.training.domain_guided import DomainGuidedTraining
from idinvert.training.e4e import E4eTraining
from idinvert.training.force_in_domain import ForceInDomainTraining
from idinvert.training.objective import micro_batches
from idinvert.training.schedules import Constant

from .tiny import (
    attribute_training,
    fit,
    image_batches,
    labelled_batches,
    tiny_discriminator,
    tiny_encoder,
    tiny_features,
    tiny_generator,
)

TIGHT = dict(rtol=1e-9, atol=1e-12)
BATCH, STEPS = 4, 3
COMMON = dict(lr=1e-3, betas=(0.9, 0.99), schedule=Constant(), seed=3)
IMAGES = dict(lambda_vgg=0.3, lambda_adv=0.1, r1_gamma=10.0, r1_every=1, adversarial="logistic")
CODES = dict(lambda_w=0.1, w_input="layer", pool_size=6, truncation=1.0, w_lr_ratio=0.2)
OBJECTIVES = ["domain_guided", "refreshed", "conventional", "e4e", "force_in_domain", "attributes"]


def make(objective, *, accumulate, norm="none"):
    """Any objective, R1 in every step or every other, no BatchNorm unless asked for."""
    if objective == "attributes":
        return attribute_training(noise=0.1, accumulate=accumulate)
    encoder = tiny_encoder(norm=norm, deltas=objective == "e4e")
    networks = dict(generator=tiny_generator(), encoder=encoder)
    networks["encoder"].set_offset(networks["generator"].w_avg)
    torch.manual_seed(7)
    if objective == "conventional":
        return ConventionalTraining(**networks, **COMMON, accumulate=accumulate)
    shown = dict(perceptual=tiny_features(), mirror=True, accumulate=accumulate) | COMMON
    if objective == "e4e":
        stages = dict(lambda_delta=2e-4, delta_start=BATCH, delta_every=BATCH)
        r1 = dict(r1_gamma=10.0, r1_every=2, lambda_vgg=0.3)
        return E4eTraining(**networks, **shown, **CODES, **stages, **r1)
    networks["discriminator"] = tiny_discriminator()  # without minibatch deviation
    if objective == "force_in_domain":
        return ForceInDomainTraining(**networks, **shown, **IMAGES, **CODES, w_r1_every=2)
    again = objective == "refreshed"
    return DomainGuidedTraining(**networks, **shown, **IMAGES, refresh_fakes=again)


LEARN = {
    "conventional": ["encoder"],
    "domain_guided": ["encoder", "discriminator"],
    "e4e": ["encoder", "latent_adversary"],
    "force_in_domain": ["encoder", "discriminator", "latent_adversary"],
}
"""What learns in a step, in this order."""
PAID = {
    "conventional": ["code"],
    "domain_guided": ["pixel", "perceptual", "adversarial"],
    "e4e": ["pixel", "perceptual", "latent_adversarial", "delta"],
    "force_in_domain": ["pixel", "perceptual", "adversarial", "latent_adversarial"],
}
"""The terms of E's loss."""


@pytest.mark.parametrize("objective", list(LEARN))
def test_each_optimiser_moves_its_own_network_and_the_frozen_ones_stay(objective):
    module = make(objective, accumulate=1)
    frozen = {
        name: value.clone()
        for name, value in module.state_dict().items()
        if name.startswith(("generator.", "perceptual."))
    }
    before = {name: value.clone() for name, value in module.named_parameters()}
    of = {id(parameter): name.split(".")[0] for name, parameter in module.named_parameters()}
    with_gradient: list[set[str]] = []
    of_optimizer: list[set[str]] = []

    def watch(optimizer):
        named = module.named_parameters()
        with_gradient.append({name.split(".")[0] for name, p in named if p.grad is not None})
        of_optimizer.append(
            {of[id(p)] for group in optimizer.param_groups for p in group["params"]}
        )

    module.on_before_optimizer_step = watch
    record = fit(module, image_batches(count=STEPS, size=BATCH))
    assert of_optimizer == [{name} for name in LEARN[objective]] * STEPS
    for step, name in enumerate(LEARN[objective]):  # nothing of a later step has a gradient yet
        assert with_gradient[step] == set(LEARN[objective][: step + 1]), name
    state = module.state_dict()
    assert frozen and all(torch.equal(state[name], value) for name, value in frozen.items())
    parts = [part for part in (module.generator, module.perceptual) if part is not None]
    assert not any(p.requires_grad or p.grad is not None for m in parts for p in m.parameters())
    assert not any(m.training for part in parts for m in part.modules())
    assert all(m.training for m in module.encoder.modules())
    after = dict(module.named_parameters())
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == set(LEARN[objective]) and module.nimg == STEPS * BATCH
    for output in record.outputs:  # the terms of E's loss add up to it
        paid = [output[f"loss/{term}"] for term in PAID[objective]]
        torch.testing.assert_close(sum(paid), output["loss/encoder"])


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_step_in_parts_is_the_step(objective, count):
    batches = labelled_batches(count=STEPS) if objective == "attributes" else image_batches(
        count=STEPS, size=BATCH
    )  # fmt: skip
    whole, parts = make(objective, accumulate=1), make(objective, accumulate=count)
    sizes: list[int] = []
    network = getattr(parts, "encoder", None) or parts.network
    first = next(module for module in network.modules() if not list(module.children()))
    first.register_forward_hook(lambda _, inputs, output: sizes.append(len(inputs[0])))
    records = [fit(module, batches, precision="64-true") for module in (whole, parts)]
    assert set(sizes) == {BATCH // count}
    for one, other in zip(records[0].outputs, records[1].outputs, strict=True):
        torch.testing.assert_close(other, one, **TIGHT)
    assert len(records[0].gradients) == STEPS * len(whole.configure_optimizers())
    for one, other in zip(records[0].gradients, records[1].gradients, strict=True):
        torch.testing.assert_close(other, one, **TIGHT)
    assert parts.nimg == whole.nimg == STEPS * BATCH
    state = parts.state_dict()
    for name, value in whole.state_dict().items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(state[name], value, **TIGHT)


def test_batch_norm_sees_one_micro_batch():
    (batch,) = image_batches(size=BATCH)
    record = fit(make("conventional", accumulate=2, norm="batch"), [batch], precision="64-true")
    reference = make("conventional", accumulate=1, norm="batch").double()
    reference._trainer = pl.Trainer(logger=False, accelerator="cpu", barebones=True)
    encoder = reference.encoder.train()
    codes = reference.sample_codes(BATCH)
    halves = []
    for w in (codes[:2], codes[2:]):
        error = (w - encoder(reference.show(w))) ** 2
        halves.append(error.mean())
    loss = (halves[0] + halves[1]) / 2
    torch.testing.assert_close(record.outputs[0]["loss/code"], loss.detach(), **TIGHT)
    named = dict(encoder.named_parameters())
    expected = torch.autograd.grad(loss, list(named.values()))
    for name, gradient in zip(named, expected, strict=True):
        torch.testing.assert_close(record.gradients[0][f"encoder.{name}"], gradient, **TIGHT)


@pytest.mark.parametrize("count", [0, 3, 8])
def test_parts_that_are_not_equal_are_refused(count):
    with pytest.raises(ConfigError, match=rf"accumulate={count} .* the 4 images .* batch_size"):
        micro_batches(torch.zeros(4, 3), count)


def test_parts_keep_the_order():
    parts = micro_batches(torch.arange(6), 3)
    assert [part.tolist() for part in parts] == [[0, 1], [2, 3], [4, 5]]


class CountExchanges(pl.Callback):
    """Counts how often the gradients of ranks are averaged, by the hook that DDP calls for it."""

    def __init__(self) -> None:
        self.exchanges = 0

    def on_train_start(self, trainer: Any, module: Any) -> None:
        def hook(_: Any, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
            self.exchanges += int(bucket.is_last())
            future: torch.futures.Future[Tensor] = torch.futures.Future()
            future.set_result(bucket.buffer())
            return future

        trainer.strategy.model.register_comm_hook(None, hook)


@pytest.fixture
def alone_in_a_group(monkeypatch):
    """Leaves neither a process group nor its variables behind."""
    names = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")
    for name in names:
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


@pytest.mark.parametrize("count", [1, 4])
def test_gradients_meet_once_an_optimiser_and_step(alone_in_a_group, count):
    exchanges = CountExchanges()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        strategy=DDPStrategy(find_unused_parameters=True),
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[exchanges],
    )
    module = make("domain_guided", accumulate=count)
    with warnings.catch_warnings():
        quieten_lightning()
        warnings.filterwarnings("ignore", ".*have no `val_dataloader`")
        trainer.fit(module, DataLoader(image_batches(count=STEPS, size=BATCH), batch_size=None))
    assert exchanges.exchanges == 2 * STEPS  # of E and of D
