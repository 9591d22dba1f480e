"""Training of the force-in-domain encoder: domain-guided, and against D_w in the space of codes."""

from typing import Any

import torch
from torch import Tensor, nn

from idinvert.errors import ConfigError
from idinvert.training.domain_guided import DomainGuidedTraining
from idinvert.training.latent_adversary import LatentAdversary
from idinvert.training.schedules import Schedule
from idinvert.training.steps import scheduled_optimizers


class ForceInDomainTraining(DomainGuidedTraining):
    """E against two discriminators around a frozen G: D of images and D_w of codes.

    What `training.domain_guided.DomainGuidedTraining` does, and beside it D_w, which tells E(x)
    from M(z), z from N(0, I), and which E learns to deceive: its codes are forced into the
    distribution that G was trained on.

    Arguments that are not listed here are those of `DomainGuidedTraining`.

    Args:
        discriminator: D, as it came out of the GAN's training.
        lambda_adv: Weight of D's term.
        lambda_w: Weight of D_w's term.
        r1_gamma: The gamma of Eq. 3, for both discriminators.
        r1_every: Steps of D between two penalties.
        w_r1_every: Steps of D_w between two penalties.
        adversarial: ``"logistic"`` or ``"wgan"``, of D; D_w's is logistic.
        w_input: See `training.latent_adversary.LatentAdversary`, as for the next two.
        pool_size: Earlier codes that D_w may be shown again.
        truncation: psi of M's codes.
        w_lr_ratio: D_w's learning rate, as a share of that of E and D.

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
        if discriminator is None:
            raise ConfigError(
                f"objective=force_in_domain needs two discriminators, and lambda_adv is "
                f"{lambda_adv}; set objective.lambda_adv above 0, or use objective=e4e."
            )
        super().__init__(
            generator=generator,
            discriminator=discriminator,
            encoder=encoder,
            perceptual=perceptual,
            lambda_vgg=lambda_vgg,
            lambda_adv=lambda_adv,
            r1_gamma=r1_gamma,
            r1_every=r1_every,
            adversarial=adversarial,
            refresh_fakes=False,
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
            r1_every=w_r1_every,
            seed=seed,
        )
        self.lambda_w, self.w_lr_ratio = lambda_w, w_lr_ratio

    @property
    def trained_networks(self) -> dict[str, nn.Module]:
        """What a finished run leaves in its ``weights`` folder."""
        return super().trained_networks | {"latent_discriminator": self.latent_adversary.network}

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam for E, for D and for D_w, corrected for lazy penalties."""
        of_w = self.latent_adversary.adam(lr=self.lr * self.w_lr_ratio, betas=self.betas)
        return [*super().configure_optimizers(), of_w]

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """One step of E, of D and of D_w; returns the detached means of every term."""
        *of_e_and_d, of_w = scheduled_optimizers(self)
        terms, codes = self.steps_of_e_and_d(batch, of_e_and_d)
        layers = self.generator.num_layers
        terms |= self.latent_adversary.step(self, codes, layers=layers, optimizer=of_w)
        self.clock.nimg += len(codes) * self.trainer.world_size
        return terms

    def code_terms(self, codes: Tensor) -> dict[str, Tensor]:
        """D_w's term beside those of Eq. (2)."""
        paid = self.latent_adversary.term(codes, layers=self.generator.num_layers)
        return {"loss/latent_adversarial": self.lambda_w * paid}
