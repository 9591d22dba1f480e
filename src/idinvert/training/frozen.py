"""Networks that training reads and never changes: kept out of optimisers and checkpoints."""

from typing import Any

import torch
from torch import nn


def freeze(network: nn.Module) -> nn.Module:
    """Evaluation mode, no gradients into the parameters; gradients still flow through."""
    return network.eval().requires_grad_(False)


def drop_frozen(state: dict[str, Any], names: tuple[str, ...]) -> None:
    """Takes the tensors of frozen networks out of a state dict, in place.

    They come from files whose content hashes stand in the run's config, so a checkpoint of the
    encoder does not carry a copy of G and F each time.
    """
    for key in [key for key in state if key.split(".", 1)[0] in names]:
        del state[key]


def restore_frozen(state: dict[str, Any], module: nn.Module, names: tuple[str, ...]) -> None:
    """Puts the module's own frozen tensors back into a state dict, so that loading stays strict."""
    own = module.state_dict()
    state.update({key: own[key] for key in own if key.split(".", 1)[0] in names})


def full_precision(device: torch.device) -> torch.autocast:
    """A context without mixed precision: R1 and the logits of D need fp32."""
    return torch.autocast(device_type=device.type, enabled=False)
