"""The interpolation task against the protocol written out by hand."""

import csv
import dataclasses

import pytest
import torch
from PIL import Image

from idinvert.errors import ConfigError, DataError
from idinvert.evaluation import inverted as room
from idinvert.evaluation.interpolation import interpolation
from idinvert.evaluation.measures import Measures
from idinvert.evaluation.pairs import partners
from idinvert.evaluation.reconstruction import reconstruction
from idinvert.inversion.encoder import EncoderInverter
from idinvert.metrics.distances import extractor
from idinvert.metrics.swd import swd


def read(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_outputs_and_figures_follow_the_protocol(subject, by_hand, networks, rounded, tmp_path):
    record = interpolation(subject(), out=tmp_path / "out", seed=4)
    rows = read(tmp_path / "out" / "pairs.csv")
    partner = [int(row["partner"]) for row in rows]
    assert sorted(partner) == list(range(8)) and all(j != i for i, j in enumerate(partner))
    cycle = [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1 / 6, 2 / 6, 3 / 6]
    assert [float(row["alpha"]) for row in rows] == pytest.approx(cycle, abs=1e-6)
    assert [row["partner_name"] for row in rows] == [by_hand.items[j]["name"] for j in partner]
    w, alpha = by_hand.codes, torch.tensor(cycle)[:, None, None]
    between = (1 - alpha) * w + alpha * w[partner]
    fakes = rounded(networks.generator.synthesis(between))
    distance = extractor(networks.attributes, name="attributes").between(fakes, by_hand.reals)
    assert record.metrics["fd_attributes"] == pytest.approx(distance["fd_attributes"], rel=2e-2)
    assert record.metrics["swd"] == pytest.approx(swd(fakes, by_hand.reals)["swd"], rel=1e-2)
    assert set(record.metrics) == {"fd_attributes", "swd", "swd_16"}
    assert (record.task, record.n, record.run, record.seed) == ("interpolation", 8, "abc", 5)
    assert record.choices["task"] == {"steps": 5, "seed": 4}
    assert record.choices["inversion"]["name"] == "encoder" and record.choices["x"] == 1
    assert "0.1667 to 0.8333" in record.protocol["swd"]
    with Image.open(tmp_path / "out" / "pictures.png") as picture:
        assert picture.width > 9 * 96 and picture.height > 4 * 96
    assert (tmp_path / "out" / "pictures.pdf").read_bytes().startswith(b"%PDF")


def test_pairs_follow_from_seed_and_count_alone():
    assert torch.equal(partners(50, seed=1), partners(50, seed=1))
    assert not torch.equal(partners(50, seed=1), partners(50, seed=2))
    for count in (2, 3, 7):
        chain, here = partners(count, seed=0), 0
        seen = {here := int(chain[here]) for _ in range(count)}
        assert len(seen) == count, "one cycle through all images"
    with pytest.raises(DataError, match="there are 1: set n=2 or more"):
        partners(1, seed=0)


def test_inversions_of_the_reconstruction_task_are_reused(
    subject, domain, networks, measures, cpu, tmp_path, monkeypatch
):
    one = subject()
    inverter = one.inverter
    reconstruction(
        inverters={"encoder": inverter}, generator=networks.generator, domain=domain,
        measures=measures, origin=one.origin, out=tmp_path / "inversions", n=8, batch_size=3,
        trainer=cpu,
    )  # fmt: skip
    monkeypatch.setattr(inverter, "invert", None)
    assert interpolation(one, out=tmp_path / "out", shown=0).n == 8
    fewer = dataclasses.replace(one, n=6)
    assert interpolation(fewer, out=tmp_path / "fewer", shown=0).n == 6, "whole chunks of it"


def test_a_killed_task_goes_on_and_ends_equal(subject, dies, networks, tmp_path, monkeypatch):
    whole = interpolation(subject(), out=tmp_path / "a", shown=0)
    folder = tmp_path / "elsewhere" / "encoder"
    with pytest.raises(KeyError):
        interpolation(subject(dies, inversions=folder), out=tmp_path / "b", shown=0)
    dies.batches = 10
    made = []
    show = room.Inverted.synthesise

    def killed_later(self, codes, noise=None):
        made.append(len(codes))
        if len(made) == 2:
            raise KeyError("killed")
        return show(self, codes, noise)

    monkeypatch.setattr(room.Inverted, "synthesise", killed_later)
    with pytest.raises(KeyError):
        interpolation(subject(dies, inversions=folder), out=tmp_path / "b", shown=0)
    assert dies.batches == 12, "one of three chunks was inverted before"
    record = interpolation(subject(dies, inversions=folder), out=tmp_path / "b", shown=0)
    assert dies.batches == 12 and made == [3, 3, 3, 2], "one of three chunks of outputs was there"
    assert record.metrics == whole.metrics


def test_an_encoders_noise_is_interpolated_too(subject, networks, by_hand, rounded, tmp_path):
    inverter = EncoderInverter(encoder=networks.encoder, noise="random")
    found = room.invert_subject(subject(inverter))
    maps = found.noise(torch.arange(8))
    assert [tuple(one.shape[2:]) for one in maps] == list(networks.generator.noise_shapes)
    interpolation(subject(inverter), out=tmp_path / "out", shown=0)
    partner = [int(row["partner"]) for row in read(tmp_path / "out" / "pairs.csv")]
    w = by_hand.codes
    i, a = 3, 4 / 6
    code = (1 - a) * w[i] + a * w[partner[i]]
    noise = [(1 - a) * one[i : i + 1] + a * one[partner[i]][None] for one in maps]
    expected = rounded(networks.generator.synthesis(code[None], noise=noise))[0]
    from idinvert.evaluation.chunk_store import read_tensor

    (path,) = (tmp_path / "out" / "parts").glob("part-00000003-*.safetensors")
    assert (read_tensor(path, "images")[0].int() - expected.int()).abs().max() <= 1


def test_bad_input_is_refused_before_any_work(subject, measures, tmp_path):
    out = {"out": tmp_path / "out"}
    with pytest.raises(DataError, match="there are 1: set n=2"):
        interpolation(subject(n=1), **out)
    with pytest.raises(DataError, match="asked for n=11 images, but the split has 10"):
        interpolation(subject(n=11), **out)
    with pytest.raises(ConfigError, match=r"metric.names=\['mse'\] has no metric of sets"):
        interpolation(subject(measures=Measures(names=["mse"])), **out)
    with pytest.raises(ConfigError, match=r"task.steps is 0"):
        interpolation(subject(), steps=0, **out)
    with pytest.raises(ConfigError, match="expected train, val or test"):
        interpolation(subject(split="tset"), **out)
    assert not list(tmp_path.iterdir())
