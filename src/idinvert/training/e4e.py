"""Training of an e4e encoder for editing: codes close to W, and distributed like those of W."""

from typing import Any

from torch import Tensor

from idinvert.annotations import Count, PositiveInt, Weight
from idinvert.errors import ConfigError
from idinvert.losses.terms import delta_loss
from idinvert.training.latent_gan import LatentGanTraining

OF_D = {"discriminator", "lambda_adv", "adversarial", "w_r1_every"}


class E4eTraining(LatentGanTraining, without=OF_D):
    """Trains E against D_w around a frozen G, with layers that become free one after another.

    E predicts one code w_0 for all layers, and offsets d_i for the later layers
    (``latent=deltas``). The offsets are held at zero until ``delta_start`` images; then one more
    layer is freed every ``delta_every`` images. E's loss has a pixel term, a perceptual term, the
    length of each offset, and an adversarial term of D_w for the code of each layer.

    Arguments that are not listed here are those of `LatentGanTraining`. There is no D:
    ``r1_gamma`` and ``r1_every`` are those of R1 on the codes of M.

    Args:
        encoder: E, with deltas (`networks.encoder.Encoder`).
        lambda_delta: Weight of the sum of the offsets' lengths.
        delta_start: Images seen when the first offset is freed.
        delta_every: Images between freeing two offsets.

    Raises:
        ConfigError: The encoder has no deltas, or ``w_input`` is unknown.

    Source:
        Tov et al. 2021 (arXiv 2102.02766) and its code; the row "e4e [43]" of Table 4.

    Differs from the original:
        E is this project's, not a feature pyramid on IR-SE50. Adam is used instead of Ranger, and
        the run's ``perceptual`` network instead of LPIPS. There is no identity term (neither
        network suits the data sets here). Offsets start at zero, so that freeing one causes no
        jump. The schedule counts images instead of steps. D_w's Adam is corrected for lazy
        regularisation.
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
        """Index of the last layer that may currently differ from layer 0, 0 to L - 1."""
        if self.nimg < self.delta_start:
            return 0
        let_go = 1 + (self.nimg - self.delta_start) // self.delta_every
        return min(let_go, self.generator.num_layers - 1)

    @property
    def layers(self) -> int:
        """Number of layers that are free: layer 0 and those freed so far."""
        return self.stage + 1

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Runs one step of E and one of D_w; returns the detached mean of every term."""
        self.encoder.set_stage(self.stage)
        return super().training_step(batch, batch_idx)

    def code_terms(self, codes: Tensor) -> dict[str, Tensor]:
        """Returns D_w's term and the lengths of the offsets."""
        # Without w-bar, whose layers differ where M gives each layer its own w.
        deltas = delta_loss((codes - self.encoder.w_offset)[:, : self.layers]).mean()
        return super().code_terms(codes) | {"loss/delta": self.lambda_delta * deltas}
