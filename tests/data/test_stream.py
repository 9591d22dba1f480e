"""The order of training images."""

from itertools import islice

import pytest

from idinvert.data.datamodule import StreamSampler, permutation
from idinvert.errors import DataError


def batches(count: int, **settings) -> list[list[int]]:
    return list(islice(StreamSampler(**settings), count))


def flat(lists: list[list[int]]) -> list[int]:
    return [i for batch in lists for i in batch]


def test_an_epoch_is_a_permutation_and_epochs_differ():
    stream = flat(batches(20, length=50, batch_size=5, seed=0))
    first, second = stream[:50], stream[50:]
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second and first != list(range(50))
    assert first == permutation(50, seed=0, epoch=0).tolist()
    assert flat(batches(10, length=50, batch_size=5, seed=1)) != first


@pytest.mark.parametrize("length", [50, 7, 3])
def test_ranks_together_see_what_one_rank_sees(length):
    one = batches(12, length=length, batch_size=8, seed=4)
    for world in (2, 4):
        ranks = [
            batches(12, length=length, batch_size=8 // world, seed=4, rank=r, world_size=world)
            for r in range(world)
        ]
        together = [flat([rank[step] for rank in ranks]) for step in range(12)]
        assert together == one


@pytest.mark.parametrize("start", [8, 24, 48, 56, 400])
def test_a_resumed_stream_continues(start):
    whole = flat(batches(70, length=50, batch_size=8, seed=2))
    resumed = flat(batches(5, length=50, batch_size=8, seed=2, start=start))
    assert resumed == whole[start : start + 40]


def test_the_order_does_not_depend_on_the_batch_size():
    small = flat(batches(60, length=50, batch_size=2, seed=2))
    assert flat(batches(8, length=50, batch_size=15, seed=2)) == small


def test_reading_it_twice_gives_the_same():
    sampler = StreamSampler(length=9, batch_size=4, seed=0)
    assert list(islice(sampler, 6)) == list(islice(sampler, 6))


def test_bad_settings_are_refused():
    with pytest.raises(DataError, match="empty"):
        StreamSampler(length=0, batch_size=4, seed=0)
    for wrong in ({"batch_size": 0}, {"start": -1}, {"rank": 2, "world_size": 2}):
        with pytest.raises(ValueError, match="expected"):
            StreamSampler(**{"length": 5, "batch_size": 4, "seed": 0, **wrong})
