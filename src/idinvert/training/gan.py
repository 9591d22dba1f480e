"""Training of the GAN that is later inverted: non-saturating logistic loss and R1."""

import copy
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from idinvert.data.convert import to_float
from idinvert.losses.gradient_penalty import r1
from idinvert.training.clock import ImageClock, random_stream
from idinvert.training.ema import update_ema
from idinvert.training.frozen import freeze, full_precision
from idinvert.training.mirror import mirror_at_random
from idinvert.training.schedules import Schedule, set_learning_rate


class GANTraining(pl.LightningModule):
    """G against D, with style mixing, a tracked mean code and an average of G.

    G and D learn from one shared forward pass: D sees each fake once; the gradient of G's loss
    with respect to the fakes is kept, D learns, then that gradient goes on into G. Both so learn
    against the D of before the step, and a forward pass of G and of D is saved.

    Args:
        generator: G (`networks.generator.Generator`), freshly initialised.
        discriminator: D, freshly initialised.
        r1_gamma: Weight of R1 (``gamma / 2 * |grad|^2``).
        r1_every: Steps between two penalties; each counts ``r1_every`` times.
        style_mixing: Probability that an image takes its later layers from a second code.
        lr: Learning rate of both Adam optimisers.
        betas: Adam's betas.
        schedule: Factor on the learning rate by images seen.
        ema_half_life: Half-life of the average of G, in images.
        ema_rampup: The half-life is at most this share of the images seen.
        w_avg_half_life: Half-life of the mean code, in images.
        mirror: Flip training images left to right with probability one half.
        seed: Seed of codes, noise, mixing and flips.

    Differs from the paper:
        StyleGAN is trained without progressive growing.
    """

    def __init__(
        self,
        *,
        generator: nn.Module,
        discriminator: nn.Module,
        r1_gamma: float,
        r1_every: int,
        style_mixing: float,
        lr: float,
        betas: tuple[float, float],
        schedule: Schedule,
        ema_half_life: float,
        ema_rampup: float | None,
        w_avg_half_life: float,
        mirror: bool,
        seed: int,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator: Any = generator.train().requires_grad_(True)
        self.discriminator = discriminator.train().requires_grad_(True)
        self.average: Any = freeze(copy.deepcopy(generator))
        self.clock = ImageClock()
        self.r1_gamma, self.r1_every = r1_gamma, r1_every
        self.style_mixing = style_mixing
        self.lr, self.betas = lr, (float(betas[0]), float(betas[1]))
        self.schedule = schedule
        self.ema_half_life, self.ema_rampup = ema_half_life, ema_rampup
        self.w_avg_half_life = w_avg_half_life
        self.mirror, self.seed = mirror, seed

    @property
    def nimg(self) -> int:
        """Images seen so far, over all ranks."""
        return self.clock.nimg

    @property
    def trained_networks(self) -> dict[str, nn.Module]:
        """What a finished run leaves in its ``weights`` folder: the averaged G, and D."""
        return {"generator": self.average, "discriminator": self.discriminator}

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam for G and for D, corrected for lazy regularisation as in StyleGAN2."""
        ratio = self.r1_every / (self.r1_every + 1) if self.r1_every > 1 else 1.0
        lazy_betas = (self.betas[0] ** ratio, self.betas[1] ** ratio)
        return [
            torch.optim.Adam(self.generator.parameters(), lr=self.lr, betas=self.betas, fused=True),
            torch.optim.Adam(self.discriminator.parameters(), lr=self.lr * ratio, betas=lazy_betas),
        ]

    def sample_codes(self, count: int, rng: torch.Generator) -> Tensor:
        """Codes ``[count, L, w_dim]`` for training, part of them mixed from two.

        Args:
            count: Number of codes.
            rng: Where z, the mixing coins and the crossover layers come from.
        """
        num_layers = self.generator.num_layers
        z = torch.randn(2 * count, self.generator.z_dim, generator=rng, device=rng.device)
        w, other = self.generator.mapping(z).split(count)  # each [N, L, w_dim]
        self._track_mean_code(w.detach())
        mixed = torch.rand(count, generator=rng, device=rng.device) < self.style_mixing
        cutoff = torch.randint(1, num_layers, (count,), generator=rng, device=rng.device)
        cutoff = torch.where(mixed, cutoff, num_layers)
        layer = torch.arange(num_layers, device=rng.device)
        return torch.where((layer < cutoff[:, None])[..., None], w, other)

    @torch.no_grad()
    def _track_mean_code(self, w: Tensor) -> None:
        decay = 0.5 ** (len(w) * self.trainer.world_size / self.w_avg_half_life)
        mean = w.to(self.generator.w_avg.dtype).mean(dim=0)  # [L, w_dim]
        if self.trainer.world_size > 1:
            gathered: Any = self.all_gather(mean)  # [ranks, L, w_dim]
            mean = gathered.mean(dim=0)
        self.generator.w_avg.lerp_(mean, 1.0 - decay)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """One step of D and of G; returns the detached means of every term."""
        optimizers: Any = self.optimizers()
        optimizer_g, optimizer_d = optimizers
        factor = self.schedule(self.nimg)
        for optimizer in (optimizer_g, optimizer_d):
            base = optimizer.optimizer.defaults["lr"]
            set_learning_rate(optimizer.optimizer, base=base, factor=factor)
        world = self.trainer.world_size
        real = to_float(batch["image"]).to(self.dtype)
        if self.mirror:
            real = mirror_at_random(
                real, seed=self.seed, nimg=self.nimg, rank=self.global_rank, world_size=world
            )
        rng = random_stream(
            purpose="gan", seed=self.seed, nimg=self.nimg, rank=self.global_rank, device=real.device
        )
        fakes = self.generator.synthesis(self.sample_codes(len(real), rng), noise="random", rng=rng)
        terms, gradient = self._discriminator_step(real, fakes, optimizer_d)
        optimizer_g.zero_grad()
        self.manual_backward(fakes, gradient=gradient.to(fakes.dtype))
        optimizer_g.step()
        batch_size = len(real) * world
        update_ema(
            self.average,
            self.generator,
            batch_size=batch_size,
            nimg=self.nimg,
            half_life_nimg=self.ema_half_life,
            rampup=self.ema_rampup,
        )
        self.clock.nimg += batch_size
        return terms

    def _discriminator_step(
        self, real: Tensor, fakes: Tensor, optimizer: Any
    ) -> tuple[dict[str, Tensor], Tensor]:
        step = self.nimg // (len(real) * self.trainer.world_size)
        penalised = self.r1_gamma > 0 and step % self.r1_every == 0
        with full_precision(real.device):
            shown = fakes.detach().to(self.dtype).requires_grad_(True)
            fake_logits = self.discriminator(shown)
            loss_g = softplus(-fake_logits).mean()
            (gradient,) = torch.autograd.grad(loss_g, shown, retain_graph=True)
            real = real.detach().requires_grad_(penalised)
            real_logits = self.discriminator(real)
            loss_d = softplus(fake_logits).mean() + softplus(-real_logits).mean()
            terms = {
                "loss/generator": loss_g,
                "loss/discriminator": loss_d,
                "logit/real": real_logits.mean(),
                "logit/fake": fake_logits.mean(),
            }
            if penalised:
                penalty = r1(real_logits, real).mean()
                loss_d = loss_d + self.r1_gamma / 2 * self.r1_every * penalty
                terms["loss/r1"] = self.r1_gamma / 2 * penalty
        optimizer.zero_grad()
        self.manual_backward(loss_d)
        optimizer.step()
        return {name: value.detach() for name, value in terms.items()}, gradient
