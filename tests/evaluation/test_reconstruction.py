"""The reconstruction task: its figures against figures computed by hand, and its files."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from idinvert.data.convert import to_float
from idinvert.data.domain import Attribute
from idinvert.errors import ConfigError, Note
from idinvert.evaluation import code_metrics
from idinvert.evaluation.code_metrics import native_samples
from idinvert.evaluation.reconstruction import reconstruct
from idinvert.inversion.encoder import EncoderInverter
from idinvert.metrics.frechet import ExtractorDistance
from idinvert.metrics.paired import ssim
from idinvert.metrics.swd import swd
from idinvert.results.record import from_dict, to_dict
from tests.evaluation.conftest import only, read

NAMES = ["mse", "psnr", "ssim", "swd", "fd_attributes", "kd_attributes", "attributes",
         "seconds_per_image"]  # fmt: skip
PROVENANCE = {"run": "abc", "choices": {"encoder": "base"}, "nimg": 77, "seed": 3}


@pytest.fixture
def go(networks, subject, tmp_path):
    def run(inverter, names=NAMES, **changes):
        choices = dict(
            n=9, batch_size=4, metric_names=names, provenance=PROVENANCE,
            inversions=tmp_path / inverter.settings["method"],
        ) | changes  # fmt: skip
        return only(reconstruct(subject(inverter, **choices)))

    return run


def test_figures_equal_those_computed_by_hand(go, networks, domain, in_domain, tmp_path):
    encoder = EncoderInverter(encoder=networks.encoder)
    records = [go(encoder), go(in_domain(steps=2, noise="const"))]
    record = records[0]
    items = [domain.test[i] for i in range(9)]
    reals = torch.stack([item["image"] for item in items])
    x = to_float(reals)
    y = networks.generator.synthesis(networks.encoder(x)).clamp(-1, 1)
    fakes = (y * 127.5 + 127.5).round().to(torch.uint8)
    mse = (x - y).double().square().flatten(1).mean(1)
    m = record.metrics
    assert m["mse"] == pytest.approx(mse.mean().item(), rel=1e-5)
    assert m["psnr"] == pytest.approx((10 * torch.log10(4 / mse)).mean().item(), rel=1e-5)
    assert m["ssim"] == pytest.approx(ssim(y, x).mean().item(), rel=1e-4)
    assert m["swd"] == pytest.approx(swd(fakes, reals)["swd"], rel=1e-2)
    assert (
        "swd_floor" not in m and "no floor: the split has fewer than 18" in record.protocol["swd"]
    )
    distance = ExtractorDistance(networks.attributes, name="attributes").between(fakes, reals)
    assert m["fd_attributes"] == pytest.approx(distance["fd_attributes"], rel=2e-2)
    found = networks.attributes(to_float(fakes))  # network: glasses, light; labels: light, glasses
    labels = torch.stack([item["attributes"] for item in items])
    agree = ((found[:, 0] > 0) == (labels[:, 1] > 0.5)).float().mean().item()
    assert m["agreement_glasses"] == pytest.approx(agree)
    pearson = torch.corrcoef(torch.stack([found[:, 1], labels[:, 0]]))[0, 1].item()
    assert m["correlation_light"] == pytest.approx(pearson, abs=1e-4)
    assert m["seconds_per_image"] > 0 and m["failed_images"] == 0
    assert "E's forward alone" in record.protocol["seconds_per_image"]
    assert "whole inversion" in records[1].protocol["seconds_per_image"]

    assert (record.run, record.task, record.n, record.nimg) == ("abc", "reconstruction", 9, 77)
    assert record.choices["encoder"] == "base" and record.seed == 3
    assert records[1].choices["inversion"]["name"] == "in_domain"
    assert records[1].choices["inversion"]["steps"] == 2
    assert record.data == {
        "name": "smooth", "resolution": 16, "fingerprint": "00ff", "split": "test",
    }  # fmt: skip
    assert from_dict(to_dict(record)) == record
    assert set(record.protocol) == set(record.metrics)
    assert set(record.metrics) - set(record.intervals) == {"seconds_per_image", "failed_images"}

    rows = read(tmp_path / "encoder" / "per_image.csv")
    assert [row["name"] for row in rows] == [item["name"] for item in items]
    assert float(rows[4]["mse"]) == pytest.approx(mse[4].item(), rel=1e-4)
    with Image.open(tmp_path / "in_domain" / "reconstructions.png") as picture:
        assert picture.height > 2 * 128 and picture.width > 8 * 128  # 8 of 9, from parts of 4


def test_optimising_lowers_the_loss_and_the_order_of_work_is_kept(go, in_domain, tmp_path):
    go(in_domain(steps=4, lr=0.05), names=["mse"])
    rows = read(tmp_path / "in_domain" / "per_image.csv")
    assert all(float(row["loss_kept"]) < float(row["loss_start"]) for row in rows)
    assert [int(row["id"]) for row in rows] == list(range(100, 109))


def test_mistakes_show_before_any_work(go, networks, domain, tmp_path):
    encoder = EncoderInverter(encoder=networks.encoder)
    more = (*domain.attributes, Attribute("beard", "binary"), Attribute("hat", "binary"))
    for changes, message in (
        ({"names": ["sim"]}, "did you mean 'ssim'"),
        ({"names": ["fd_vgg"]}, "no feature extractor 'vgg'"),
        ({"split": "tset"}, "expected train, val or test"),
        ({"reference": "other"}, "reference is 'other'"),
        ({"domain": replace(domain, attributes=())}, "no labels.*leave this metric out"),
        ({"domain": replace(domain, attributes=more)}, "read beard, hat of .*reads glasses, light"),
    ):
        with pytest.raises(ConfigError, match=message):
            go(encoder, **changes)
    assert not [path for path in tmp_path.rglob("*") if path.name != ".lock"]


def test_distances_of_sets_are_not_measured_where_an_image_failed(
    go, networks, monkeypatch, capsys
):
    encoder = EncoderInverter(encoder=networks.encoder)
    invert = encoder.invert

    def failing(images, **more):
        found = invert(images, **more)
        return replace(found, failed=torch.arange(len(images)) == 1)

    monkeypatch.setattr(encoder, "invert", failing)
    record = go(encoder)
    assert record.metrics["failed_images"] == 2 and record.metrics["mse"] > 0
    for name in ("swd", "fd_attributes", "kd_attributes"):
        assert to_dict(record)["metrics"][name] is None
        assert record.protocol[name] == "not measured: 2 of 9 images failed"
        assert name not in record.intervals
    assert "swd, fd_attributes, kd_attributes: not measured: 2 of 9" in capsys.readouterr().out


CODES = ["code_distance", "code_error", "editability"]


@pytest.fixture
def edits(monkeypatch):
    monkeypatch.setattr(code_metrics, "open_directions", lambda context, **_: context.directions)


class Exact(EncoderInverter):
    """Knows every code: of images of the test's, that of the encoder."""

    def invert(self, images, **kw):
        found = super().invert(images, **kw)
        seeds = kw["ids"] if kw["ids"].max() < 100 else []
        known = [native_samples(kw["generator"], [int(i)], seed=0) for i in seeds]
        return replace(found, codes=torch.cat(known)) if known else found


