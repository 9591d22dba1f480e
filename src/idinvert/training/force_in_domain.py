"""Training of the force-in-domain encoder: domain-guided, and against D_w in the space of codes."""

from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from idinvert.acceleration import StepGraphs
from idinvert.errors import ConfigError
from idinvert.losses.domain_guided import discriminator_loss, encoder_loss
from idinvert.losses.terms import check_kind
from idinvert.networks.encoding import decode
from idinvert.training.clock import ImageClock
from idinvert.training.frozen import drop_frozen, freeze, restore_frozen
from idinvert.training.latent_adversary import LatentAdversary, latent_step
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


class ForceInDomainTraining(pl.LightningModule):
    """E against two discriminators around a frozen G: D of images and D_w of codes.

    What `training.domain_guided.DomainGuidedTraining` does, and beside it D_w, which tells E(x)
    from M(z), z from N(0, I), and which E learns to deceive: its codes are forced into the
    distribution that G was trained on.

    Args:
        generator: The frozen G (`networks.generator.Generator`).
        discriminator: D, as it came out of the GAN's training.
        encoder: E; images to codes ``[N, L, w_dim]``.
        perceptual: F; images to features. ``None`` only with ``lambda_vgg=0``.
        lambda_vgg: Weight of the perceptual term.
        lambda_adv: Weight of D's term.
        lambda_w: Weight of D_w's term.
        r1_gamma: The gamma of Eq. 3, for both discriminators.
        r1_every: Steps of D between two penalties.
        w_r1_every: Steps of D_w between two penalties.
        adversarial: ``"logistic"`` or ``"wgan"``, of D; D_w's is logistic.
        w_input: See `training.latent_adversary.LatentAdversary`, as for the next two.
        pool_size: Earlier codes that D_w may be shown again.
        truncation: psi of M's codes.
        lr: Learning rate of E and D.
        w_lr_ratio: D_w's, as a share of it.
        betas: Adam's betas, for all.
        schedule: Factor on the learning rates by images seen.
        mirror: Flip training images left to right with probability one half.
        seed: Seed of the flips, and of what D_w is shown.
        accumulate: Micro-batches of one step, for less memory; BatchNorm and D's minibatch
            deviation see one at a time.

    Raises:
        ConfigError: Unknown ``adversarial`` or ``w_input``, or no D.

    Source:
        Leng, Zhu, Xu 2021 (arXiv 2107.06050), known here from its abstract and a description.

    Differs from the original:
        Its weights, the layers of D_w and how D_w sees codes of several layers are not published
        where we could read them. D_w, its weight and its learning rate are e4e's.
    """

    def __init__(
        self,
        *,
        generator: Any,
        discriminator: nn.Module | None,
        encoder: nn.Module,
        perceptual: nn.Module | None,
        lambda_vgg: float,
        lambda_adv: float,
        lambda_w: float,
        r1_gamma: float,
        r1_every: int,
        w_r1_every: int,
        adversarial: str,
        w_input: str,
        pool_size: int,
        truncation: float,
        lr: float,
        w_lr_ratio: float,
        betas: tuple[float, float],
        schedule: Schedule,
        mirror: bool,
        seed: int,
        accumulate: int = 1,
    ) -> None:
        super().__init__()
        check_kind(adversarial)
        if discriminator is None:
            raise ConfigError(
                f"objective=force_in_domain stands on two discriminators, and lambda_adv is "
                f"{lambda_adv}; set objective.lambda_adv above 0, or use objective=e4e."
            )
        self.automatic_optimization = False
        self.generator: Any = freeze(generator)
        self.perceptual: nn.Module | None = None if perceptual is None else freeze(perceptual)
        self.discriminator = discriminator
        discriminator.requires_grad_(True)
        self.encoder: Any = encoder
        self.latent_adversary = LatentAdversary(
            num_layers=generator.num_layers,
            w_dim=generator.w_dim,
            w_input=w_input,
            pool_size=pool_size,
            truncation=truncation,
            r1_gamma=r1_gamma,
            r1_every=w_r1_every,
            seed=seed,
        )
        self.clock = ImageClock()
        self.lambda_vgg, self.lambda_adv, self.lambda_w = lambda_vgg, lambda_adv, lambda_w
        self.r1_gamma, self.r1_every = r1_gamma, r1_every
        self.adversarial = adversarial
        self.lr, self.w_lr_ratio = lr, w_lr_ratio
        self.betas = (float(betas[0]), float(betas[1]))
        self.schedule, self.mirror, self.seed = schedule, mirror, seed
        self.accumulate, self.graphs = accumulate, StepGraphs()

    @property
    def nimg(self) -> int:
        """Images seen so far, over all ranks."""
        return self.clock.nimg

    @property
    def trained_networks(self) -> dict[str, nn.Module]:
        """What a finished run leaves in its ``weights`` folder."""
        return {
            "encoder": self.encoder,
            "discriminator": self.discriminator,
            "latent_discriminator": self.latent_adversary.network,
        }

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam for E, for D and for D_w, corrected for lazy penalties."""
        every = lazy(r1_gamma=self.r1_gamma, r1_every=self.r1_every)
        return [
            adam(self.encoder, lr=self.lr, betas=self.betas),
            adam(self.discriminator, lr=self.lr, betas=self.betas, penalised_every=every),
            self.latent_adversary.adam(lr=self.lr * self.w_lr_ratio, betas=self.betas),
        ]

    def train(self, mode: bool = True) -> "ForceInDomainTraining":
        """Training mode for E, D and D_w alone: G and F stay in evaluation mode."""
        super().train(mode)
        self.generator.eval()
        if self.perceptual is not None:
            self.perceptual.eval()
        return self

    def reconstruct(self, images: Tensor) -> Tensor:
        """``G(E(x))``, ``[N, 3, R, R]``, with constant noise or E's own."""
        return reconstruct(self, images)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """One step of E, of D and of D_w; returns the detached means of every term."""
        of_e, of_d, of_w = scheduled_optimizers(self)
        images = training_images(self, batch)
        step_images = len(images) * self.trainer.world_size
        fakes: list[Tensor] = []  # G(E(x)) of each micro-batch
        codes: list[Tensor] = []  # and E(x)
        loss_of = partial(self._encoder_loss, fakes=fakes, codes=codes)
        terms = descend(
            self, of_e, loss_of, images, parts=self.accumulate, kept=[fakes, codes], graph="E"
        )
        step = self.nimg // step_images
        loss_of = partial(self._discriminator_loss, step=step)
        graph = ("D", step % self.r1_every == 0)
        terms |= descend(
            self, of_d, loss_of, images, torch.cat(fakes), parts=self.accumulate, graph=graph
        )
        terms |= latent_step(
            self, torch.cat(codes), layers=self.generator.num_layers, optimizer=of_w
        )
        self.clock.nimg += step_images
        return terms

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
        paid = self.latent_adversary.term(encoding.codes, layers=self.generator.num_layers)
        terms["loss/latent_adversarial"] = self.lambda_w * paid
        loss = total(terms)  # Eq. (2), and D_w's term
        return loss, terms | {"loss/encoder": loss}

    def _discriminator_loss(
        self, images: Tensor, reconstructions: Tensor, *, step: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
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
