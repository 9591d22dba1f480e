"""What every objective shares: images seen, learning rates, micro-batches, descent, means."""

import operator
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import ParallelStrategy
from torch import Tensor, nn
from torchmetrics import Metric

from idinvert.acceleration import StepGraphs
from idinvert.annotations import Betas, PositiveFloat
from idinvert.checkpoints.strict_loading import StrictStateDict
from idinvert.data.convert import to_float
from idinvert.errors import ConfigError
from idinvert.training.clock import random_stream
from idinvert.training.schedules import Schedule


class ImageClock(nn.Module):
    """Counts the images seen by all ranks together; travels in the state dict.

    Lightning's ``global_step`` counts optimiser steps, two a batch here, and is never used.
    """

    def __init__(self) -> None:
        super().__init__()
        self.nimg = 0

    def get_extra_state(self) -> dict[str, int]:
        """The count, for ``state_dict``."""
        return {"nimg": self.nimg}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Takes the count back from ``load_state_dict``."""
        self.nimg = int(state["nimg"])


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


class Objective(pl.LightningModule):
    """A training whose unit of time is the image; a subclass has networks, losses and the step.

    Args:
        lr: Adam's learning rate.
        betas: Adam's betas.
        schedule: Factor on the learning rates by images seen.
        mirror: Flip training images left to right with probability one half.
        seed: Seed of the flips, and of whatever else is drawn.
        accumulate: Micro-batches of one step, for less memory; BatchNorm and a discriminator's
            minibatch deviation see one at a time.
    """

    def __init__(
        self,
        *,
        lr: PositiveFloat,
        betas: Betas = (0.9, 0.999),
        schedule: Schedule,
        mirror: bool = False,
        seed: int,
        accumulate: int = 1,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.clock = ImageClock()
        self.lr, self.betas = lr, (float(betas[0]), float(betas[1]))
        self.schedule, self.mirror, self.seed = schedule, mirror, seed
        self.accumulate, self.graphs = accumulate, StepGraphs()

    @property
    def nimg(self) -> int:
        """Images seen so far, over all ranks."""
        return self.clock.nimg

    def scheduled_optimizers(self) -> list[Any]:
        """The optimisers, their learning rates set to what they are after `nimg` images."""
        found: Any = self.optimizers()
        optimizers = found if isinstance(found, list) else [found]
        factor = self.schedule(self.nimg)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = optimizer.optimizer.defaults["lr"] * factor
        return optimizers

    def training_images(self, batch: dict[str, Tensor]) -> Tensor:
        """This rank's images ``[N, 3, R, R]`` in [-1, 1], mirrored at random with ``mirror``."""
        return self.mirrored(to_float(batch["image"]).to(self.dtype))

    def mirrored(self, images: Tensor) -> Tensor:
        """What belongs to this rank's images, ``[N, C, R, R]``, mirrored where they are."""
        if not self.mirror:
            return images
        return random_flip(
            images,
            seed=self.seed,
            nimg=self.nimg,
            rank=self.global_rank,
            world_size=self.trainer.world_size,
        )

    def with_noise(self, images: Tensor, deviation: float) -> Tensor:
        """Images with Gaussian noise of a standard deviation, drawn by images seen and rank."""
        if deviation == 0:
            return images
        drawn: Any = {"seed": self.seed, "nimg": self.nimg, "rank": self.global_rank}
        rng = random_stream(purpose="image noise", **drawn, device=images.device)
        noise = torch.randn(images.shape, generator=rng, device=rng.device)
        return images + deviation * noise.to(images.device)

    @contextmanager
    def gradient_sync(self, *, last: bool) -> Iterator[None]:
        """Around a backward pass: ranks average the gradients of a step once, with its last."""
        strategy = self.trainer.strategy
        if last or not isinstance(strategy, ParallelStrategy):
            yield
            return
        with strategy.block_backward_sync():
            yield

    def descend(
        self,
        optimizer: Any,
        loss_of: Callable[..., tuple[Tensor, dict[str, Tensor]]],
        *shares: Tensor,
        parts: int = 1,
        kept: Sequence[list[Tensor]] = (),
        graph: Hashable | None = None,
    ) -> dict[str, Tensor]:
        """One step of an optimiser down the mean of a loss over micro-batches.

        The graph of a micro-batch is gone before the next one's is made. As they are of one size,
        the mean of their means is that of all images, and so are its gradients.

        Args:
            optimizer: Of what the loss trains.
            loss_of: A micro-batch to the loss and its terms, each a mean over images.
            shares: What it takes of this rank's images, each ``[N, ...]``.
            parts: Micro-batches.
            kept: Lists to which `loss_of` appends one tensor a micro-batch, for later steps.
            graph: Names this step, and whatever else changes its course (a penalty that is due),
                for `StepGraphs`; None for a step that a CUDA graph cannot hold.

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
                with self.gradient_sync(last=index == parts - 1):
                    self.manual_backward(loss / parts)
                add_means(means, terms, parts=parts)
                del loss, terms  # and with them the graph
            return means, [list(found) for found in kept]

        if graph is None:
            means, _ = gradients(*shares)
        else:
            parameters = [each for group in optimizer.param_groups for each in group["params"]]
            means, now = self.graphs(graph, gradients, *shares, parameters=parameters)
            means = {name: value.clone() for name, value in means.items()}  # replays overwrite them
            for found, tensors in zip(kept, now, strict=True):
                found[:] = tensors
        optimizer.step()
        return means

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Checks dtype, shape and finiteness of every tensor, as any other file's are checked.

        Raises:
            CheckpointError: Names the tensors that do not fit.
        """
        stored: dict[str, Any] = checkpoint["state_dict"]
        tensors = {name: value for name, value in stored.items() if isinstance(value, Tensor)}
        state = StrictStateDict(
            tensors, what="the run's checkpoint", key="run, or delete its newest checkpoint"
        )
        for name, value in self.state_dict().items():
            if isinstance(value, Tensor):
                stored[name] = state.take(name, shape=value.shape, dtype=value.dtype)
        state.finish()

    def log_means(self, metrics: dict[str, Tensor]) -> None:
        """Logs the mean of each ``[N]`` over the validation images of all ranks.

        Every rank must have an image (`cli.devices.check_validation`): the sums meet at the end of
        the validation, where a rank without any would not be.

        Args:
            metrics: Name to the values of this batch's images.
        """
        if not hasattr(self, "validation_means"):
            self.validation_means = nn.ModuleDict()
        for name, values in metrics.items():
            if name not in self.validation_means:
                self.validation_means[name] = MeanOverImages().to(self.device)
            mean: Any = self.validation_means[name]
            mean.update(values)
            attribute = f"validation_means.{name}"
            self.log(name, mean, on_epoch=True, logger=False, metric_attribute=attribute)


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


