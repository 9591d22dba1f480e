"""Data loaders of a domain for a Trainer: an exact stream for training, shards for evaluation."""

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from idinvert.data.domain import Domain
from idinvert.data.pool import cores
from idinvert.errors import ConfigError, DataError

Batch = dict[str, Any]


def collate(items: list[dict[str, Any]]) -> Batch:
    """Stacks items: tensors along a new first axis, `id` to int64 `[b]`, `name` to a list."""
    batch: Batch = {}
    for key, first in items[0].items():
        values = [item[key] for item in items]
        if isinstance(first, torch.Tensor):
            batch[key] = torch.stack(values)
        elif isinstance(first, int):
            batch[key] = torch.tensor(values, dtype=torch.int64)
        else:
            batch[key] = values
    return batch


def collate_train(items: list[dict[str, Any]]) -> Batch:
    """Like `collate`, without names, which training does not need."""
    batch = collate(items)
    batch.pop("name", None)
    return batch


class StreamSampler(Sampler[list[int]]):
    """Endless batches of indices; epoch e is a permutation that depends on (seed, e).

    Position p of the stream is index `p % length` of epoch `p // length`. A global batch is
    `batch_size * world_size` consecutive positions, of which rank r takes the r-th slice: several
    ranks together see the same images as one rank with the same global batch, and a run resumes
    exactly by starting at its nimg.

    Args:
        length: Number of images in the split.
        batch_size: Indices per batch on this rank.
        seed: Seed of all permutations.
        rank: This rank, 0 to `world_size` - 1.
        world_size: Number of ranks.
        start: nimg, the images seen so far by all ranks together.
        follow: Passes batches on as soon as their images can be read.

    Raises:
        DataError: The split is empty.
        ValueError: A number is out of range.
    """

    def __init__(
        self,
        *,
        length: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        start: int = 0,
        follow: Callable[[Iterator[list[int]]], Iterator[list[int]]] = iter,
    ) -> None:
        if length < 1:
            raise DataError("the training split is empty; change `data.train` or `data.split`")
        if batch_size < 1 or start < 0 or not 0 <= rank < world_size:
            raise ValueError(
                f"got batch_size {batch_size}, start {start}, rank {rank} of {world_size}; "
                "expected batch_size >= 1, start >= 0, 0 <= rank < world_size"
            )
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.rank, self.world_size, self.start = rank, world_size, start
        self.follow = follow

    def __iter__(self) -> Iterator[list[int]]:
        return self.follow(self._batches())

    def _batches(self) -> Iterator[list[int]]:
        epoch, order = -1, torch.empty(0)
        position = self.start + self.rank * self.batch_size
        while True:
            batch = []
            for p in range(position, position + self.batch_size):
                if p // self.length != epoch:
                    epoch = p // self.length
                    order = permutation(self.length, seed=self.seed, epoch=epoch)
                batch.append(int(order[p % self.length]))
            yield batch
            position += self.batch_size * self.world_size


def permutation(length: int, *, seed: int, epoch: int) -> Tensor:
    """Returns the order of one epoch: int64 `[length]`, a permutation of 0 to `length` - 1."""
    digest = hashlib.sha256(f"{seed}/{epoch}".encode()).digest()
    rng = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    return torch.randperm(length, generator=rng)


class ImageDataModule(LightningDataModule):
    """Loaders of one domain. Pixels stay uint8; they are normalised on the device.

    A Trainer over several devices must be built with `use_distributed_sampler=False`, because this
    module determines the order of images.

    Args:
        domain: The splits.
        batch_size: GLOBAL batch size, over all ranks, of one training step.
        seed: Seed of the order of training images.
        eval_batch_size: Images per validation or test batch on one rank.
        num_workers: Loader processes per rank.

    Attributes:
        start_nimg: Images already seen when training starts; used if the trained module has no
            `nimg` of its own.
    """

    def __init__(
        self,
        *,
        domain: Domain,
        batch_size: int,
        seed: int,
        eval_batch_size: int = 64,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 1 or eval_batch_size < 1:
            raise ConfigError(
                f"got batch_size {batch_size} and eval_batch_size {eval_batch_size}, expected 1 or "
                "more; change `batch_size` or `eval_batch_size`"
            )
        self.domain = domain
        self.batch_size, self.seed = batch_size, seed
        self.eval_batch_size, self.num_workers = eval_batch_size, num_workers
        self.start_nimg = 0

    def train_dataloader(self) -> DataLoader[Batch]:
        """Returns an endless stream that starts where training stopped.

        Raises:
            ConfigError: The global batch is not divisible by the number of ranks.
        """
        rank, world_size = self._place()
        if self.batch_size % world_size:
            raise ConfigError(
                f"got a global batch of {self.batch_size} images over {world_size} ranks, expected "
                "a multiple of the ranks; change `batch_size` or `trainer.devices`"
            )
        split, options = self.domain.train, dict[str, Any]()
        if hasattr(split, "follow"):
            workers = max(1, cores() // world_size)
            options["follow"] = partial(split.follow, workers=workers, told=rank == 0)
        sampler = StreamSampler(
            length=len(self.domain.train),  # type: ignore[arg-type]
            batch_size=self.batch_size // world_size,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
            start=self._nimg(),
            **options,
        )
        return DataLoader(
            self.domain.train,
            batch_sampler=sampler,
            collate_fn=collate_train,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        """Returns validation images r, r + W, r + 2W, … of rank r of W, in order, never padded."""
        return self._in_order(self.domain.val)

    def test_dataloader(self) -> DataLoader[Batch]:
        """Returns test images r, r + W, r + 2W, … of rank r of W, in order, never padded."""
        return self._in_order(self.domain.test)

    def _in_order(self, split: Dataset[dict[str, Any]]) -> DataLoader[Batch]:
        rank, world_size = self._place()
        mine = range(rank, len(split), world_size)  # type: ignore[arg-type]
        return DataLoader(
            Subset(split, mine),
            batch_size=self.eval_batch_size,
            shuffle=False,
            collate_fn=collate,
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
        )

    def _nimg(self) -> int:
        module = getattr(self.trainer, "lightning_module", None)
        return int(getattr(module, "nimg", self.start_nimg))

    def _place(self) -> tuple[int, int]:
        """Returns (rank, number of ranks); (0, 1) without a Trainer."""
        if self.trainer is None:
            return 0, 1
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        connector = getattr(self.trainer, "_accelerator_connector", None)
        if world_size > 1 and getattr(connector, "use_distributed_sampler", False):
            raise ConfigError(
                "got a Trainer that replaces samplers, which would repeat test images; expected "
                "`trainer.use_distributed_sampler=false`"
            )
        return rank, world_size