def test_codes_are_measured_beside_native_ones(
    go, networks, by_hand, directions, edits, rounded, tmp_path
):
    encoder = EncoderInverter(encoder=networks.encoder)
    record = go(encoder, names=CODES, n=8, directions=directions)
    m, codes, g = record.metrics, by_hand.codes.double(), networks.generator
    native = code_metrics.distribution(g, seed=0)
    assert m["code_distance"] == pytest.approx(np.median(native.distance(codes)), rel=1e-5)
    assert m["code_distance_p95"] == pytest.approx(
        np.quantile(native.distance(codes), 0.95), rel=1e-5
    )
    assert m["code_distance_native"] == pytest.approx(1, abs=0.25)
    assert (
        m["code_distance_beyond"]
        == (native.distance(codes) > native.distances.max()).double().mean()
    )
    known = native_samples(g, range(2), seed=0)
    x = rounded(g.synthesis(known)).double() / 127.5 - 1
    error = (networks.encoder(x.float()).double() - known).square().sum(2).mean(1) / native.spread
    assert m["code_error"] == pytest.approx(error.mean().item(), rel=1e-4)
    of_manipulation = {"moved", "leaked", "moved_native", "leaked_native"}
    assert of_manipulation < set(m) and set(m) == set(record.protocol)
    alpha = torch.tensor([-3.0, -3.0, -2.0, -2.0, -1.0, -1.0, 1.0, 1.0])
    start = native_samples(g, range(8), seed=0)
    ends = start.clone()
    ends[0::2] += alpha[0::2, None, None] * directions["glasses"].vector
    ends[1::2, 1:3] += alpha[1::2, None, None] * directions["light"].vector[1:3]
    read = [networks.attributes.predict(to_float(rounded(g.synthesis(w)))) for w in (start, ends)]
    change = (read[1] - read[0]) / alpha[:, None]
    ceiling = (change[0::2, 0].mean() + change[1::2, 1].mean()).item() / 2
    assert m["moved_native"] == pytest.approx(ceiling, abs=2e-5)

    one = go(encoder, names=CODES, n=8, batch_size=2, directions=directions, recompute=True)
    again = go(encoder, names=CODES, n=8, batch_size=2, directions=directions)
    for other in (one, again):
        assert other.metrics == pytest.approx(m, rel=1e-3, abs=1e-5)
    assert one.metrics == again.metrics, "from the parts on the disk"
    exact = Exact(encoder=networks.encoder)
    recovered = go(exact, names=["code_error"], n=8, inversions=tmp_path / "exact")
    assert recovered.metrics["code_error"] == pytest.approx(0, abs=1e-12)


def test_what_of_codes_cannot_be_had_is_left_out_with_a_line_or_refused(
    go, networks, directions, edits, monkeypatch
):
    encoder = EncoderInverter(encoder=networks.encoder)
    for changes, message in (
        ({"attributes": None}, "editability, but .*attribute network"),
        ({"directions": {}}, "editability, but .*reads glasses, light, and directions are for no"),
    ):
        with pytest.raises(ConfigError, match=message):
            go(encoder, names=CODES, **{"directions": directions} | changes)
    monkeypatch.setattr(networks.generator, "c_dim", 3, raising=False)
    with pytest.raises(ConfigError, match="asks for code_error, and the generator is conditional"):
        go(encoder, names=["code_error"])


def test_usual_metrics_of_codes_that_cannot_be_had_are_empty_with_their_reason(
    subject, networks, edits, tmp_path
):
    context = subject(
        EncoderInverter(encoder=networks.encoder), attributes=None, n=8,
        metric={"names": ["mse", *CODES], "lpips_path": None},
    )  # fmt: skip
    context.config |= {
        "usual": ["metric.names"],
        "task": {"_target_": "idinvert.evaluation.reconstruction.reconstruct"},
    }
    with pytest.warns(Note, match="left out editability: there is no attribute network"):
        record = only(reconstruct(context))
    assert record.metrics["code_distance"] > 0 and record.metrics["code_error"] > 0
    for name in ("moved", "leaked"):
        assert to_dict(record)["metrics"][name] is None
        assert record.protocol[name] == "not measured: there is no attribute network"
