"""The interpolation task against the protocol written out by hand."""

import math
from dataclasses import replace

import pytest
import torch

from idinvert.errors import ConfigError, DataError
from idinvert.evaluation.interpolation import interpolate
from idinvert.evaluation.inversions import Inversions, invert_images
from idinvert.evaluation.outputs import partners
from idinvert.evaluation.reconstruction import reconstruct
from idinvert.inversion.encoder import EncoderInverter
from idinvert.metrics.frechet import ExtractorDistance
from idinvert.metrics.swd import swd
from tests.evaluation.conftest import grid_size, only, read


def test_outputs_and_figures_follow_the_protocol(subject, by_hand, networks, rounded, tmp_path):
    record = only(interpolate(subject(out=tmp_path / "out", seed=4)))
    rows = read(tmp_path / "out" / "pairs.csv")
    partner = [int(row["partner"]) for row in rows]
    assert sorted(partner) == list(range(8)) and all(j != i for i, j in enumerate(partner))
    cycle = [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1 / 6, 2 / 6, 3 / 6]
    assert [float(row["alpha"]) for row in rows] == pytest.approx(cycle, abs=1e-6)
    assert [row["partner_name"] for row in rows] == [by_hand.items[j]["name"] for j in partner]
    w, alpha = by_hand.codes, torch.tensor(cycle)[:, None, None]
    between = (1 - alpha) * w + alpha * w[partner]
    fakes = rounded(networks.generator.synthesis(between))
    distance = ExtractorDistance(networks.attributes, name="attributes").between(
        fakes, by_hand.reals
    )
    assert record.metrics["fd_attributes"] == pytest.approx(distance["fd_attributes"], rel=2e-2)
    assert record.metrics["swd"] == pytest.approx(
        swd(fakes, by_hand.reals, seed=4)["swd"], rel=1e-2
    )
    assert set(record.metrics) == {"fd_attributes", "swd", "swd_16"}
    assert (record.task, record.n, record.run, record.seed) == ("interpolation", 8, "abc", 5)
    assert record.choices["task"] == {"steps": 5, "seed": 4}
    assert record.choices["inversion"]["name"] == "encoder" and record.choices["x"] == 1
    assert "0.1667 to 0.8333" in record.protocol["swd"]
    assert grid_size(tmp_path / "out" / "pictures.png") == (10, 4)
    assert (tmp_path / "out" / "pictures.pdf").read_bytes().startswith(b"%PDF")


def test_of_failed_inversions_no_sets_are_measured(subject, monkeypatch, tmp_path, capsys):
    one = subject(out=tmp_path / "out")
    invert = one.inverter.invert
    monkeypatch.setattr(
        one.inverter,
        "invert",
        lambda images, **more: replace(
            invert(images, **more), failed=torch.arange(len(images)) == 1
        ),
    )
    record = only(interpolate(one, shown=0))
    assert record.metrics.keys() == {"fd_attributes", "swd"}
    assert all(math.isnan(value) for value in record.metrics.values())
    assert "images failed" in record.protocol["swd"]
    assert "swd, fd_attributes: not measured: 3 of 8 images failed" in capsys.readouterr().out


def test_pairs_follow_from_seed_and_count_alone():
    assert torch.equal(partners(50, seed=1), partners(50, seed=1))
    assert not torch.equal(partners(50, seed=1), partners(50, seed=2))
    for count in (2, 3, 7):
        chain, here = partners(count, seed=0), 0
        seen = {here := int(chain[here]) for _ in range(count)}
        assert len(seen) == count, "one cycle through all images"


def test_inversions_of_the_reconstruction_task_are_reused(subject, tmp_path, monkeypatch):
    one = subject()
    reconstruct(one)
    monkeypatch.setattr(one.inverter, "invert", None)
    assert only(interpolate(one.replaced(out=tmp_path / "out"), shown=0)).n == 8
    fewer = one.replaced(n=6)
    assert only(interpolate(fewer.replaced(out=tmp_path / "fewer"), shown=0)).n == 6, (
        "whole chunks of it"
    )


def test_a_killed_task_goes_on_and_ends_equal(subject, dies, networks, tmp_path, monkeypatch):
    whole = only(interpolate(subject(out=tmp_path / "a"), shown=0))
    folder = tmp_path / "elsewhere" / "encoder"
    with pytest.raises(KeyError):
        only(interpolate(subject(dies, inversions=folder, out=tmp_path / "b"), shown=0))
    dies.batches = 10
    made = []
    show = Inversions.synthesise

    def killed_later(self, codes, noise=None):
        made.append(len(codes))
        if len(made) == 2:
            raise KeyError("killed")
        return show(self, codes, noise)

    monkeypatch.setattr(Inversions, "synthesise", killed_later)
    with pytest.raises(KeyError):
        only(interpolate(subject(dies, inversions=folder, out=tmp_path / "b"), shown=0))
    assert dies.batches == 12, "one of three chunks was inverted before"
    record = only(interpolate(subject(dies, inversions=folder, out=tmp_path / "b"), shown=0))
    assert dies.batches == 12 and made == [3, 3, 3, 2], "one of three chunks of outputs was there"
    assert record.metrics == whole.metrics


def test_an_encoders_noise_is_interpolated_too(subject, networks, by_hand, rounded, tmp_path):
    inverter = EncoderInverter(encoder=networks.encoder, noise="random")
    found = invert_images(subject(inverter))
    maps = found.noise(torch.arange(8))
    assert [tuple(one.shape[2:]) for one in maps] == list(networks.generator.noise_shapes)
    only(interpolate(subject(inverter, out=tmp_path / "out"), shown=0))
    partner = [int(row["partner"]) for row in read(tmp_path / "out" / "pairs.csv")]
    w = by_hand.codes
    i, a = 3, 4 / 6
    code = (1 - a) * w[i] + a * w[partner[i]]
    noise = [(1 - a) * one[i : i + 1] + a * one[partner[i]][None] for one in maps]
    expected = rounded(networks.generator.synthesis(code[None], noise=noise))[0]
    from idinvert.evaluation.chunk_store import read_tensor

    (path,) = (tmp_path / "out" / "parts").glob("part-00000003-*.safetensors")
    assert (read_tensor(path, "images")[0].int() - expected.int()).abs().max() <= 1


def test_bad_input_is_refused_before_any_work(subject, tmp_path):
    for changes, steps, error, message in (
        ({"n": 1, "metric_names": ["swd"]}, 5, DataError, "there are 1: set n=2"),
        ({"n": 11}, 5, DataError, "asked for n=11 images, but the split has 10"),
        (
            {"metric_names": ["mse"]},
            5,
            ConfigError,
            r"=\['mse'\] has no metric of sets",
        ),
        ({}, 0, ConfigError, "task.steps is 0"),
        ({"split": "tset"}, 5, ConfigError, "expected train, val or test"),
    ):
        with pytest.raises(error, match=message):
            interpolate(subject(out=tmp_path / "out", **changes), steps=steps)
    assert not list(tmp_path.iterdir())
