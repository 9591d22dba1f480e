"""Tiny networks, and a real Trainer over given batches."""

import warnings
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from idinvert.cli.devices import quieten_lightning
from idinvert.networks.attributes import AttributeNetwork
from idinvert.networks.encoder import Encoder
from idinvert.networks.encoder_base import BaseBackbone
from idinvert.networks.stylegan import StyleGANGenerator
from idinvert.networks.stylegan2 import StyleGAN2Generator
from idinvert.networks.stylegan2_discriminator import StyleGAN2Discriminator
from idinvert.training.attributes import AttributeTraining
from idinvert.training.gan import GANTraining
from idinvert.training.schedules import Constant

RESOLUTION, WIDTH = 8, 8


class Features(nn.Module):
    """A stand-in for F: one convolution and a smooth non-linearity."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        return torch.tanh(self.conv(images))


def tiny_generator(*, seed=0, **kwargs):
    torch.manual_seed(seed)
    generator = StyleGAN2Generator(
        resolution=RESOLUTION,
        z_dim=WIDTH,
        w_dim=WIDTH,
        channels=[WIDTH, WIDTH],
        mapping_depth=2,
        **kwargs,
    )
    generator.w_avg.normal_(std=0.1)
    return generator


def tiny_discriminator(*, seed=1, mbstd_channels=0, c_dim=0):
    torch.manual_seed(seed)
    sizes: dict[str, Any] = dict(resolution=RESOLUTION, channels=[WIDTH, WIDTH], c_dim=c_dim)
    return StyleGAN2Discriminator(mbstd_channels=mbstd_channels, **sizes)


def gan_training(*, kind="stylegan2", multi_w=False, mbstd_channels=0, c_dim=0, **settings):
    """A GAN's training with R1 in every step, unless its settings are others."""
    generator: Any = tiny_generator(multi_w=multi_w, c_dim=c_dim)
    if kind == "stylegan":
        torch.manual_seed(0)
        generator = StyleGANGenerator(
            resolution=8, z_dim=8, w_dim=8, channels=[8, 8], mapping_depth=2, multi_w=multi_w
        )
        with torch.no_grad():  # as after some training: its first layer starts without variance
            for parameter in generator.parameters():
                parameter += 0.1 * torch.randn(parameter.shape)
    defaults: dict[str, Any] = dict(
        r1_gamma=2.0,
        r1_every=1,
        style_mixing=0.0,
        lr=1e-3,
        betas=(0.0, 0.99),
        schedule=Constant(),
        ema_half_life=100.0,
        ema_rampup=None,
        w_avg_half_life=100.0,
        mirror=False,
        seed=9,
    )
    discriminator = tiny_discriminator(mbstd_channels=mbstd_channels, c_dim=c_dim)
    return GANTraining(generator=generator, discriminator=discriminator, **(defaults | settings))


def tiny_encoder(*, seed=2, norm="batch", num_layers=4, deltas=False):
    torch.manual_seed(seed)
    backbone = BaseBackbone(resolution=RESOLUTION, channels=8, channels_max=16, norm=norm)
    sizes: dict[str, Any] = dict(num_layers=num_layers, w_dim=WIDTH, deltas=deltas)
    encoder = Encoder(backbone=backbone, offset=True, norm=norm, **sizes)
    if deltas:  # as after some training: at zero, lengths have no gradient
        with torch.no_grad():
            weight: Any = (encoder.dense if norm == "none" else encoder.norm).weight
            weight[WIDTH:] += 0.2 * torch.randn(weight[WIDTH:].shape)
    return encoder


def tiny_features(*, seed=3):
    torch.manual_seed(seed)
    return Features()


def attribute_training(**settings):
    """The smallest training there is: three attributes, no noise."""
    torch.manual_seed(4)
    network = AttributeNetwork(
        resolution=RESOLUTION,
        kinds=["continuous", "binary", "continuous"],
        names=["pose", "glasses", "age"],
        width=8,
    )
    defaults = dict(lr=3e-3, schedule=Constant(), noise=0.0, seed=4)
    return AttributeTraining(network=network, **(defaults | settings))


def labels_like(x, c_dim):
    """One-hot rows of the classes of `image_batches`, in float64; empty rows without classes."""
    return torch.eye(3, dtype=torch.float64)[torch.arange(len(x)) % 3][:, :c_dim]


def labelled_batches(*, count=1, size=4):
    """Batches of noise with labels for `attribute_training`."""
    rng = torch.Generator().manual_seed(1)
    batches = image_batches(count=count, size=size)
    for batch in batches:
        labels = torch.rand(size, 3, generator=rng) * 2 - 1
        labels[:, 1] = (labels[:, 1] > 0).float()
        batch["attributes"] = labels
    return batches


class Recorder(pl.Callback):
    """Keeps what every step returned, and the gradients each optimiser was about to use."""

    def __init__(self) -> None:
        self.outputs: list[dict[str, Tensor]] = []
        self.gradients: list[dict[str, Tensor]] = []
        """One dict for each ``optimizer.step()``: every parameter of the module with a gradient."""

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        mine = {id(p) for group in optimizer.param_groups for p in group["params"]}
        self.gradients.append(
            {
                name: parameter.grad.clone()
                for name, parameter in module.named_parameters()
                if parameter.grad is not None and id(parameter) in mine
            }
        )

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        outputs: dict[str, Tensor],
        batch: Any,
        batch_idx: int,
    ) -> None:
        self.outputs.append(dict(outputs))


def fit(module, batches, *, precision="32-true", callbacks=()):
    """Trains a module on a list of batches and returns what was recorded."""
    recorder = Recorder()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        precision=precision,
        max_epochs=1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[recorder, *callbacks],
    )
    with warnings.catch_warnings():
        quieten_lightning()
        warnings.filterwarnings("ignore", ".*have no `val_dataloader`")
        trainer.fit(module, DataLoader(list(batches), batch_size=None))
    return recorder


def image_batches(*, count=1, size=4, seed=5):
    """Batches of uint8 noise, ``count`` of ``size`` images, of three classes in turn."""
    rng = torch.Generator().manual_seed(seed)
    shape = (size, 3, RESOLUTION, RESOLUTION)
    return [
        {
            "image": torch.randint(0, 256, shape, generator=rng, dtype=torch.uint8),
            "class": torch.arange(size) % 3,
        }
        for _ in range(count)
    ]
