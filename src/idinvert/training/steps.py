"""The parts of a training step: rates, images, micro-batches, descent, and validation means."""

import operator
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Any

import torch
from pytorch_lightning.strategies import ParallelStrategy
from torch import Tensor, nn
from torchmetrics import Metric

from idinvert.data.convert import to_float
from idinvert.errors import ConfigError
from idinvert.training.clock import random_stream
from idinvert.training.schedules import set_learning_rate


def scheduled_optimizers(module: Any) -> list[Any]:
    """The module's optimisers, their learning rates set to what they are after its ``nimg``."""
    optimizers = module.optimizers()
    optimizers = optimizers if isinstance(optimizers, list) else [optimizers]
    factor = module.schedule(module.nimg)
    for optimizer in optimizers:
        base = optimizer.optimizer.defaults["lr"]
        set_learning_rate(optimizer.optimizer, base=base, factor=factor)
    return optimizers


def training_images(module: Any, batch: dict[str, Tensor]) -> Tensor:
    """This rank's images ``[N, 3, R, R]`` in [-1, 1], mirrored at random if the module says so."""
    images = to_float(batch["image"]).to(module.dtype)
    if not module.mirror:
        return images
    return random_flip(
        images,
        seed=module.seed,
        nimg=module.nimg,
        rank=module.global_rank,
        world_size=module.trainer.world_size,
    )


def random_flip(images: Tensor, *, seed: int, nimg: int, rank: int, world_size: int) -> Tensor:
    """Flips each image with probability one half.

    The coins of the whole global batch are thrown on every rank and each takes its slice, so two
    ranks flip the images that one rank would.

    Args:
        images: ``[n, 3, H, W]``, this rank's share.
        seed: The run's seed.
        nimg: Images seen before this step.
        rank: This process.
        world_size: Number of processes.

    Returns:
        ``[n, 3, H, W]``.
    """
    count = len(images)
    stream = random_stream(purpose="mirror", seed=seed, nimg=nimg)
    coins = torch.randint(0, 2, (count * world_size,), generator=stream)
    flipped = (coins[rank * count : (rank + 1) * count] == 0).to(images.device).view(-1, 1, 1, 1)
    return torch.where(flipped, images.flip(-1), images)


