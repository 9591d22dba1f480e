"""batch_size=auto, on devices whose memory is made up."""

import pytest
import torch
from torch import distributed

from idinvert.evaluation import inversion_module, inversions
from idinvert.evaluation.inversions import predict
from idinvert.inversion.batch_size import MOST, largest, one_step
from idinvert.inversion.inversion import Inversion
from idinvert.inversion.observation import Observation, Restoring
from idinvert.inversion.optimize_codes import InDomainInverter

SCALE = {"inversion_batch_size": 3}


class Linear:
    """A device on which a batch of b images takes fixed + each · b bytes."""

    def __init__(self, free, *, fixed, each):
        self.bytes, self.fixed, self.each = free, fixed, each
        self.batches, self.last = [], 0

    def invert(self, count):
        self.batches.append(count)
        self.last = count

    def free(self):
        return self.bytes

    def peak(self, work):
        work()
        return self.fixed + self.each * self.last


def test_the_largest_batch_that_fits_is_told_from_two_small_ones(capsys):
    for free, fixed, each, most, expected, measured in (
        (10_000, 500, 100, 999, 80, [1, 1, 4]),  # (0.85 · 10,000 - 500) / 100
        (10_000, 0, 1, 999, 999, [1, 1, 4]),
        (10_000, 500, 100, 3, 3, [1, 1, 3]),
        (10_000, 500, 100, 1, 1, [1, 1]),
        (10_000, 500, 4000, 99, 2, [1, 1, 2]),
        (10_000, 500, 5000, 99, 1, [1, 1]),  # a second does not fit
        (100, 500, 5000, 99, 1, [1, 1]),
    ):
        memory = Linear(free, fixed=fixed, each=each)
        assert largest(memory.invert, memory, few=4, most=most, share=0.85) == expected
        assert memory.batches == measured
        if expected > 1:
            assert fixed + each * expected <= 0.86 * free
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 7 and said[0].startswith("batch_size=auto: 80 together (an image takes")
    assert "at most 999 images" in said[1] and "at most" not in said[0]


def test_one_step_is_the_same_method_otherwise(in_domain):
    method = in_domain(steps=50, optimizer="lbfgs_gn", early_stop=4)
    method.cuda_graphs, method.slots = True, 7
    for short in (one_step(method), one_step(Restoring(method, Observation())).method):
        assert (short.steps, short.optimizer, short.early_stop) == (1, "lbfgs", 4)
        assert short.slots is None and not short.cuda_graphs
        assert short.encoder is method.encoder
    assert (method.steps, method.slots, method.optimizer) == (50, 7, "lbfgs_gn")


class Counts(InDomainInverter):
    """Notes the size of each batch with the steps it takes."""

    seen: list

    def invert(self, images, **given) -> Inversion:
        self.seen.append((len(images), self.steps))
        return super().invert(images, **given)


@pytest.fixture
def auto(subject, in_domain, monkeypatch, tmp_path):
    """Predicts by a method with batch_size=auto on a device of so many bytes, None for a CPU."""

    def go(free, *, folder="a", **changes):
        method = in_domain(Counts)
        method.seen = []
        memory = None if free is None else Linear(free, fixed=0, each=100)
        find = lambda device: memory  # noqa: E731
        if memory is not None:
            memory.peak = lambda work: (work(), 100 * method.seen[-1][0])[1]
            monkeypatch.setattr(memory, "free", free if callable(free) else lambda: free)
        monkeypatch.setattr(inversion_module, "memory_of", find)
        monkeypatch.setattr(inversions, "memory_of", find)
        given = {"n": 10, "batch_size": "auto", "metric_names": ["mse"], "scale": SCALE} | changes
        context = subject(method, **given)
        recompute = given.pop("recompute", False)
        found = predict(
            context, out=tmp_path / folder, identity={"x": 1}, paired=False, recompute=recompute
        )
        return found, method.seen

    return go


def test_a_gpu_is_measured_once_and_its_batches_are_kept(auto):
    found, seen = auto(500)  # 0.85 · 500 / 100 = 4
    assert found.chunks == [(0, 4), (4, 8), (8, 10)] and found.batch_size == 4
    assert seen == [(1, 1), (1, 1), (4, 1), (4, 3), (4, 3), (2, 3)]
    assert found.work(0.0)["batch_size"] == 4
    found.paths[1].unlink()
    again, seen = auto(10**9)  # another device: the parts that are there count
    assert again.chunks == found.chunks and seen == [(4, 3)]
    assert auto(None)[1] == [] and auto(None)[0].chunks == found.chunks
    fresh, _ = auto(10**9, folder="b")
    assert fresh.chunks == [(0, 10)], "all images together"
    torch.testing.assert_close(fresh.gather("codes"), found.gather("codes"), rtol=1e-3, atol=1e-5)
    assert auto(10**9, recompute=True)[0].chunks == [(0, 10)]
    more, _ = auto(500, folder="c", n=2)
    assert more.chunks == [(0, 2)] and auto(500, folder="c")[0].chunks == found.chunks


def test_a_cpu_takes_what_the_scale_says(auto):
    found, seen = auto(None)
    assert found.batch_size == 3 and seen == [(3, 3)] * 3 + [(1, 3)]
    assert MOST == 256


def test_all_ranks_take_what_fits_on_each(auto):
    free = lambda: 500 if distributed.get_rank() else 10**9  # noqa: E731
    ranks = {"accelerator": "cpu", "devices": 2, "strategy": "ddp_fork"}
    assert auto(free, trainer=ranks)[0].chunks == [(0, 4), (4, 8), (8, 10)]
    roomy = auto(10**9, folder="b", trainer=ranks)[0]
    assert roomy.chunks == [(0, 5), (5, 10)], "each rank has its share"
