"""Training of the GAN that is later inverted: non-saturating logistic loss and R1."""

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from idinvert.annotations import Betas, Count, PositiveFloat, PositiveInt, Share, Weight
from idinvert.errors import ConfigError
from idinvert.losses.terms import path_length_penalty, path_lengths, r1
from idinvert.networks.mapping import with_labels
from idinvert.training.augment import AdaptiveAugment
from idinvert.training.augment_maps import Augmentations
from idinvert.training.averages import PathLength, update_ema
from idinvert.training.clock import random_stream
from idinvert.training.latents import Latents, draw_latents, labels_of, mixed_codes
from idinvert.training.objective import Objective, adam, add_means, lazy_ratio, micro_batches
from idinvert.training.schedules import Schedule


class GANTraining(Objective):
    """Trains G against D, with style mixing, a running mean code and a running average of G.

    G and D are updated from one shared forward pass, in which D sees each fake once. The gradient
    of G's loss with respect to the fakes is kept, D's gradient is computed, then the kept gradient
    is propagated into G. Both thus use D's weights from before the step, which saves a forward pass
    of G and of D. Conditional networks take classes: each fake has the class of a real image.

    Args:
        generator: G (`networks.generator.Generator`), new or already trained.
        discriminator: D, likewise; conditional if G is.
        r1_gamma: Weight of R1 (``gamma / 2 * |grad|^2``). The gradient is that of D behind the
            augmentation, with respect to the images before it.
        r1_every: Steps between two penalties; each is multiplied by ``r1_every``.
        style_mixing: Probability that an image takes its later layers from a second code.
        lr: Learning rate of both Adam optimisers.
        betas: Adam's betas.
        schedule: Factor on the learning rate by images seen.
        ema_half_life: Half-life of the average of G, in images.
        ema_rampup: Upper bound of that half-life as a fraction of the images seen.
        w_avg_half_life: Half-life of the mean code, in images.
        mirror: Flip training images left to right with probability one half.
        seed: Seed of codes, noise, mixing, flips and augmentations.
        augment: Augmentation of all images that D sees; None for no augmentation.
        path_length_every: Steps between two penalties on path lengths; 0 for none.
        path_length_weight: Weight of that penalty.
        path_length_decay: See `PathLength`.
        path_length_shrink: See `PathLength`.
        accumulate: Micro-batches per step, to save memory; D's minibatch deviation sees one at a
            time.

    Raises:
        ConfigError: A number is out of range.

    Differs from the paper:
        StyleGAN is trained without progressive growing. Path lengths are compared with their
        running mean from before the step, so that the result does not depend on micro-batches.
    """

    def __init__(
        self,
        *,
        generator: nn.Module,
        discriminator: nn.Module,
        r1_gamma: Weight,
        r1_every: PositiveInt,
        style_mixing: Share,
        lr: PositiveFloat,
        betas: Betas,
        schedule: Schedule,
        ema_half_life: PositiveFloat,
        ema_rampup: Weight | None,
        w_avg_half_life: PositiveFloat,
        mirror: bool,
        seed: int,
        augment: AdaptiveAugment | None = None,
        path_length_every: Count = 0,
        path_length_weight: Weight = 2.0,
        path_length_decay: Share = 0.01,
        path_length_shrink: PositiveInt = 2,
        accumulate: int = 1,
    ) -> None:
        super().__init__(
            lr=lr, betas=betas, schedule=schedule, mirror=mirror, seed=seed, accumulate=accumulate
        )
        self.generator: Any = generator.train().requires_grad_(True)
        self.discriminator = discriminator.train().requires_grad_(True)
        self.average: Any = copy.deepcopy(generator).eval().requires_grad_(False)
        self.r1_gamma, self.r1_every = r1_gamma, r1_every
        self.style_mixing = style_mixing
        self.ema_half_life, self.ema_rampup = ema_half_life, ema_rampup
        self.w_avg_half_life = w_avg_half_life
        self.augment = augment
        self.path_length: PathLength | None = None
        if path_length_every != 0:
            self.path_length = PathLength(
                every=path_length_every,
                weight=path_length_weight,
                decay=path_length_decay,
                shrink=path_length_shrink,
            )

    @property
    def trained_networks(self) -> dict[str, nn.Module]:
        """The averaged G and D, which a finished run saves in its ``weights`` folder, by name."""
        return {"generator": self.average, "discriminator": self.discriminator}

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Returns Adam for G and for D, corrected for lazy regularisation as in StyleGAN2."""
        paths = self.path_length  # its penalties are separate optimiser steps
        of_g = 1.0 if paths is None else paths.every / (paths.every + 1)
        return [
            adam(self.generator, lr=self.lr, betas=self.betas, ratio=of_g),
            adam(self.discriminator, lr=self.lr, betas=self.betas, ratio=lazy_ratio(self.r1_every)),
        ]

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Runs one step of D and of G; returns the detached mean of every term."""
        optimizers = self.scheduled_optimizers()
        real = self.training_images(batch)
        step_images = len(real) * self.trainer.world_size
        step = self.nimg // step_images
        labels = labels_of(batch, self.generator)
        terms = self._adversarial_step(real, labels, optimizers, step=step)
        if self.path_length is not None and step % self.path_length.every == 0:
            terms |= self._path_length_step(self.path_length, labels, optimizers[0])
        if self.augment is not None:
            terms["augment/p"] = torch.tensor(self.augment.p, device=real.device)
            self.augment.follow(self._of_all_ranks(terms["augment/sign"]), step_images=step_images)
        update_ema(
            self.average,
            self.generator,
            batch_size=step_images,
            nimg=self.nimg,
            half_life_nimg=self.ema_half_life,
            rampup=self.ema_rampup,
        )
        self.clock.nimg += step_images
        return terms

    def _adversarial_step(
        self, real: Tensor, labels: Tensor, optimizers: list[Any], *, step: int
    ) -> dict[str, Tensor]:
        check_groups(self.discriminator, len(real) // self.accumulate, accumulate=self.accumulate)
        rng = self._stream("gan", device=real.device)
        latents = draw_latents(self.generator, labels, style_mixing=self.style_mixing, rng=rng)
        penalised = self.r1_gamma > 0 and step % self.r1_every == 0
        optimizer_g, optimizer_d = optimizers
        optimizer_d.zero_grad()
        optimizer_g.zero_grad()
        work = partial(self._gradients, penalised=penalised)
        if self.augment is None:
            means, mean_code = self.graphs(
                ("G and D", penalised),
                work,
                real,
                *latents.tensors,
                parameters=[*self.generator.parameters(), *self.discriminator.parameters()],
            )
            means = {name: value.clone() for name, value in means.items()}  # replays overwrite them
        else:  # augmentations differ from step to step, which a CUDA graph cannot hold
            means, mean_code = work(real, *latents.tensors)
        optimizer_d.step()
        optimizer_g.step()
        self._track_mean_code(mean_code, images=len(real))
        return means

    def _gradients(
        self, real: Tensor, *latents: Tensor, penalised: bool
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Accumulates the gradients of both networks; returns terms and mean code [L, w_dim]."""
        reals = micro_batches(real, self.accumulate)
        count, size = len(reals), len(reals[0])
        parts = Latents.of(*latents).split(size)
        means: dict[str, Tensor] = {}
        mean_codes = []
        for index, augmentations in enumerate(self._augmentations(len(real), size)):
            last = index == count - 1
            codes, first = mixed_codes(self.generator, parts[index])
            mean_codes.append(first.detach().to(self.generator.w_avg.dtype).mean(dim=0))
            fakes = self.generator.synthesis(codes, noise=parts[index].noise)
            terms, gradient = self._discriminator_step(
                reals[index],
                fakes,
                parts[index].labels,
                augmentations,
                penalised=penalised,
                last=last,
            )
            with self.gradient_sync(last=last):
                self.manual_backward(fakes, gradient=gradient.to(fakes.dtype) / count)
            add_means(means, terms, parts=count)
            del codes, first, fakes, terms  # frees the graph
        return means, torch.stack(mean_codes).mean(dim=0)

    def _discriminator_step(
        self,
        real: Tensor,
        fakes: Tensor,
        labels: Tensor,
        augmentations: tuple[Augmentations, Augmentations] | None,
        *,
        penalised: bool,
        last: bool,
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Accumulates D's gradients; returns its terms, and G's gradient w.r.t. the fakes."""
        with torch.autocast(real.device.type, enabled=False):  # R1 needs float32
            shown = fakes.detach().to(self.dtype).requires_grad_(True)
            seen = self._augmented(shown, augmentations, which=0)
            fake_logits = with_labels(self.discriminator, seen, labels)
            loss_g = softplus(-fake_logits).mean()
            (gradient,) = torch.autograd.grad(loss_g, shown, retain_graph=True)
            real = real.detach().requires_grad_(penalised)
            seen = self._augmented(real, augmentations, which=1)
            real_logits = with_labels(self.discriminator, seen, labels)
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
            if self.augment is not None:
                terms["augment/sign"] = real_logits.sign().mean()
        with self.gradient_sync(last=last):
            self.manual_backward(loss_d / self.accumulate)
        return terms, gradient

    def _path_length_step(
        self, settings: PathLength, labels: Tensor, optimizer: Any
    ) -> dict[str, Tensor]:
        labels = labels[: max(1, len(labels) // settings.shrink)]
        count, rng = len(labels), self._stream("path length", device=self.device)
        latents = draw_latents(self.generator, labels, style_mixing=self.style_mixing, rng=rng)
        side, dtype = self.generator.resolution, latents.noise[0].dtype
        y = torch.randn(count, 3, side, side, generator=rng, device=rng.device, dtype=dtype)
        optimizer.zero_grad()
        length, penalty = self.graphs(
            "path length",
            partial(self._path_length_gradients, settings),
            torch.tensor(settings.mean, device=self.device),
            y.to(self.device),
            *latents.tensors,
            parameters=list(self.generator.parameters()),
        )
        optimizer.step()
        settings.follow(float(self._of_all_ranks(length)))
        return {"loss/path_length": penalty.clone(), "path_length": length.clone()}

    def _path_length_gradients(
        self, settings: PathLength, mean: Tensor, y: Tensor, *latents: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Accumulates G's gradients; returns the mean length and the weighted penalty."""
        count = len(y)
        size = -(-count // self.accumulate)  # rounded up
        parts = list(zip(Latents.of(*latents).split(size), y.split(size), strict=True))
        length = penalty = torch.zeros((), device=self.device)
        for index, (part, directions) in enumerate(parts):
            with torch.autocast(self.device.type, enabled=False):
                codes, _ = mixed_codes(self.generator, part)
                shown = self.generator.synthesis(codes, noise=part.noise)
                lengths = path_lengths(shown, codes, directions)
                paid = path_length_penalty(lengths, mean).sum() / count
            with self.gradient_sync(last=index == len(parts) - 1):
                self.manual_backward(settings.every * settings.weight * paid)
            length = length + lengths.detach().sum() / count
            penalty = penalty + paid.detach()
        return length, settings.weight * penalty

    def _augmentations(
        self, images: int, size: int
    ) -> list[tuple[Augmentations, Augmentations] | None]:
        """Returns the augmentations of fakes and of reals for each micro-batch."""
        if self.augment is None:
            return [None] * (images // size)
        rng = self._stream("augment", device="cpu")
        of_fakes, of_reals = (self.augment.draw(images, rng=rng).split(size) for _ in range(2))
        return list(zip(of_fakes, of_reals, strict=True))

    def _augmented(
        self, images: Tensor, augmentations: tuple[Augmentations, Augmentations] | None, which: int
    ) -> Tensor:
        if self.augment is None or augmentations is None:
            return images
        return self.augment(images, augmentations[which])

    def _stream(self, purpose: str, *, device: torch.device | str) -> torch.Generator:
        rank = self.global_rank
        return random_stream(
            purpose=purpose, seed=self.seed, nimg=self.nimg, rank=rank, device=device
        )

    def _of_all_ranks(self, value: Tensor) -> Tensor:
        """Returns the mean of a value over all ranks."""
        if self.trainer.world_size == 1:
            return value
        gathered: Any = self.all_gather(value)  # [ranks, ...]
        return gathered.mean(dim=0)

    @torch.no_grad()
    def _track_mean_code(self, mean: Tensor, *, images: int) -> None:
        decay = 0.5 ** (images * self.trainer.world_size / self.w_avg_half_life)
        self.generator.w_avg.lerp_(self._of_all_ranks(mean), 1.0 - decay)


def check_groups(discriminator: Any, images: int, *, accumulate: int) -> None:
    """Refuses micro-batches that split the groups of D's minibatch deviation.

    Args:
        discriminator: D.
        images: Number of images in a micro-batch.
        accumulate: Micro-batches per step.

    Raises:
        ConfigError: The group size does not divide the micro-batch.
    """
    if accumulate == 1 or not getattr(discriminator, "mbstd_channels", 0):
        return
    group = discriminator.mbstd_group
    if group is None or images % group:
        whole = "whole batches" if group is None else f"groups of {group}"
        raise ConfigError(
            f"got accumulate={accumulate}, which leaves {images} images to a micro-batch, but D "
            f"compares {whole} (minibatch deviation), expected a multiple; change accumulate, "
            "batch_size or +discriminator.network.mbstd_group."
        )