def add_means(means: dict[str, Tensor], terms: dict[str, Tensor], *, parts: int) -> None:
    """Adds the terms of one of ``parts`` micro-batches to their means, without their graphs."""
    for name, value in terms.items():
        share = value.detach() / parts
        means[name] = means[name] + share if name in means else share


def total(terms: dict[str, Tensor]) -> Tensor:
    """The sum of weighted terms, in their order."""
    return reduce(operator.add, terms.values())


def adam(
    network: nn.Module, *, lr: float, betas: tuple[float, float], ratio: float = 1.0
) -> torch.optim.Optimizer:
    """Adam over what a network trains.

    Args:
        network: The network.
        lr: Its learning rate.
        betas: Adam's betas.
        ratio: c: it takes ``lr * c`` and ``betas ** c``; see `lazy_ratio`.
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    corrected = (betas[0] ** ratio, betas[1] ** ratio)
    return torch.optim.Adam(trained, lr=lr * ratio, betas=corrected, fused=True)


def lazy_ratio(every: int, *, gamma: float = 1.0) -> float:
    """The c of `adam` for R1 of weight ``gamma`` in one of ``every`` steps.

    Source:
        Lazy regularisation: Karras et al. 2020 (arXiv 1912.04958), App. B.
    """
    return every / (every + 1) if every > 1 and gamma > 0 else 1.0
