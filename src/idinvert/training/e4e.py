"""Training of an encoder for editing as e4e does it: close to W, and looking like W."""

from typing import Any

from torch import Tensor

from idinvert.annotations import Count, PositiveInt, Weight
from idinvert.errors import ConfigError
from idinvert.losses.terms import delta_loss
from idinvert.training.latent_gan import LatentGanTraining

OF_D = {"discriminator", "lambda_adv", "adversarial", "w_r1_every"}


class E4eTraining(LatentGanTraining, without=OF_D):
    """E against D_w around a frozen G, its layers let apart one after the other.

    E gives one code w_0 for all layers, and differences d_i of the later ones (``latent=deltas``).
    They are held at zero until ``delta_start`` images; then one more layer is let go every
    ``delta_every`` images. E pays for the pixels, the features, the length of each difference and
    each layer's code that D_w takes for one that M did not make.

    Arguments that are not listed here are those of `LatentGanTraining`. There is no D:
    ``r1_gamma`` and ``r1_every`` are those of R1 on M's codes.

    Args:
        encoder: E, with deltas (`networks.encoder.Encoder`).
        lambda_delta: Weight of the sum of the differences' lengths.
        delta_start: Images after which the first difference is let go.
        delta_every: Images between two.

    Raises:
        ConfigError: The encoder has no deltas, or unknown ``w_input``.

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
        encoder: Any,
        lambda_delta: Weight,
        delta_start: Count,
        delta_every: PositiveInt,
        r1_every: PositiveInt,
        **shared: Any,
    ) -> None:
        if not getattr(encoder, "deltas", False):
            raise ConfigError(
                "objective=e4e lets the layers of a code apart one by one, and this encoder gives "
                "all of them from the start. Use latent=deltas."
            )
        super().__init__(
            encoder=encoder,
            discriminator=None,
            lambda_adv=0.0,
            adversarial="logistic",
            r1_every=r1_every,
            w_r1_every=r1_every,
            **shared,
        )
        self.lambda_delta = lambda_delta
        self.delta_start, self.delta_every = delta_start, delta_every

    @property
    def stage(self) -> int:
        """The last layer that may differ from layer 0 now, 0 to L - 1."""
        if self.nimg < self.delta_start:
            return 0
        let_go = 1 + (self.nimg - self.delta_start) // self.delta_every
        return min(let_go, self.generator.num_layers - 1)

    @property
    def layers(self) -> int:
        """Layer 0 and those that are let go."""
        return self.stage + 1

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """One step of E and one of D_w; returns the detached means of every term."""
        self.encoder.set_stage(self.stage)
        return super().training_step(batch, batch_idx)

    def code_terms(self, codes: Tensor) -> dict[str, Tensor]:
        """D_w's term, and the lengths of the differences."""
        # Before w-bar is added, whose layers differ where M gives each its own w.
        deltas = delta_loss((codes - self.encoder.w_offset)[:, : self.layers]).mean()
        return super().code_terms(codes) | {"loss/delta": self.lambda_delta * deltas}
