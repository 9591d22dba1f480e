"""Mixing, failures, timing, images of another domain, untrained encoders."""

import dataclasses
import statistics

import pytest
import torch

from idinvert.errors import ConfigError, Note
from idinvert.evaluation.failures import show_failures
from idinvert.evaluation.mixing import mix
from idinvert.evaluation.out_of_domain import invert_foreign
from idinvert.evaluation.speed import measure_speed
from idinvert.evaluation.untrained_encoder import first_statistics, measure_untrained
from idinvert.inversion.encoder import EncoderInverter
from idinvert.metrics.swd import swd
from idinvert.networks.encoder import Encoder
from idinvert.networks.encoder_base import BaseBackbone
from tests.evaluation.conftest import grid_size, only, read


def test_mixing_takes_the_upper_layers_of_the_partner(
    subject, by_hand, networks, rounded, tmp_path
):
    record = only(mix(subject(out=tmp_path / "out"), first=2, shown=3))
    partner = [int(row["partner"]) for row in read(tmp_path / "out" / "pairs.csv")]
    mixed = by_hand.codes.clone()
    mixed[:, 2:] = by_hand.codes[partner][:, 2:]
    fakes = rounded(networks.generator.synthesis(mixed))
    assert record.metrics["swd"] == pytest.approx(swd(fakes, by_hand.reals)["swd"], rel=1e-2)
    assert record.choices["task"] == {"first": 2, "seed": 0}
    assert grid_size(tmp_path / "out" / "pictures.png") == (4, 4)
    default = only(mix(subject(out=tmp_path / "default"), shown=0))
    assert default.choices["task"]["first"] == 4, "the authors' 10 of 14 layers, of 6"
    with pytest.raises(ConfigError, match=r"task\.first is 7: expected a layer from 0 to 6"):
        only(mix(subject(out=tmp_path / "x"), first=7))


@pytest.mark.parametrize("metric", ["mse", "ssim"])
def test_failures_are_the_worst_by_the_metric(subject, in_domain, tmp_path, metric):
    one = subject(in_domain(steps=1))
    record = only(show_failures(one.replaced(out=tmp_path / "out"), metric=metric, worst=3))
    rows = read(tmp_path / "out" / "failures.csv")
    values = [float(row[metric]) for row in rows]
    assert values == sorted(values, reverse=metric == "mse") and len(values) == 8
    worst = values[:3]
    assert record.metrics[f"{metric}_worst"] == pytest.approx(statistics.mean(worst), rel=1e-4)
    assert record.metrics[metric] == pytest.approx(statistics.mean(values), rel=1e-4)
    labels = read(tmp_path / "out" / "labels_of_the_worst.csv")
    assert [row["index"] for row in labels] == [row["index"] for row in rows[:3]]
    assert set(labels[0]) == {"index", "light", "glasses"}
    assert grid_size(tmp_path / "out" / "pictures.png") == (3, 3), "input, encoder, inversion"


