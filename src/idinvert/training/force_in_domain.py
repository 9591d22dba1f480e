"""Training of the force-in-domain encoder: domain-guided, with D_w in the space of codes."""

from typing import Any

from torch import nn

from idinvert.errors import ConfigError
from idinvert.training.latent_gan import LatentGanTraining


class ForceInDomainTraining(LatentGanTraining):
    """Trains E against two discriminators; D_w pulls its codes into the distribution G trained on.

    The arguments are those of `LatentGanTraining`; ``r1_gamma`` applies to both discriminators.
    ``adversarial`` is the loss of D; the loss of D_w is logistic.

    Raises:
        ConfigError: ``adversarial`` or ``w_input`` is unknown, or there is no D.

    Source:
        Leng, Zhu, Xu 2021 (arXiv 2107.06050), known to us by its abstract and a description.

    Differs from the original:
        No published source that we could read gives its weights, the layers of D_w, or how D_w
        sees codes of several layers. D_w, its weight and its learning rate are those of e4e.
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
