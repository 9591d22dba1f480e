"""Training of the conventional encoder (Sec. 3.1, Eq. 1)."""

from typing import Any

import torch
from torch import Tensor

from idinvert.errors import ConfigError
from idinvert.inversion.initialization import image_rng, mapped
from idinvert.losses.terms import code_loss
from idinvert.training.clock import random_stream
from idinvert.training.encoder_training import EncoderTraining
from idinvert.training.latents import draw_labels
from idinvert.training.objective import adam


class ConventionalTraining(EncoderTraining, without={"perceptual", "mirror"}):
    """E learns to reproduce the codes of synthetic images; it is never trained on a real one.

    Each step samples as many z as the batch has images, computes their codes w = M(z) and images
    G(w), and trains E(G(w)) to match w. No gradient flows through G. Real images determine only
    the batch size, and are used for validation, which is the same as for the other objectives.

    The arguments are those of `EncoderTraining`. ``seed`` seeds z, and the classes of a
    conditional G, which are drawn uniformly.

    Raises:
        ConfigError: The encoder predicts noise maps, which Eq. (1) does not cover.

    Source:
        Eq. (1), Fig. 1(a) top; Table 1's row "Conventional Encoder [9]".

    Differs from the paper:
        Eq. (1) is written for z. As elsewhere in the paper, z denotes the code that G takes; here
        this is M(z) for all layers. The squared error, its mean over elements and the optimiser
        are those of the other objectives: neither paper nor authors' code specifies them for this
        row. The text describes reference [9] by this procedure and does not print its title.
    """

    judged_by = None
    """None: reconstructions of real images may be worse than G at the mean code, as in Table 1."""

    def __init__(self, **shared: Any) -> None:
        if getattr(shared["encoder"], "noise_head", None) is not None:
            raise ConfigError(
                "objective=conventional compares codes, and this encoder gives noise maps as well: "
                "nothing would train them. Use encoder=base, or another objective."
            )
        super().__init__(**shared)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Returns Adam for E."""
        return [adam(self.encoder, lr=self.lr, betas=self.betas)]

    @torch.no_grad()
    def sample_codes(self, count: int) -> Tensor:
        """Samples codes w = M(z), ``[count, L, w_dim]``, for a training step.

        Args:
            count: Number of codes of this rank; z is drawn for all ranks, and each takes its slice.
        """
        rng = random_stream(purpose="synthetic images", seed=self.seed, nimg=self.nimg)
        shape = (count * self.trainer.world_size, self.generator.z_dim)
        z = torch.randn(shape, generator=rng, dtype=torch.float32)  # whatever the precision
        labels = draw_labels(self.generator, len(z), rng=rng)
        mine = slice(self.global_rank * count, (self.global_rank + 1) * count)
        return mapped(self.generator, z[mine].to(self.generator.w_avg), labels[mine])

    @torch.no_grad()
    def codes_by_id(self, ids: Tensor) -> Tensor:
        """Returns one code w = M(z) per image id, ``[N, L, w_dim]``; the same on every rank."""
        draws = [image_rng(self.seed, int(i), purpose="synthetic image") for i in ids]
        z = torch.stack([torch.randn(self.generator.z_dim, generator=rng) for rng in draws])
        labels = torch.cat([draw_labels(self.generator, 1, rng=rng) for rng in draws])
        return mapped(self.generator, z.to(self.generator.w_avg), labels)

    def synthetic_images(self, ids: Tensor) -> Tensor:
        """Returns the images of `codes_by_id`, ``[N, 3, R, R]``, such as E is trained on."""
        return self.show(self.codes_by_id(ids))

    @torch.no_grad()
    def show(self, codes: Tensor) -> Tensor:
        """Returns the images G(w) of codes, ``[N, 3, R, R]``, with constant noise."""
        return self.generator.synthesis(codes, noise="const")

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Runs one step of E and returns the detached loss."""
        (optimizer,) = self.scheduled_optimizers()
        count = len(batch["image"])
        codes = self.sample_codes(count)
        terms = self.descend(optimizer, self._loss, codes, parts=self.accumulate, graph="E")
        self.clock.nimg += count * self.trainer.world_size
        return terms

    def _loss(self, codes: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss = code_loss(codes, self.encoder(self.show(codes))).mean()  # Eq. (1)
        return loss, {"loss/code": loss, "loss/encoder": loss}

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Logs the errors of reconstructed real images and of the codes of synthetic images."""
        super().validation_step(batch, batch_idx)
        codes = self.codes_by_id(batch["id"])
        mean_code = self.generator.w_avg.expand_as(codes).to(codes.dtype)
        error = code_loss(codes, self.encoder(self.show(codes)).to(codes.dtype))
        self.log_means({"val/code": error, "val/code_of_mean": code_loss(codes, mean_code)})
