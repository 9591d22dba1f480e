"""Training of the domain-guided encoder (Sec. 3.1, Eq. 2 and 3)."""

from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from idinvert.annotations import PositiveInt, Weight
from idinvert.losses.domain_guided import discriminator_loss, encoder_loss
from idinvert.losses.terms import check_kind
from idinvert.networks.encoder import decode
from idinvert.training.encoder_training import EncoderTraining
from idinvert.training.latents import labels_of
from idinvert.training.objective import adam, lazy_ratio, total


class DomainGuidedTraining(EncoderTraining):
    """Trains E against D around a frozen G: one E step, then one D step, on the same real images.

    Arguments that are not listed here are those of `EncoderTraining`.

    Args:
        discriminator: D, as trained with the GAN; it is trained further here. A conditional D
            takes the classes of the images.
        lambda_vgg: Weight of the perceptual term; 0 without F.
        lambda_adv: Weight of the adversarial term; 0 removes D.
        r1_gamma: The gamma of Eq. 3.
        r1_every: D steps between two penalties; each is multiplied by ``r1_every``.
        adversarial: ``"logistic"`` (the authors' code) or ``"wgan"`` (as printed).
        refresh_fakes: Whether the D step encodes the images again with the updated E, as the two
            session calls of the authors' code do; otherwise it uses the E step's reconstructions.

    Raises:
        ConfigError: Unknown ``adversarial``.

    Differs from the paper:
        The printed Eq. 2-3 are linear in D. The default here is the non-saturating logistic loss,
        as in the authors' code.
    """

    def __init__(
        self,
        *,
        discriminator: nn.Module | None,
        lambda_vgg: Weight,
        lambda_adv: Weight,
        r1_gamma: Weight,
        r1_every: PositiveInt,
        adversarial: Literal["logistic", "wgan"],
        refresh_fakes: bool,
        **shared: Any,
    ) -> None:
        check_kind(adversarial)
        super().__init__(**shared)
        self.discriminator: nn.Module | None = discriminator if lambda_adv > 0 else None
        if self.discriminator is not None:
            self.discriminator.requires_grad_(True)
        self.lambda_vgg, self.lambda_adv = lambda_vgg, lambda_adv
        self.r1_gamma, self.r1_every = r1_gamma, r1_every
        self.adversarial, self.refresh_fakes = adversarial, refresh_fakes

    @property
    def trained_networks(self) -> dict[str, nn.Module]:
        """Networks that a finished run saves in its ``weights`` folder, by name."""
        d = self.discriminator
        return {"encoder": self.encoder} | ({} if d is None else {"discriminator": d})

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Returns Adam for E, and for D if there is one, corrected for lazy regularisation."""
        optimizers = [adam(self.encoder, lr=self.lr, betas=self.betas)]
        if self.discriminator is not None:
            ratio = lazy_ratio(self.r1_every, gamma=self.r1_gamma)
            of_d = adam(self.discriminator, lr=self.lr, betas=self.betas, ratio=ratio)
            optimizers.append(of_d)
        return optimizers

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Runs a step of E on Eq. (2) and one of D on Eq. (3); returns the detached mean terms."""
        optimizers = self.scheduled_optimizers()
        images, labels = self.training_images(batch), labels_of(batch, self.discriminator)
        step_images = len(images) * self.trainer.world_size
        fakes: list[Tensor] = []  # G(E(x)) of each micro-batch
        codes: list[Tensor] = []  # and E(x)
        terms = self.descend(
            optimizers[0],
            partial(self._encoder_loss, fakes=fakes, codes=codes),
            images,
            labels,
            parts=self.accumulate,
            kept=[fakes, codes],
            graph=("E", self.layers),
        )
        if self.discriminator is not None:
            step = self.nimg // step_images
            terms |= self.descend(
                optimizers[1],
                partial(self._discriminator_loss, step=step),
                images,
                labels,
                torch.cat(fakes),
                parts=self.accumulate,
                graph=("D", step % self.r1_every == 0),
            )
        terms |= self.step_on_codes(torch.cat(codes), optimizers[-1])
        self.clock.nimg += step_images
        return terms

    def _encoder_loss(
        self, images: Tensor, labels: Tensor, *, fakes: list[Tensor], codes: list[Tensor]
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
            labels=labels,
        )
        terms |= self.code_terms(encoding.codes)
        loss = total(terms)  # Eq. (2)
        return loss, terms | {"loss/encoder": loss}

    def _discriminator_loss(
        self, images: Tensor, labels: Tensor, reconstructions: Tensor, *, step: int
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
            labels=labels,
        )  # Eq. (3)

    # Hooks for subclasses (`training.latent_gan`).

    @property
    def layers(self) -> int:
        """Number of layers of a code that E may currently vary; all L of them here."""
        return self.generator.num_layers

    def code_terms(self, codes: Tensor) -> dict[str, Tensor]:
        """Returns weighted terms added to Eq. (2) for the codes E(x), ``[N, L, w_dim]``."""
        return {}

    def step_on_codes(self, codes: Tensor, optimizer: Any) -> dict[str, Tensor]:
        """Steps the last optimiser on the codes E(x) from before E's step; returns its terms."""
        return {}