def test_failures_of_an_encoder_have_two_rows(subject, tmp_path):
    show_failures(subject(out=tmp_path / "out"), worst=2)
    assert grid_size(tmp_path / "out" / "pictures.png")[1] == 2
    for choice, message in (
        ({"metric": "lpips_vgg"}, r"task\.metric is 'lpips_vgg': measured of each image are"),
        ({"worst": 0}, r"task\.worst is 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            show_failures(subject(out=tmp_path / "x"), **choice)


def test_speed_tells_the_encoder_from_the_whole_inversion(subject, in_domain, tmp_path):
    alone = only(measure_speed(subject(out=tmp_path), images=3))
    m = alone.metrics
    assert m["seconds_per_image"] == m["encoder_seconds_per_image"] > 0
    assert "E's forward alone" in alone.protocol["seconds_per_image"]
    whole = only(measure_speed(subject(in_domain(steps=3), out=tmp_path), images=3))
    m = whole.metrics
    assert m["seconds_per_image"] == m["inversion_seconds_per_image"]
    assert m["inversion_seconds_per_image"] > m["encoder_seconds_per_image"]
    times = whole.series["inversion_seconds_per_image"]
    assert len(times) == 3 and statistics.median(times) == m["seconds_per_image"]
    assert m["inversion_seconds_per_image_min"] == min(times)
    assert whole.task == "speed" and whole.n == 3 and "cpu" in whole.device
    assert not [path for path in tmp_path.rglob("*.*") if path.name != ".lock"]
    with pytest.raises(ConfigError, match=r"task\.images=0"):
        only(measure_speed(subject(out=tmp_path), images=0))
    with pytest.warns(Note, match=r"task\.images=10: the test split has no more"):
        assert only(measure_speed(subject(out=tmp_path), images=11)).n == 10


def test_images_of_another_domain_by_several_methods(
    subject, domain, in_domain, by_hand, networks, rounded, tmp_path
):
    foreign = dataclasses.replace(domain, name="cats", attributes=(), fingerprint="ca75")
    out = {"domain": foreign, "out": tmp_path / "out"}
    variants = {
        "Encoder": subject(**out),
        "In-domain": subject(in_domain(steps=1), **out),
        "own": subject(domain=domain),
    }
    one, methods = subject(**out, variants=variants), [{"label": "Encoder"}, {"label": "In-domain"}]
    records = invert_foreign(one, methods=methods, own="data=smooth", shown=2)
    assert [record.choices["inversion"]["name"] for record in records] == ["encoder", "in_domain"]
    first = records[0]
    assert first.data["name"] == "cats" and first.task == "out_of_domain"
    assert first.choices["task"] == {"trained_on": "smooth", "own": "smooth"}
    y = networks.generator.synthesis(by_hand.codes).clamp(-1, 1)
    error = (y - by_hand.x).double().square().mean().item()
    assert first.metrics["mse"] == pytest.approx(error, rel=1e-4)
    distance = swd(rounded(y), by_hand.reals)["swd"]
    assert first.metrics["own_swd"] == pytest.approx(distance, rel=1e-2)
    assert "as many images of the domain" in first.protocol["own_swd"]
    assert grid_size(tmp_path / "out" / "pictures.png") == (3, 2)
    (alone,) = invert_foreign(one, methods=methods[:1])
    assert set(alone.metrics) == {"mse", "psnr", "ssim"}
    with pytest.raises(ConfigError, match=r"task\.methods is empty"):
        invert_foreign(one, methods=[])
    variants["Encoder"] = subject(domain=foreign, metric_names=["mse"])
    with pytest.raises(ConfigError, match=r"task\.own compares sets"):
        invert_foreign(one, methods=methods[:1], own="data=smooth")


@pytest.fixture
def untrained(subject, networks):
    def make(offset):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            backbone = BaseBackbone(resolution=16, channels=8, channels_max=8)
            encoder = Encoder(backbone=backbone, num_layers=6, w_dim=8, offset=offset == "w_avg")
        if offset == "w_avg":
            encoder.set_offset(networks.generator.w_avg)
        return subject(EncoderInverter(encoder=encoder.eval().requires_grad_(False)))

    return make


def test_where_training_starts_with_and_without_the_mean_code(
    untrained, networks, by_hand, tmp_path
):
    subjects = {offset: untrained(offset) for offset in ("none", "w_avg")}
    without, mean = measure_untrained(["G"], [subjects], out=tmp_path / "out", shown=2)
    assert (without.choices["task"], mean.choices["task"]) == (
        {"offset": "none"}, {"offset": "w_avg"},
    )  # fmt: skip
    encoder = untrained("none").inverter.encoder
    encoder.train()
    codes = encoder(by_hand.x)  # what the first step of training sees
    rebuilt = networks.generator.synthesis(codes).clamp(-1, 1)
    error = (rebuilt - by_hand.x).double().square().mean().item()
    # a running variance is unbiased, that of a step is not: 8 images, so 7 to 8
    assert without.metrics["mse"] == pytest.approx(error, rel=0.2)
    w_avg = networks.generator.w_avg
    found = subjects["w_avg"].inverter.encoder(by_hand.x)
    shift = (found - subjects["none"].inverter.encoder(by_hand.x))[0]
    torch.testing.assert_close(shift, w_avg, rtol=1e-4, atol=1e-5)
    z = torch.randn(1000, 8, generator=torch.Generator().manual_seed(0))
    native = (networks.generator.mapping(z) - w_avg).norm(dim=2).mean(0)
    distance = ((found - w_avg).norm(dim=2).mean(0) / native).mean().item()
    assert mean.metrics["distance_to_w_avg"] == pytest.approx(distance, rel=1e-4)
    assert grid_size(tmp_path / "out" / "pictures.png")[1] == 3


def test_first_statistics_are_those_of_the_batch(untrained, by_hand):
    encoder = untrained("none").inverter.encoder
    first_statistics(encoder, by_hand.x)
    codes = encoder(by_hand.x)
    assert not encoder.training
    assert codes.mean(0).abs().max() < 0.05, "the last BatchNorm brings codes to mean zero"
    assert codes.var(0).mean() == pytest.approx(1, abs=0.05)


def test_mixing_by_statistics_moves_the_upper_layers(subject, by_hand, tmp_path):
    one = subject(out=tmp_path / "out")
    record = only(mix(one, first=2, statistics="gram", steps=5, shown=2))
    choices = {"first": 2, "statistics": "gram", "steps": 5, "lr": 0.05, "seed": 0}
    assert record.choices["task"] == choices
    m = record.metrics
    assert m["style_distance"] < m["content_style_distance"], "than without a transfer"
    assert m["content_distance"] > 0 and "content_content_distance" not in m
    assert {"exchanged_style_distance", "exchanged_content_distance"} <= m.keys()
    assert "of exchanged codes" in record.protocol["exchanged_style_distance"]
    exchanged = only(mix(subject(out=tmp_path / "exchanged"), first=2, shown=0))
    assert "style_distance" not in exchanged.metrics
    for changes, message in (
        ({"steps": 3}, r"task\.steps is of task\.statistics=moments or gram"),
        ({"statistics": "gram", "first": 6}, r"task\.first is 6: task\.statistics moves .* 0 to 5"),
    ):
        with pytest.raises(ConfigError, match=message):
            mix(subject(out=tmp_path / "x"), **changes)
    with pytest.raises(ConfigError, match="no perceptual network"):
        mix(subject(out=tmp_path / "x").replaced(perceptual=None), statistics="gram")
