"""Inverting a data set under a Trainer: the same bytes however it is broken off or shared."""

import hashlib
import time

import pytest
import torch

from idinvert.data.convert import to_float, to_uint8
from idinvert.errors import ConfigError, DataError
from idinvert.evaluation.inversions import predict
from idinvert.inversion.optimize_codes import InDomainInverter

PREDICT = ("keep_start", "paired", "recompute")


class Dies(InDomainInverter):
    """Breaks off in its third batch, as a killed process does."""

    calls = 0

    def invert(self, images, **kw):
        self.calls += 1
        if self.calls == 3:
            raise KeyError("killed")
        return super().invert(images, **kw)


@pytest.fixture
def run(subject, domain, tmp_path):
    def go(inverter, folder="a", dataset=None, identity=None, **changes):
        asked = {key: changes.pop(key) for key in PREDICT if key in changes}
        context = subject(inverter, **{"n": 10, "batch_size": 2, "metric_names": ["mse"]} | changes)
        if dataset is not None:
            context = context.replaced(dataset=dataset)
        return predict(context, out=tmp_path / folder, identity=identity or {"x": 1}, **asked)

    return go


def digests(found):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found.paths}


def test_equals_inverting_by_hand(run, in_domain, networks, domain):
    begin = time.monotonic()
    found = run(in_domain(), keep_start=True)
    assert len(found) == 10 and len(found.paths) == 5
    items = [domain.test[i] for i in range(10)]
    x = to_float(torch.stack([item["image"] for item in items]))
    ids = torch.tensor([item["id"] for item in items])
    by_hand = in_domain().invert(x, generator=networks.generator, ids=ids)
    torch.testing.assert_close(found.gather("codes"), by_hand.codes, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found.gather("losses", dim=1), by_hand.losses, rtol=1e-3, atol=1e-6)
    assert torch.equal(found.gather("ids"), ids)
    assert found.names() == [item["name"] for item in items]
    images = torch.cat([part.images for part in found.parts()])
    assert (images.int() - to_uint8(by_hand.images).int()).abs().max() <= 1
    start = torch.cat([part.start_images for part in found.parts()])
    assert (start.int() - to_uint8(by_hand.start_images).int()).abs().max() <= 1
    mse = (by_hand.images.clamp(-1, 1) - x).square().flatten(1).mean(1)  # of floats, not of uint8
    torch.testing.assert_close(found.gather("value.mse"), mse, rtol=1e-3, atol=1e-6)
    assert found.work(begin)["seconds"] > 0


def test_the_bytes_are_the_same_however_it_is_broken_off_or_shared(run, in_domain):
    whole = digests(run(in_domain()))
    with pytest.raises(KeyError):
        run(in_domain(Dies), folder="b")
    done = in_domain(Dies)
    done.calls = -10
    found = run(done, folder="b")
    assert done.calls == -10 + 3, "two of five chunks were there"
    assert digests(found) == whole
    again = in_domain(Dies)
    assert digests(run(again, folder="b")) == whole and again.calls == 0
    found.paths[2].write_bytes(found.paths[2].read_bytes()[:100])
    with pytest.warns(UserWarning, match="cannot be read"):
        assert digests(run(in_domain(), folder="b")) == whole
    flipped = bytearray(found.paths[1].read_bytes())
    flipped[-1] ^= 1
    found.paths[1].write_bytes(flipped)
    found.paths[3].with_suffix(".json").unlink()
    with pytest.warns(UserWarning, match="is damaged"):
        assert digests(run(in_domain(), folder="b")) == whole
    ranks = {"accelerator": "cpu", "devices": 2, "strategy": "ddp_fork"}
    two = run(in_domain(), folder="c", trainer=ranks)
    assert digests(two) == whole
    # A rank with nothing left to do must not hold the others up.
    two.paths[1].unlink()
    assert digests(run(in_domain(), folder="c", trainer=ranks)) == whole


def test_batches_of_which_images_stop_early_are_inverted_together(run, in_domain):
    """The parts stay those of a batch, and what is there already is left out."""
    early = dict(steps=12, early_stop=2, early_stop_gain=0.05)
    calls = []

    class Counts(InDomainInverter):
        def invert(self, images, **kw):
            calls.append((len(images), self.slots))
            return super().invert(images, **kw)

    found = run(in_domain(Counts, **early))
    assert calls == [(8, 2), (2, 2)] and found.chunks == [(k, k + 2) for k in range(0, 10, 2)]
    steps = (found.gather("losses", dim=1).diff(dim=0) != 0).sum(0)
    assert len(steps.unique()) > 1, "the images stop together"
    plain = run(in_domain(**early), folder="b", batch_size=10)
    near = dict(rtol=1e-3, atol=1e-5)
    for name in ("codes", "value.mse"):
        torch.testing.assert_close(found.gather(name), plain.gather(name), **near)
    for path in (found.paths[1], found.paths[4]):
        path.unlink()
    calls.clear()
    again = run(in_domain(Counts, **early))
    assert calls == [(2, 2), (2, 2)]
    torch.testing.assert_close(again.gather("codes"), plain.gather("codes"), **near)
    assert again.gather("index").tolist() == list(range(10)) and again.names() == plain.names()
    ranks = {"accelerator": "cpu", "devices": 2, "strategy": "ddp_fork"}
    shared = run(in_domain(**early), folder="c", trainer=ranks)
    assert digests(shared) == digests(run(in_domain(**early), folder="d"))


def test_more_images_reuse_the_parts(run, in_domain):
    run(in_domain(), n=5)
    more = in_domain(Dies)
    more.calls = -10
    found = run(more, n=10)
    assert more.calls == -10 + 3, "images 0 to 3 were there; 4 stood in a short chunk"
    assert len(found.gather("codes")) == 10


def test_other_results_are_refused_and_replaced_on_demand(run, in_domain):
    run(in_domain(), paired=False)
    found = run(in_domain())  # parts that lack what is asked are made again
    assert found.gather("value.ssim").shape == (10,)
    with pytest.raises(ConfigError, match=r"\(x differ\).*recompute=true"):
        run(in_domain(), identity={"x": 2})
    found = run(in_domain(steps=1), identity={"x": 2}, recompute=True)
    assert found.gather("losses", dim=1).shape == (2, 10)


def test_counts_and_ids_are_checked(run, in_domain, domain):
    with pytest.raises(DataError, match="asked for n=11 images, but the split has 10"):
        run(in_domain(), n=11)
    same = type("Same", (), {
        "__len__": lambda self: 4,
        "__getitem__": lambda self, i: domain.test[i] | {"id": 7},
    })()  # fmt: skip
    with pytest.raises(DataError, match="3 of 4 image ids occur twice"):
        run(in_domain(), folder="c", dataset=same, n=4)
