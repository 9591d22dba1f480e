"""Native StyleGAN2 to rosinality's ``.pt``, which e4e, pSp, ReStyle and most editors read.

A dict with the state dict ``g_ema``, the mean code ``latent_avg`` and, on demand, ``d``. Filters
are written too, so that ``load_state_dict`` is strict. rosinality's own class gives widths by a
rule (``channel_multiplier``), so it takes networks of other widths only with its table changed.
"""

from typing import Any

import torch
from torch import Tensor, nn

from idinvert.checkpoints.export.refuse import check_discriminator, check_generator
from idinvert.checkpoints.families.layout import lay_out
from idinvert.checkpoints.families.rosinality_layout import (
    discriminator_filters,
    discriminator_places,
    generator_filters,
    generator_places,
)

TARGET = "rosinality"


def to_rosinality(
    generator: nn.Module, *, discriminator: nn.Module | None = None, drop_clamp: bool = False
) -> dict[str, Any]:
    """Lays out the networks.

    Args:
        generator: An unconditional `StyleGAN2Generator` with skip connections, one w for all
            layers, and z as wide as w.
        discriminator: An unconditional residual `StyleGAN2Discriminator`, or None.
        drop_clamp: Whether a bound on the layers' outputs (256 in NVlabs' half-precision models)
            may be left out; images change only where a layer exceeds it.

    Returns:
        ``{"g_ema": …, "latent_avg": …, "d": …}``: tensors by name. The mean code is [w_dim], or
        [L, w_dim] where it differs between layers; it is left out where none is known.

    Raises:
        CheckpointError: A network is of another class, or has what that layout cannot hold.
    """
    clamp = {} if drop_clamp else {"conv_clamp": None}
    w_dim = getattr(generator, "w_dim", None)
    made = check_generator(
        generator,
        target=TARGET,
        only={"connections": "skip", "c_dim": 0, "z_dim": w_dim, "mapping_lr_mul": 0.01}
        | {"mapping_width": None}
        | clamp,
    )
    places, filters = generator_places(made), generator_filters(made)
    found: dict[str, Any] = {"g_ema": lay_out(generator, places, filters=filters)}
    latent_avg = _latent_avg(generator.get_buffer("w_avg"))
    if latent_avg is not None:
        found["latent_avg"] = latent_avg
    if discriminator is not None:
        made = check_discriminator(
            discriminator,
            target=TARGET,
            only={"connections": "resnet", "c_dim": 0, "mbstd_group": 4, "mbstd_channels": 1}
            | clamp,
        )
        places, filters = discriminator_places(made), discriminator_filters(made)
        found["d"] = lay_out(discriminator, places, filters=filters)
    return found


def _latent_avg(w_avg: Tensor) -> Tensor | None:
    """The mean code as rosinality's readers take it; None where it was never measured."""
    if not w_avg.any():
        return None
    same = torch.equal(w_avg, w_avg[:1].expand_as(w_avg))
    return (w_avg[0] if same else w_avg).detach().cpu().clone()
