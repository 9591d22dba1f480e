"""Training of an encoder for editing as e4e does it: close to W, and looking like W."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from idinvert.errors import ConfigError
from idinvert.losses.domain_guided import encoder_loss
from idinvert.losses.terms import delta_loss
from idinvert.networks.encoding import decode
from idinvert.training.encoder_training import EncoderTraining
from idinvert.training.latent_adversary import LatentAdversary
from idinvert.training.schedules import Schedule
from idinvert.training.steps import (
    adam,
    descend,
    scheduled_optimizers,
    total,
    training_images,
)


class E4eTraining(EncoderTraining):
    """E against D_w around a frozen G, its layers let apart one after the other.

    E gives one code w_0 for all layers, and differences d_i of the later ones (``latent=deltas``).
    They are held at zero until ``delta_start`` images; then one more layer is let go every
    ``delta_every`` images. E pays for the pixels, the features, the length of each difference and
    each layer's code that D_w takes for one that M did not make.

    Arguments that are not listed here are those of `EncoderTraining`.

    Args:
        encoder: E, with deltas (`networks.encoder.Encoder`).
        perceptual: F; images to features. ``None`` only with ``lambda_vgg=0``.
        lambda_vgg: Weight of the perceptual term.
        lambda_w: Weight of D_w's term; 0 leaves D_w out of E's loss.
        lambda_delta: Weight of the sum of the differences' lengths.
        delta_start: Images after which the first difference is let go.
        delta_every: Images between two.
        w_input: See `training.latent_adversary.LatentAdversary`, as for the next three.
        pool_size: Earlier codes that D_w may be shown again.
        truncation: psi of M's codes.
        r1_gamma: Gamma of R1 on M's codes.
        r1_every: D_w steps between two penalties; each counts so many times.
        w_lr_ratio: D_w's learning rate, as a share of E's.

    Raises:
        ConfigError: The encoder has no deltas.

    Source:
        Tov et al. 2021 (arXiv 2102.02766) and its code; the row "e4e [43]" of Table 4.

    Differs from the original:
        E is this project's, not a feature pyramid on IR-SE50; Adam instead of Ranger; F is the
        run's ``perceptual`` instead of LPIPS, and there is no identity term (neither network
        belongs to the data sets here); differences start at zero, so that letting one go changes
        nothing at once; the schedule counts images instead of steps; D_w's Adam is corrected for
        lazy penalties.
    """

    def __init__(
        self,
        *,
        generator: Any,
        encoder: Any,
        perceptual: nn.Module | None,
        lambda_vgg: float,
        lambda_w: float,
        lambda_delta: float,
        delta_start: int,
        delta_every: int,
        w_input: str,
        pool_size: int,
        truncation: float,
        r1_gamma: float,
        r1_every: int,
        lr: float,
        w_lr_ratio: float,
        betas: tuple[float, float],
        schedule: Schedule,
        mirror: bool,
        seed: int,
        accumulate: int = 1,
    ) -> None:
        if not getattr(encoder, "deltas", False):
            raise ConfigError(
                "objective=e4e lets the layers of a code apart one by one, and this encoder gives "
                "all of them from the start. Use latent=deltas."
            )
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
        self.latent_adversary = LatentAdversary(
            num_layers=generator.num_layers,
            w_dim=generator.w_dim,
            w_input=w_input,
            pool_size=pool_size,
            truncation=truncation,
            r1_gamma=r1_gamma,
            r1_every=r1_every,
            seed=seed,
        )
        self.lambda_vgg, self.lambda_w, self.lambda_delta = lambda_vgg, lambda_w, lambda_delta
        self.delta_start, self.delta_every = delta_start, delta_every
        self.w_lr_ratio = w_lr_ratio

    @property
    def stage(self) -> int:
        """The last layer that may differ from layer 0 now, 0 to L - 1."""
        if self.nimg < self.delta_start:
            return 0
        let_go = 1 + (self.nimg - self.delta_start) // self.delta_every
        return min(let_go, self.generator.num_layers - 1)

    @property
    def trained_networks(self) -> dict[str, nn.Module]:
        """What a finished run leaves in its ``weights`` folder."""
        return super().trained_networks | {"latent_discriminator": self.latent_adversary.network}

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam for E and for D_w, corrected for lazy penalties."""
        return [
            adam(self.encoder, lr=self.lr, betas=self.betas),
            self.latent_adversary.adam(lr=self.lr * self.w_lr_ratio, betas=self.betas),
        ]

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """One step of E and one of D_w; returns the detached means of every term."""
        of_e, of_w = scheduled_optimizers(self)
        images = training_images(self, batch)
        layers = self.stage + 1
        self.encoder.set_stage(self.stage)
        codes: list[Tensor] = []  # E(x) of each micro-batch
        loss_of = partial(self._encoder_loss, layers=layers, codes=codes)
        terms = descend(
            self, of_e, loss_of, images, parts=self.accumulate, kept=[codes], graph=("E", layers)
        )
        terms |= self.latent_adversary.step(self, torch.cat(codes), layers=layers, optimizer=of_w)
        self.clock.nimg += len(images) * self.trainer.world_size
        return terms

    def _encoder_loss(
        self, images: Tensor, *, layers: int, codes: list[Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        encoding = self.encoder.encode(images)
        w = encoding.codes  # [N, L, w_dim]
        codes.append(w.detach())
        terms = encoder_loss(
            images,
            decode(self.generator, encoding),
            perceptual=self.perceptual,
            lambda_vgg=self.lambda_vgg,
        )
        paid = self.latent_adversary.term(w, layers=layers)
        terms["loss/latent_adversarial"] = self.lambda_w * paid
        # Before w-bar is added, whose layers differ where M gives each its own w.
        deltas = delta_loss((w - self.encoder.w_offset)[:, :layers]).mean()
        terms["loss/delta"] = self.lambda_delta * deltas
        loss = total(terms)
        return loss, terms | {"loss/encoder": loss}
