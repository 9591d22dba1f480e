"""The order in which training sees images, as a function of the number of images seen alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Sampler

from idinvert.errors import DataError


class StreamSampler(Sampler[list[int]]):
    """Endless batches of indices; epoch e is a permutation that depends on (seed, e).

    Position p of the stream is place `p % length` of epoch `p // length`. A global batch is
    `batch_size * world_size` consecutive positions, of which rank r takes the r-th slice: several
    ranks together see what one rank with the same global batch sees, and a run resumes exactly by
    starting at its nimg.

    Args:
        length: Images in the split.
        batch_size: Indices a batch on this rank.
        seed: Of all permutations.
        rank: This rank, 0 to `world_size` - 1.
        world_size: Number of ranks.
        start: nimg, the images seen so far by all ranks together.

    Raises:
        DataError: The split is empty.
        ValueError: A number is out of its range.
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

    def __iter__(self) -> Iterator[list[int]]:
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
    """The order of one epoch: int64 `[length]`, a permutation of 0 to `length` - 1."""
    digest = hashlib.sha256(f"{seed}/{epoch}".encode()).digest()
    rng = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    return torch.randperm(length, generator=rng)
