"""Training of the force-in-domain encoder: domain-guided, and against D_w in the space of codes."""

from typing import Any

from torch import nn

from idinvert.errors import ConfigError
from idinvert.training.latent_gan import LatentGanTraining


class ForceInDomainTraining(LatentGanTraining):
    """E against two discriminators: its codes are forced into the distribution G was trained on.

    Arguments are those of `LatentGanTraining`, ``r1_gamma`` for both discriminators.
    ``adversarial`` is the loss of D; that of D_w is logistic.

    Raises:
        ConfigError: Unknown ``adversarial`` or ``w_input``, or no D.

    Source:
        Leng, Zhu, Xu 2021 (arXiv 2107.06050), known here from its abstract and a description.

    Differs from the original:
        Its weights, the layers of D_w and how D_w sees codes of several layers are not published
        where we could read them. D_w, its weight and its learning rate are e4e's.
    """

    def __init__(
        self, *, discriminator: nn.Module | None, lambda_adv: float, **shared: Any
    ) -> None:
        if discriminator is None:
            raise ConfigError(
                f"objective=force_in_domain needs two discriminators, and lambda_adv is "
                f"{lambda_adv}; set objective.lambda_adv above 0, or use objective=e4e."
            )
        super().__init__(discriminator=discriminator, lambda_adv=lambda_adv, **shared)
