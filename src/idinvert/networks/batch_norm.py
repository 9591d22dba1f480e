"""Batch normalisation as the authors' encoders use it: with or without gamma, one rank or all."""

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn import functional

from idinvert.errors import ConfigError

NORMS = ("batch", "sync", "none")


class BatchNorm(nn.Module):
    """Batch normalisation over all dimensions but the second.

    Args:
        channels: C.
        scale: Learn gamma too; else gamma is 1 (the authors' first encoder).
        synchronised: Take the statistics over all ranks, weighted by their image counts.
        momentum: Weight of the newest batch in the running statistics (the authors' decay 0.9).
        eps: Added to the variance.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        *,
        channels: int,
        scale: bool,
        synchronised: bool,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.synchronised, self.momentum, self.eps = synchronised, momentum, eps
        if scale:
            self.weight = nn.Parameter(torch.ones(channels))
        else:
            self.register_buffer("weight", torch.ones(channels), persistent=False)
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, ...]`` to the same shape.

        Raises:
            ConfigError: Training on a single value a channel, which has no variance.
        """
        if self.training and self._ranks() > 1:
            return self._across_ranks(x)
        if self.training and x.numel() == x.shape[1]:
            raise ConfigError(
                "batch normalisation: got one image a rank in training, expected at least two; "
                "raise batch_size, lower trainer.devices or set encoder.norm=none"
            )
        return functional.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.momentum,
            self.eps,
        )

    def _ranks(self) -> int:
        if not self.synchronised or not distributed.is_available():
            return 1
        return distributed.get_world_size() if distributed.is_initialized() else 1

    def _across_ranks(self, x: Tensor) -> Tensor:
        """The same formula with sums over all ranks; works with every backend, CPU included."""
        dtype, x = x.dtype, x.to(self.bias.dtype)
        over = [0, *range(2, x.ndim)]
        shape = [1, -1, *([1] * (x.ndim - 2))]
        here = x.new_tensor([x.numel() / x.shape[1]])
        total = all_reduce(torch.cat([x.sum(over), here]))
        count = total[-1].detach()
        mean = total[:-1] / count
        centred = x - mean.view(shape)
        # Two passes: E[x^2] - E[x]^2 loses its digits where the mean is large.
        variance = all_reduce(centred.square().sum(over)) / count
        with torch.no_grad():
            unbiased = variance * count / (count - 1)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        gain = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * gain.view(shape) + self.bias.view(shape)).to(dtype)


def batch_norm(*, channels: int, norm: str, scale: bool) -> nn.Module:
    """The module for ``norm`` = ``"batch"`` (each rank alone), ``"sync"`` or ``"none"`` (identity).

    Raises:
        ConfigError: Unknown norm.
    """
    if norm not in NORMS:
        raise ConfigError(
            f"encoder: got norm {norm!r}, expected one of {list(NORMS)}; change encoder.norm"
        )
    if norm == "none":
        return nn.Identity()
    return BatchNorm(channels=channels, scale=scale, synchronised=norm == "sync")


def batch_norms(network: nn.Module) -> list[Any]:
    """The batch normalisations of a network, torch's own among them, that keep running statistics.

    All of them have ``running_mean``, ``running_var`` and ``momentum``.
    """
    torchs = nn.modules.batchnorm._BatchNorm
    norms = [m for m in network.modules() if isinstance(m, BatchNorm | torchs)]
    return [norm for norm in norms if norm.running_mean is not None]
