"""Training of the domain-guided encoder (Sec. 3.1, Eq. 2 and 3)."""

from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from idinvert.acceleration import StepGraphs
from idinvert.losses.domain_guided import discriminator_loss, encoder_loss
from idinvert.losses.terms import check_kind
from idinvert.training.clock import ImageClock
from idinvert.training.frozen import drop_frozen, freeze, restore_frozen
from idinvert.training.schedules import Schedule
from idinvert.training.steps import (
    adam,
    descend,
    lazy,
    log_reconstruction_error,
    reconstruct,
    scheduled_optimizers,
    total,
    training_images,
)

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
        accumulate: Micro-batches of one step, for less memory; BatchNorm and D's minibatch
            deviation see one at a time.

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
        accumulate: int = 1,
    ) -> None:
        super().__init__()
        check_kind(adversarial)
        self.automatic_optimization = False
        self.generator: Any = freeze(generator)
        self.perceptual: nn.Module | None = None if perceptual is None else freeze(perceptual)
        self.discriminator: nn.Module | None = discriminator if lambda_adv > 0 else None
        if self.discriminator is not None:
            self.discriminator.requires_grad_(True)
        self.encoder = encoder
        self.clock = ImageClock()
        self.lambda_vgg, self.lambda_adv = lambda_vgg, lambda_adv
        self.r1_gamma, self.r1_every = r1_gamma, r1_every
        self.adversarial, self.refresh_fakes = adversarial, refresh_fakes
        self.lr, self.betas = lr, (float(betas[0]), float(betas[1]))
        self.schedule, self.mirror, self.seed = schedule, mirror, seed
        self.accumulate, self.graphs = accumulate, StepGraphs()

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
        """Adam for E, and for D where there is one, corrected for lazy penalties."""
        optimizers = [adam(self.encoder, lr=self.lr, betas=self.betas)]
        if self.discriminator is not None:
            every = lazy(r1_gamma=self.r1_gamma, r1_every=self.r1_every)
            of_d = adam(self.discriminator, lr=self.lr, betas=self.betas, penalised_every=every)
            optimizers.append(of_d)
        return optimizers

    def train(self, mode: bool = True) -> "DomainGuidedTraining":
        """Training mode for E and D alone: G and F stay in evaluation mode."""
        super().train(mode)
        self.generator.eval()
        if self.perceptual is not None:
            self.perceptual.eval()
        return self

    def reconstruct(self, images: Tensor) -> Tensor:
        """``G(E(x))``, ``[N, 3, R, R]``, with constant noise or E's own."""
        return reconstruct(self, images)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """One E step and one D step; returns the detached means of every term."""
        optimizers = scheduled_optimizers(self)
        images = training_images(self, batch)
        step_images = len(images) * self.trainer.world_size
        fakes: list[Tensor] = []  # G(E(x)) of each micro-batch
        loss_of = partial(self._encoder_loss, fakes=fakes)
        terms = descend(
            self, optimizers[0], loss_of, images, parts=self.accumulate, kept=[fakes], graph="E"
        )
        if self.discriminator is not None:
            step = self.nimg // step_images
            loss_of = partial(self._discriminator_loss, step=step)
            graph = ("D", step % self.r1_every == 0)
            terms |= descend(
                self,
                optimizers[1],
                loss_of,
                images,
                torch.cat(fakes),
                parts=self.accumulate,
                graph=graph,
            )
        self.clock.nimg += step_images
        return terms

    def _encoder_loss(
        self, images: Tensor, *, fakes: list[Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        reconstructions = self.reconstruct(images)
        fakes.append(reconstructions.detach())
        terms = encoder_loss(
            images,
            reconstructions,
            perceptual=self.perceptual,
            lambda_vgg=self.lambda_vgg,
            discriminator=self.discriminator,
            lambda_adv=self.lambda_adv,
            adversarial=self.adversarial,
        )
        loss = total(terms)  # Eq. (2)
        return loss, terms | {"loss/encoder": loss}

    def _discriminator_loss(
        self, images: Tensor, reconstructions: Tensor, *, step: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        assert self.discriminator is not None
        if self.refresh_fakes:
            with torch.no_grad():
                reconstructions = self.reconstruct(images)
        return discriminator_loss(
            self.discriminator,
            images,
            reconstructions,
            kind=self.adversarial,
            r1_gamma=self.r1_gamma,
            r1_every=self.r1_every,
            step=step,
        )  # Eq. (3)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Mean squared error of the reconstructions, beside that of G at the mean code."""
        log_reconstruction_error(self, batch)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leaves the frozen networks out."""
        drop_frozen(checkpoint["state_dict"], FROZEN)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Puts the frozen networks back in, as they are in this process."""
        restore_frozen(checkpoint["state_dict"], self, FROZEN)
