"""Native StyleGAN2 to a plain ``.pt`` with the names of NVlabs' PyTorch repositories.

A dict of state dicts, ``G_ema`` and ``D``, complete with filters, and under ``init_kwargs`` the
arguments to build the modules with: ``Generator(**file["init_kwargs"]["G_ema"])`` and then
``load_state_dict(file["G_ema"])``, which needs no pickled source.
"""

from typing import Any

from torch import nn

from idinvert.checkpoints.export.refuse import check_discriminator, check_generator
from idinvert.checkpoints.families.layout import lay_out
from idinvert.checkpoints.families.nvlabs_layout import (
    discriminator_filters,
    discriminator_places,
    generator_filters,
    generator_places,
)
from idinvert.networks.generator import widths

TARGET = "NVlabs"


def to_nvlabs(generator: nn.Module, *, discriminator: nn.Module | None = None) -> dict[str, Any]:
    """Lays out the networks.

    Args:
        generator: A `StyleGAN2Generator` with one w for all layers.
        discriminator: A `StyleGAN2Discriminator`, or None.

    Returns:
        ``{"G_ema": …, "D": …, "init_kwargs": {"G_ema": …, "D": …}}``: tensors, numbers and text.
        Widths that NVlabs' rule cannot give stand there as ``channels``.

    Raises:
        CheckpointError: A network is of another class, or has what that layout cannot hold.
    """
    made = check_generator(generator, target=TARGET)
    found: dict[str, Any] = {
        "G_ema": lay_out(generator, generator_places(made), filters=generator_filters(made)),
        "init_kwargs": {"G_ema": _generator_arguments(made)},
    }
    if discriminator is not None:
        made = check_discriminator(discriminator, target=TARGET)
        places, filters = discriminator_places(made), discriminator_filters(made)
        found["D"] = lay_out(discriminator, places, filters=filters)
        found["init_kwargs"]["D"] = _discriminator_arguments(made)
    return found


def _generator_arguments(made: dict[str, Any]) -> dict[str, Any]:
    return {
        "z_dim": made["z_dim"],
        "c_dim": made["c_dim"],
        "w_dim": made["w_dim"],
        "img_resolution": made["resolution"],
        "img_channels": 3,
        "mapping_kwargs": {
            "num_layers": made["mapping_depth"],
            "embed_features": made["embed_dim"],
            "layer_features": made["mapping_width"],
            "lr_multiplier": made["mapping_lr_mul"],
        },
        "synthesis_kwargs": {
            **_channels(made),
            "architecture": made["connections"],
            "conv_clamp": made["conv_clamp"],
            "num_fp16_res": 0,
        },
    }


def _discriminator_arguments(made: dict[str, Any]) -> dict[str, Any]:
    found = {
        "c_dim": made["c_dim"],
        "img_resolution": made["resolution"],
        "img_channels": 3,
        "architecture": made["connections"],
        **_channels(made),
        "num_fp16_res": 0,
        "conv_clamp": made["conv_clamp"],
        "epilogue_kwargs": {
            "mbstd_group_size": made["mbstd_group"],
            "mbstd_num_channels": made["mbstd_channels"],
        },
    }
    if made["c_dim"] > 0:
        found["cmap_dim"] = made["cmap_dim"]
        found["mapping_kwargs"] = {
            "num_layers": made["cmap_depth"],
            "lr_multiplier": made["cmap_lr_mul"],
        }
    return found


def _channels(made: dict[str, Any]) -> dict[str, Any]:
    """NVlabs' two numbers, where they give these widths."""
    rule = {"channel_base": made["channel_base"], "channel_max": made["channel_max"]}
    own = widths(made["resolution"], made["channels"], **rule)
    rule = {"channel_base": own[-1] * made["resolution"], "channel_max": max(own)}
    return rule if widths(made["resolution"], None, **rule) == own else {"channels": own}
