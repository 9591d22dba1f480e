"""Training of the domain-guided encoder (Sec. 3.1, Eq. 2 and 3)."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from idinvert.data.convert import to_float
from idinvert.losses.adversarial import (
    check_kind,
    discriminator_adversarial,
    encoder_adversarial,
)
from idinvert.losses.gradient_penalty import r1
from idinvert.losses.perceptual import feature_loss
from idinvert.losses.pixel import pixel_loss
from idinvert.training.clock import ImageClock
from idinvert.training.frozen import (
    drop_frozen,
    freeze,
    full_precision,
    restore_frozen,
    set_trainable,
)
from idinvert.training.mirror import mirror_at_random
from idinvert.training.schedules import Schedule, set_learning_rate

FROZEN = ("generator", "perceptual")


class DomainGuidedTraining(pl.LightningModule):
    """E against D around a frozen G: one E step, then one D step, on the same real images.

    Args:
        generator: The frozen G (`networks.generator.Generator`); codes ``[N, L, w_dim]`` to images.
        discriminator: D, as it came out of the GAN's training; it goes on learning here.
        encoder: E; images to codes ``[N, L, w_dim]``.
        perceptual: F; images to features. ``None`` only with ``lambda_vgg=0``.
        lambda_vgg: Weight of the perceptual term.
        lambda_adv: Weight of the adversarial term; 0 leaves D out altogether.
        r1_gamma: The gamma of Eq. 3.
        r1_every: D steps between two penalties; each counts ``r1_every`` times.
        adversarial: ``"logistic"`` (the authors' code) or ``"wgan"`` (as printed).
        refresh_fakes: The D step encodes the images anew with the encoder just updated, as the
            authors' two session calls do; otherwise it takes the reconstructions of the E step.
        lr: Learning rate of both Adam optimisers.
        betas: Adam's betas.
        schedule: Factor on the learning rate by images seen.
        mirror: Flip training images left to right with probability one half.
        seed: Seed of the flips.

    Raises:
        ConfigError: Unknown ``adversarial``.

    Differs from the paper:
        The printed Eq. 2-3 are linear in D; the authors' code, and so the default here, is the
        non-saturating logistic loss.
    """

    def __init__(
        self,
        *,
        generator: nn.Module,
        discriminator: nn.Module | None,
        encoder: nn.Module,
        perceptual: nn.Module | None,
        lambda_vgg: float,
        lambda_adv: float,
        r1_gamma: float,
        r1_every: int,
        adversarial: str,
        refresh_fakes: bool,
        lr: float,
        betas: tuple[float, float],
        schedule: Schedule,
        mirror: bool,
        seed: int,
    ) -> None:
        super().__init__()
        check_kind(adversarial)
        self.automatic_optimization = False
        self.generator: Any = freeze(generator)
        self.perceptual: nn.Module | None = None if perceptual is None else freeze(perceptual)
        self.discriminator: nn.Module | None = discriminator if lambda_adv > 0 else None
        if self.discriminator is not None:
            set_trainable(self.discriminator, True)
        self.encoder = encoder
        self.clock = ImageClock()
        self.lambda_vgg, self.lambda_adv = lambda_vgg, lambda_adv
        self.r1_gamma, self.r1_every = r1_gamma, r1_every
        self.adversarial, self.refresh_fakes = adversarial, refresh_fakes
        self.lr, self.betas = lr, (float(betas[0]), float(betas[1]))
        self.schedule, self.mirror, self.seed = schedule, mirror, seed

    @property
    def nimg(self) -> int:
        """Images seen so far, over all ranks."""
        return self.clock.nimg

    @property
    def trained_networks(self) -> dict[str, nn.Module]:
        """What a finished run leaves in its ``weights`` folder."""
        networks = {"encoder": self.encoder}
        if self.discriminator is not None:
            networks["discriminator"] = self.discriminator
        return networks

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam for E, and for D where there is one."""
        networks = [self.encoder]
        if self.discriminator is not None:
            networks.append(self.discriminator)
        return [
            torch.optim.Adam(network.parameters(), lr=self.lr, betas=self.betas, fused=True)
            for network in networks
        ]

    def train(self, mode: bool = True) -> "DomainGuidedTraining":
        """Training mode for E and D alone: G and F stay in evaluation mode."""
        super().train(mode)
        self.generator.eval()
        if self.perceptual is not None:
            self.perceptual.eval()
        return self

    def reconstruct(self, images: Tensor) -> Tensor:
        """``G(E(x))``, ``[N, 3, R, R]``, with constant noise."""
        return self.generator.synthesis(self.encoder(images), noise="const")

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """One E step and one D step; returns the detached means of every term."""
        optimizers = self.optimizers()
        optimizers = optimizers if isinstance(optimizers, list) else [optimizers]
        factor = self.schedule(self.nimg)
        for optimizer in optimizers:
            set_learning_rate(optimizer.optimizer, base=self.lr, factor=factor)
        world = self.trainer.world_size
        images = to_float(batch["image"]).to(self.dtype)
        if self.mirror:
            images = mirror_at_random(
                images, seed=self.seed, nimg=self.nimg, rank=self.global_rank, world_size=world
            )
        terms, reconstructions = self._encoder_step(images, optimizers[0])
        if self.discriminator is not None:
            terms |= self._discriminator_step(images, reconstructions, optimizers[1])
        self.clock.nimg += len(images) * world
        return terms

    def _encoder_step(self, images: Tensor, optimizer: Any) -> tuple[dict[str, Tensor], Tensor]:
        if self.discriminator is not None:
            set_trainable(self.discriminator, False)
        reconstructions = self.reconstruct(images)
        pixel = pixel_loss(images, reconstructions).mean()
        loss = pixel
        terms = {"loss/pixel": pixel}
        if self.perceptual is not None and self.lambda_vgg > 0:
            with torch.no_grad():
                target = self.perceptual(images)
            perceptual = feature_loss(target, self.perceptual(reconstructions)).mean()
            loss = loss + self.lambda_vgg * perceptual
            terms["loss/perceptual"] = self.lambda_vgg * perceptual
        if self.discriminator is not None:
            with full_precision(images.device):
                logits = self.discriminator(reconstructions.to(self.dtype))
            adversarial = encoder_adversarial(logits, kind=self.adversarial).mean()
            loss = loss + self.lambda_adv * adversarial  # Eq. (2)
            terms["loss/adversarial"] = self.lambda_adv * adversarial
        terms["loss/encoder"] = loss
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        terms = {name: value.detach() for name, value in terms.items()}
        return terms, reconstructions.detach()

    def _discriminator_step(
        self, images: Tensor, reconstructions: Tensor, optimizer: Any
    ) -> dict[str, Tensor]:
        assert self.discriminator is not None
        if self.refresh_fakes:
            with torch.no_grad():
                reconstructions = self.reconstruct(images)
        set_trainable(self.discriminator, True)
        penalised = self._penalty_is_due(len(images))
        with full_precision(images.device):
            real = images.detach().requires_grad_(penalised)
            real_logits = self.discriminator(real)
            fake_logits = self.discriminator(reconstructions.to(self.dtype))
            on_real, on_fake = discriminator_adversarial(
                real_logits, fake_logits, kind=self.adversarial
            )
            loss = on_real.mean() + on_fake.mean()
            terms = {"logit/real": real_logits.mean(), "logit/fake": fake_logits.mean()}
            if penalised:
                penalty = r1(real_logits, real).mean()
                loss = loss + self.r1_gamma / 2 * self.r1_every * penalty  # Eq. (3)
                terms["loss/r1"] = self.r1_gamma / 2 * penalty
        terms["loss/discriminator"] = loss
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        return {name: value.detach() for name, value in terms.items()}

    def _penalty_is_due(self, batch_size: int) -> bool:
        """Lazy R1 by images seen, so that a resumed run penalises where an unbroken one does."""
        if self.r1_gamma == 0:
            return False
        step = self.nimg // (batch_size * self.trainer.world_size)
        return step % self.r1_every == 0

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Mean squared error of the reconstructions, beside that of G at the mean code."""
        images = to_float(batch["image"]).to(self.dtype)
        with torch.no_grad():
            mean_code = self.generator.w_avg.expand(len(images), -1, -1)
            mean_image = self.generator.synthesis(mean_code, noise="const")
            error = pixel_loss(images, self.reconstruct(images).clamp(-1, 1))
            floor = pixel_loss(images, mean_image.clamp(-1, 1))
        kwargs: dict[str, Any] = dict(
            on_epoch=True, on_step=False, sync_dist=True, batch_size=len(images), logger=False
        )
        self.log("val/mse", error.mean(), **kwargs)
        self.log("val/mse_of_mean_image", floor.mean(), **kwargs)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leaves the frozen networks out."""
        drop_frozen(checkpoint["state_dict"], FROZEN)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Puts the frozen networks back in, as they are in this process."""
        restore_frozen(checkpoint["state_dict"], self, FROZEN)
