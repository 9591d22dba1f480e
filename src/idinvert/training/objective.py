"""Base class of all objectives: images seen, learning rates, micro-batches, descent, means."""

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
    """Counts the images seen by all ranks together; part of the state dict.

    Lightning's ``global_step`` counts optimiser steps, two per batch here, and is never used.
    """

    def __init__(self) -> None:
        super().__init__()
        self.nimg = 0

    def get_extra_state(self) -> dict[str, int]:
        """Returns the count, for ``state_dict``."""
        return {"nimg": self.nimg}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Restores the count from ``load_state_dict``."""
        self.nimg = int(state["nimg"])


class MeanOverImages(Metric):
    """The mean of a metric over all images of all ranks.

    Sums and counts are added over ranks in float64, so that the result does not depend on how
    images are divided among ranks and batches.
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, values: Tensor) -> None:
        """Adds the values of a batch, one per image, ``[N]``."""
        self.total = self.total + values.detach().double().sum()
        self.count = self.count + len(values)

    def compute(self) -> Tensor:
        """Returns the mean; NaN if a value is NaN, or if there are no values."""
        return self.total / self.count


class Objective(pl.LightningModule):
    """Base class of objectives, timed in images; a subclass defines networks, losses and the step.

    Args:
        lr: Adam's learning rate.
        betas: Adam's betas.
        schedule: Factor on the learning rates by images seen.
        mirror: Flip training images left to right with probability one half.
        seed: Seed of the flips, and of all other random numbers.
        accumulate: Micro-batches per step, to save memory; BatchNorm and a discriminator's
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
        """Returns the optimisers, with their learning rates set for `nimg` images seen."""
        found: Any = self.optimizers()
        optimizers = found if isinstance(found, list) else [found]
        factor = self.schedule(self.nimg)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = optimizer.optimizer.defaults["lr"] * factor
        return optimizers

    def training_images(self, batch: dict[str, Tensor]) -> Tensor:
        """Returns this rank's images ``[N, 3, R, R]`` in [-1, 1], mirrored at random if set."""
        return self.mirrored(to_float(batch["image"]).to(self.dtype))

    def mirrored(self, images: Tensor) -> Tensor:
        """Mirrors tensors ``[N, C, R, R]`` of this rank's images in the same way as the images."""
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
        """Adds Gaussian noise of a standard deviation, seeded by images seen and rank."""
        if deviation == 0:
            return images
        drawn: Any = {"seed": self.seed, "nimg": self.nimg, "rank": self.global_rank}
        rng = random_stream(purpose="image noise", **drawn, device=images.device)
        noise = torch.randn(images.shape, generator=rng, device=rng.device)
        return images + deviation * noise.to(images.device)

    @contextmanager
    def gradient_sync(self, *, last: bool) -> Iterator[None]:
        """Context of a backward pass: ranks average gradients only in the last one of a step."""
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
        """Takes one optimiser step on the mean of a loss over micro-batches.

        The graph of a micro-batch is freed before the next one is built. All have the same size, so
        the mean of their means, and its gradients, are those of all images.

        Args:
            optimizer: Optimiser of the networks that the loss trains.
            loss_of: Maps a micro-batch to the loss and its terms, each a mean over images.
            shares: Arguments of ``loss_of`` for this rank's images, each ``[N, ...]``.
            parts: Number of micro-batches.
            kept: Lists to which `loss_of` appends one tensor per micro-batch, for later steps.
            graph: Key of this step for `StepGraphs`, with all that changes its operations (such as
                a penalty that is due); None for a step that a CUDA graph cannot hold.

        Returns:
            The means of the terms, without graphs.
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
                del loss, terms  # frees the graph
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
        """Checks dtype, shape and finiteness of every tensor, as for any other file.

        Raises:
            CheckpointError: Names the tensors that do not match.
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

        Every rank must have at least one image (`cli.devices.check_validation`), because the sums
        are reduced at the end of validation and a rank without images would not take part.

        Args:
            metrics: Metric name → values of the images of this batch.
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

    The random numbers of the whole global batch are drawn on every rank and each rank takes its
    slice, so that two ranks flip the same images as one rank would.

    Args:
        images: ``[n, 3, H, W]``, this rank's share.
        seed: The run's seed.
        nimg: Images seen before this step.
        rank: Rank of this process.
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
    """Splits a rank's images, or other tensors of them, into ``count`` equal parts, in order.

    Args:
        batch: ``[N, ...]``.
        count: Micro-batches per step.

    Raises:
        ConfigError: N is not divisible by ``count``.
    """
    if count < 1 or len(batch) % count:
        raise ConfigError(
            f"got accumulate={count} micro-batches of the {len(batch)} images that a device takes "
            "in one step, expected equal parts; change accumulate, or batch_size (images of one "
            "step over all devices)."
        )
    return batch.split(len(batch) // count)


def add_means(means: dict[str, Tensor], terms: dict[str, Tensor], *, parts: int) -> None:
    """Adds the detached terms of one of ``parts`` micro-batches to their means."""
    for name, value in terms.items():
        share = value.detach() / parts
        means[name] = means[name] + share if name in means else share


def total(terms: dict[str, Tensor]) -> Tensor:
    """Returns the sum of weighted terms, added in order."""
    return reduce(operator.add, terms.values())


def adam(
    network: nn.Module, *, lr: float, betas: tuple[float, float], ratio: float = 1.0
) -> torch.optim.Optimizer:
    """Returns Adam over the trainable parameters of a network.

    Args:
        network: The network.
        lr: Learning rate.
        betas: Adam's betas.
        ratio: Correction c; Adam uses ``lr * c`` and ``betas ** c``; see `lazy_ratio`.
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    corrected = (betas[0] ** ratio, betas[1] ** ratio)
    return torch.optim.Adam(trained, lr=lr * ratio, betas=corrected, fused=True)


def lazy_ratio(every: int, *, gamma: float = 1.0) -> float:
    """Returns the ``ratio`` of `adam` for R1 of weight ``gamma`` in one of ``every`` steps.

    Source:
        Lazy regularisation: Karras et al. 2020 (arXiv 1912.04958), App. B.
    """
    return every / (every + 1) if every > 1 and gamma > 0 else 1.0
