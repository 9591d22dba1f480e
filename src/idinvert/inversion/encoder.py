"""Inversion by one pass of an encoder."""

from typing import Any

import torch
from torch import Tensor, nn

from idinvert.annotations import Seed
from idinvert.inversion.initialization import seed_of
from idinvert.inversion.inversion import Inversion, Method, Request, check_codes, now
from idinvert.inversion.noise import NoiseKind
from idinvert.inversion.observation import Observation
from idinvert.losses.terms import pixel_loss


class EncoderInverter(Method):
    """w = E(x): the domain-guided encoder of Sec. 3.1, or any other encoder, alone.

    Args:
        encoder: E, images [N, 3, R, R] to codes [N, L, w_dim], in eval mode.
        noise: the noise of G: its constant buffers (or the encoder's noise maps, if it predicts
            any, Sec. 6.3), noise drawn by image id, or none.
        seed: seed of noise drawn by image id.
    """

    name = "encoder"

    def __init__(self, *, encoder: nn.Module, noise: NoiseKind = "const", seed: Seed = 0) -> None:
        self.encoder = encoder
        self.noise: NoiseKind = noise
        self.seed = seed

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that are stored in records."""
        drawn = seed_of(self.seed, drawn=self.noise == "random")
        return {"method": self.name, "steps": 0, "noise": self.noise, **drawn}

    @torch.no_grad()
    def _run(self, asked: Request) -> Inversion:
        """Encode a batch and synthesise it: one iterate, with the pixel loss as its only term."""
        images, generator = asked.images, asked.generator
        begin = now(images.device)
        encoding = self.encoder.encode(images)  # type: ignore[operator]
        codes = encoding.codes.to(images.dtype)  # [N, L, w_dim]
        check_codes(codes, generator=generator)
        noise, maps = self._given_noise(asked, like=images, encoded=encoding.noise)
        rebuilt = generator.synthesis(codes, noise=noise)
        loss = pixel_loss(images, rebuilt)[None]  # [1, N]
        if asked.progress is not None:
            asked.progress(1, 1)
        return Inversion(
            codes=codes,
            images=rebuilt,
            losses=loss,
            terms={"pixel": loss},
            seconds=(now(images.device) - begin) / len(images),
            start_images=rebuilt,
            best_step=torch.zeros(len(images), dtype=torch.int64, device=images.device),
            failed=~torch.isfinite(loss[0]),
            noise=maps,
        )

    def restore(self, images: Tensor, *, observation: Observation, **given: Any) -> Inversion:
        """Encode the start image of an observation; see `Restorer.restore`."""
        return self.invert(observation.start(observation.seen(images)), **given)
