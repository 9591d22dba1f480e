"""Batch normalisation of the encoders, and its running statistics estimated anew."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn import functional

from idinvert.errors import ConfigError

NORMS = ("batch", "sync", "none")
BATCH = 125
"""Images through a network at once.

In batches of 32 the layers see one another's noisy means, and the estimate is off: the MSE of an
encoder was 0.0244 with 32 images, 0.0221 with 100, and 0.0222 with 250 and with 1,000.
"""

Statistics = dict[str, Tensor]
"""By name in the network: ``running_mean`` and ``running_var`` of each BatchNorm, ``[C]``."""


class BatchNorm(nn.Module):
    """Batch normalisation as the authors use it: with or without gamma, over one rank or all.

    Over all dimensions but the second.

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


def batches(count: int) -> list[range]:
    """``count`` images in parts of about `BATCH`, equal but for one image.

    Two images make the smallest part that has a variance.
    """
    parts = max(1, round(count / BATCH))
    ends = [count * part // parts for part in range(parts + 1)]
    return [range(first, last) for first, last in itertools.pairwise(ends)]


def running_statistics(network: nn.Module) -> Statistics:
    """A copy of the statistics that a network has now."""
    return {name: value.clone() for name, value in _buffers(network)}


@torch.no_grad()
def set_statistics(network: nn.Module, statistics: Statistics) -> None:
    """Gives a network the statistics."""
    for name, value in _buffers(network):
        value.copy_(statistics[name])


@torch.no_grad()
def sum_of_statistics(
    network: nn.Module, forward: Callable[[Any], Any], inputs: Iterable[Any]
) -> Statistics:
    """The sum over batches of what each alone gives as mean and unbiased variance, in float64.

    Args:
        network: Left as it was, its statistics and its mode.
        forward: Takes one of ``inputs`` through the network.
        inputs: The batches; none leave all sums at zero.

    Source:
        "Precise BN", Wu and Johnson 2021 (arXiv 2105.07576), Sec. 3.
    """
    sums = {name: torch.zeros_like(value, dtype=torch.float64) for name, value in _buffers(network)}
    with _of_one_batch(network):
        for batch in inputs:
            forward(batch)
            for name, value in _buffers(network):
                sums[name] += value.double()
    return sums


def mean_of(sums: Statistics, count: int) -> Statistics:
    """The mean over ``count`` batches."""
    return {name: value / count for name, value in sums.items()}


def _buffers(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    norms = batch_norms(network)
    names = {id(module): name for name, module in network.named_modules()}
    for norm in norms:
        for buffer in ("running_mean", "running_var"):
            yield f"{names[id(norm)]}.{buffer}", getattr(norm, buffer)


@contextmanager
def _of_one_batch(network: nn.Module) -> Iterator[None]:
    """Meanwhile the running statistics of a network are those of the last batch of this rank."""
    norms = batch_norms(network)
    modes = [(module, module.training) for module in network.modules()]
    settings = [(n, n.momentum, getattr(n, "synchronised", False)) for n in norms]
    buffers = _copies(norms)
    network.eval()
    for norm in norms:
        norm.train()
        norm.momentum, norm.synchronised = 1.0, False
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
        for norm, momentum, synchronised in settings:
            norm.momentum, norm.synchronised = momentum, synchronised
        for module, mode in modes:
            module.training = mode


def _copies(norms: Sequence[nn.Module]) -> list[tuple[Tensor, Tensor]]:
    """All buffers with their values: torch's own norms count batches as well."""
    return [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers(recurse=False)]