def micro_batches(batch: Tensor, count: int) -> tuple[Tensor, ...]:
    """A rank's images, or whatever belongs to them, in ``count`` equal parts, order kept.

    Args:
        batch: ``[N, ...]``.
        count: Micro-batches of one step.

    Raises:
        ConfigError: N does not divide by it.
    """
    if count < 1 or len(batch) % count:
        raise ConfigError(
            f"got accumulate={count} micro-batches of the {len(batch)} images that a device takes "
            "in one step, expected equal parts; change accumulate, or batch_size (images of one "
            "step over all devices)."
        )
    return batch.split(len(batch) // count)


@contextmanager
def gradient_sync(module: Any, *, last: bool) -> Iterator[None]:
    """Where a backward pass belongs: ranks average the gradients of a step once, with its last."""
    strategy = module.trainer.strategy
    if last or not isinstance(strategy, ParallelStrategy):
        yield
        return
    with strategy.block_backward_sync():
        yield


def descend(
    module: Any,
    optimizer: Any,
    loss_of: Callable[..., tuple[Tensor, dict[str, Tensor]]],
    *shares: Tensor,
    parts: int = 1,
    kept: Sequence[list[Tensor]] = (),
    graph: Hashable | None = None,
) -> dict[str, Tensor]:
    """One step of an optimiser down the mean of a loss over micro-batches.

    The graph of a micro-batch is gone before the next one's is made. As they are of one size, the
    mean of their means is that of all images, and so are its gradients.

    Args:
        module: The LightningModule.
        optimizer: Of what the loss trains.
        loss_of: A micro-batch to the loss and its terms, each a mean over images.
        shares: What it takes of this rank's images, each ``[N, ...]``.
        parts: Micro-batches.
        kept: Lists to which `loss_of` appends one tensor a micro-batch, for later steps.
        graph: Names this step, and whatever else changes its course (a penalty that is due), for
            the module's ``graphs``; None for a step that a CUDA graph cannot hold.

    Returns:
        The terms' means, without graphs.
    """
    optimizer.zero_grad()

    def gradients(*shares: Tensor) -> tuple[dict[str, Tensor], list[list[Tensor]]]:
        for found in kept:
            found.clear()
        chunked = [micro_batches(share, parts) for share in shares]
        means: dict[str, Tensor] = {}
        for index, chunk in enumerate(zip(*chunked, strict=True)):
            loss, terms = loss_of(*chunk)
            with gradient_sync(module, last=index == parts - 1):
                module.manual_backward(loss / parts)
            for name, value in detached(terms).items():
                mean = value / parts
                means[name] = means[name] + mean if name in means else mean
            del loss, terms  # and with them the graph
        return means, [list(found) for found in kept]

    if graph is None:
        means, _ = gradients(*shares)
    else:
        parameters = [each for group in optimizer.param_groups for each in group["params"]]
        means, now = module.graphs(graph, gradients, *shares, parameters=parameters)
        means = {name: value.clone() for name, value in means.items()}  # replays overwrite them
        for found, tensors in zip(kept, now, strict=True):
            found[:] = tensors
    optimizer.step()
    return means


def total(terms: dict[str, Tensor]) -> Tensor:
    """The sum of weighted terms, in their order."""
    return reduce(operator.add, terms.values())


def detached(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    """The terms as numbers, without their graphs."""
    return {name: value.detach() for name, value in terms.items()}


def adam(
    network: nn.Module, *, lr: float, betas: tuple[float, float], penalised_every: int = 1
) -> torch.optim.Optimizer:
    """Adam over what a network trains.

    Args:
        network: The network.
        lr: Its learning rate.
        betas: Adam's betas.
        penalised_every: Steps k between two gradient penalties. Lazy ones, k > 1, take
            ``lr * c`` and ``betas ** c`` with c = k / (k + 1).

    Source:
        Lazy regularisation: Karras et al. 2020 (arXiv 1912.04958), App. B.
    """
    c = penalised_every / (penalised_every + 1) if penalised_every > 1 else 1.0
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    corrected = (betas[0] ** c, betas[1] ** c)
    return torch.optim.Adam(trained, lr=lr * c, betas=corrected, fused=True)


def lazy(*, r1_gamma: float, r1_every: int) -> int:
    """Steps between two penalties as `adam` takes them; 1 where there are none."""
    return r1_every if r1_gamma > 0 else 1


class MeanOverImages(Metric):
    """The mean of a metric over all images of all ranks.

    Sums and counts add up over ranks in float64, so that neither shares of unequal size nor the
    batches within them matter.
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, values: Tensor) -> None:
        """Adds the value of each image of a batch, ``[N]``."""
        self.total = self.total + values.detach().double().sum()
        self.count = self.count + len(values)

    def compute(self) -> Tensor:
        """The mean; NaN if one of the values is, or if there is none."""
        return self.total / self.count


def log_means(module: Any, metrics: dict[str, Tensor]) -> None:
    """Logs the mean of each ``[N]`` over the validation images of all ranks.

    Every rank must have an image (`cli.devices.check_validation`): the sums meet at the end of the
    validation, where a rank without any would not be.

    Args:
        module: The LightningModule, in its ``validation_step``.
        metrics: Name to the values of this batch's images.
    """
    if not hasattr(module, "validation_means"):
        module.validation_means = nn.ModuleDict()
    means = module.validation_means
    for name, values in metrics.items():
        if name not in means:
            means[name] = MeanOverImages().to(module.device)
        means[name].update(values)
        attribute = f"validation_means.{name}"
        module.log(name, means[name], on_epoch=True, logger=False, metric_attribute=attribute)
