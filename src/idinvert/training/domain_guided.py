"""Training of the domain-guided encoder (Sec. 3.1, Eq. 2 and 3)."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from idinvert.losses.domain_guided import discriminator_loss, encoder_loss
from idinvert.losses.terms import check_kind
from idinvert.networks.encoding import decode
from idinvert.training.encoder_training import EncoderTraining
from idinvert.training.schedules import Schedule
from idinvert.training.steps import (
    adam,
    descend,
    lazy,
    scheduled_optimizers,
    total,
    training_images,
)


class DomainGuidedTraining(EncoderTraining):
    """E against D around a frozen G: one E step, then one D step, on the same real images.

    Arguments that are not listed here are those of `EncoderTraining`.

    Args:
        discriminator: D, as it came out of the GAN's training; it goes on learning here.
        perceptual: F; images to features. ``None`` only with ``lambda_vgg=0``.
        lambda_vgg: Weight of the perceptual term.
        lambda_adv: Weight of the adversarial term; 0 leaves D out altogether.
        r1_gamma: The gamma of Eq. 3.
        r1_every: D steps between two penalties; each counts ``r1_every`` times.
        adversarial: ``"logistic"`` (the authors' code) or ``"wgan"`` (as printed).
        refresh_fakes: The D step encodes the images anew with the encoder just updated, as the
            authors' two session calls do; otherwise it takes the reconstructions of the E step.

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
        check_kind(adversarial)
        super().__init__(
            generator=generator,
            encoder=encoder,
            perceptual=perceptual,
            lr=lr,
            betas=betas,
            schedule=schedule,
            mirror=mirror,
            seed=seed,
            accumulate=accumulate,
        )
        self.discriminator: nn.Module | None = discriminator if lambda_adv > 0 else None
        if self.discriminator is not None:
            self.discriminator.requires_grad_(True)
        self.lambda_vgg, self.lambda_adv = lambda_vgg, lambda_adv
        self.r1_gamma, self.r1_every = r1_gamma, r1_every
        self.adversarial, self.refresh_fakes = adversarial, refresh_fakes

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

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """One E step and one D step; returns the detached means of every term."""
        terms, _ = self.steps_of_e_and_d(batch, scheduled_optimizers(self))
        self.clock.nimg += len(batch["image"]) * self.trainer.world_size
        return terms

    def steps_of_e_and_d(
        self, batch: dict[str, Tensor], optimizers: list[Any]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """One step down Eq. (2), and one down Eq. (3) where there is a D.

        Args:
            batch: With this rank's ``image``.
            optimizers: Of E and of D, as `configure_optimizers` has them.

        Returns:
            The detached means of every term, and E(x) of before the step, ``[N, L, w_dim]``.
        """
        images = training_images(self, batch)
        fakes: list[Tensor] = []  # G(E(x)) of each micro-batch
        codes: list[Tensor] = []  # and E(x)
        loss_of = partial(self._encoder_loss, fakes=fakes, codes=codes)
        kept = [fakes, codes]
        terms = descend(
            self, optimizers[0], loss_of, images, parts=self.accumulate, kept=kept, graph="E"
        )
        if self.discriminator is not None:
            step = self.nimg // (len(images) * self.trainer.world_size)
            terms |= descend(
                self,
                optimizers[1],
                partial(self._discriminator_loss, step=step),
                images,
                torch.cat(fakes),
                parts=self.accumulate,
                graph=("D", step % self.r1_every == 0),
            )
        return terms, torch.cat(codes)

    def _encoder_loss(
        self, images: Tensor, *, fakes: list[Tensor], codes: list[Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        encoding = self.encoder.encode(images)
        reconstructions = decode(self.generator, encoding)
        fakes.append(reconstructions.detach())
        codes.append(encoding.codes.detach())
        terms = encoder_loss(
            images,
            reconstructions,
            perceptual=self.perceptual,
            lambda_vgg=self.lambda_vgg,
            discriminator=self.discriminator,
            lambda_adv=self.lambda_adv,
            adversarial=self.adversarial,
        )
        terms |= self.code_terms(encoding.codes)
        loss = total(terms)  # Eq. (2)
        return loss, terms | {"loss/encoder": loss}

    def code_terms(self, codes: Tensor) -> dict[str, Tensor]:
        """What a subclass adds to Eq. (2) for the codes E(x), ``[N, L, w_dim]``, weighted."""
        return {}

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
