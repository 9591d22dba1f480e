"""The suite gives what its metrics give, and refuses before any work."""

import pytest
import torch
from torch import nn

from idinvert.data.convert import to_float, to_uint8
from idinvert.errors import ConfigError, DataError, MissingWeightsError
from idinvert.metrics.frechet import ExtractorDistance
from idinvert.metrics.paired import mse, ssim
from idinvert.metrics.suite import MetricSuite
from idinvert.metrics.swd import swd


class Pool(nn.Module):
    """Colours of the four quarters."""

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)


def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    targets = to_float(torch.randint(0, 256, (10, 3, 16, 16), generator=rng, dtype=torch.uint8))
    return targets + 0.5 * torch.randn(10, 3, 16, 16, generator=rng), targets


def test_the_suite_gives_what_its_metrics_give():
    outputs, targets = pairs()
    suite = MetricSuite(
        names=["swd", "mse", "fd_pool", "ssim", "kd_pool"], extractors={"pool": Pool()}, seed=4
    )
    per_image = [
        suite.update(o, t)["mse"] for o, t in zip(outputs.split(4), targets.split(4), strict=True)
    ]
    got = suite.values().metrics
    torch.testing.assert_close(torch.cat(per_image), mse(outputs, targets))
    fake, real = to_uint8(outputs), to_uint8(targets)
    expected = {
        "mse": mse(outputs, targets).mean().item(),
        "ssim": ssim(outputs, targets).mean().item(),
        **swd(fake, real, seed=4),
        **ExtractorDistance(Pool(), name="pool", kernel=True).between(fake, real),
    }
    assert list(got)[:5] == ["swd", "mse", "fd_pool", "ssim", "kd_pool"]
    assert set(got) == set(expected)
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, rel=1e-5), name
    assert suite.n == 10


def test_the_suite_can_start_again():
    outputs, targets = pairs()
    suite = MetricSuite(names=["mse", "swd"])
    suite.update(outputs, targets)
    suite.reset()
    suite.update(outputs[:4], targets[:4])
    assert suite.n == 4
    expected = mse(outputs[:4], targets[:4]).mean().item()
    assert suite.values().metrics["mse"] == pytest.approx(expected)


def test_protocols_name_extractor_seed_and_reference():
    outputs, targets = pairs()
    read = Pool()
    read.weights_sha256, read.architecture = "f00d" * 16, {"layer": 3}
    suite = MetricSuite(
        names=["fd_pool", "kd_pool", "swd", "mse"],
        extractors={"pool": read},
        seed=7,
        reference="disjoint",
    )
    suite.update(outputs, targets)
    suite.refer(to_uint8(targets[:4]))
    text = suite.values().protocol
    for name in ("fd_pool", "kd_pool"):
        assert "weights sha256 f00df00df00df00d, layer 3" in text[name]
        assert "4 outputs against 4 other real images" in text[name], name
        assert text[f"{name}_floor"].endswith("4 images each")
    assert "seed 7" in text["swd"] and "reference=disjoint" in text["swd"]
    assert "50 bootstrap resamples" in text["swd"] and "200 bootstrap" in text["mse"]
    assert set(text) == {
        *("mse", "swd", "swd_16", "fd_pool", "kd_pool"),
        *("swd_floor", "fd_pool_floor", "kd_pool_floor"),
    }


def test_a_disjoint_reference_is_the_other_images_and_the_floor_lies_between_real_ones():
    outputs, targets = pairs()
    rng = torch.Generator().manual_seed(1)
    others = torch.randint(0, 256, (6, 3, 16, 16), generator=rng, dtype=torch.uint8)
    options = {"extractors": {"pool": Pool()}, "seed": 4}
    names = ["swd", "fd_pool", "kd_pool"]
    fake, real = to_uint8(outputs), to_uint8(targets)

    def expected(a, b):
        return {
            **swd(a, b, seed=4),
            **ExtractorDistance(Pool(), name="pool", kernel=True).between(a, b),
        }

    def measured(reference, images):
        suite = MetricSuite(names=names, reference=reference, **options)
        suite.update(outputs, targets)
        for batch in images:
            suite.refer(batch)
        return suite.values()

    got = measured("disjoint", others.split(4))
    floors = {f"{n}_floor": v for n, v in expected(real[:6], others).items() if n != "swd_16"}
    assert got.metrics == pytest.approx(expected(fake[:6], others) | floors, rel=1e-5)
    ten = torch.cat([others, 255 - others[:4]])
    got = measured("same", [ten])
    floors = {f"{n}_floor": v for n, v in expected(real, ten).items() if n != "swd_16"}
    assert got.metrics == pytest.approx(expected(fake, real) | floors, rel=1e-5)
    for name in (*names, "swd_16"):
        low, high = got.intervals[name]
        assert low < got.metrics[name] < high
    assert got.of_sets and not set(floors) & set(got.intervals)
    with pytest.raises(DataError, match="disjoint: 10 outputs and 0 other real images"):
        measured("disjoint", [])
    with pytest.raises(DataError, match="10 outputs and 12 other real images"):
        measured("same", [others, others])


def test_what_cannot_be_measured_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("IDINVERT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with pytest.raises(ConfigError, match="did you mean 'ssim'"):
        MetricSuite(names=["sssim"])
    with pytest.raises(ConfigError, match="no feature extractor 'attributes'; at hand: pool"):
        MetricSuite(names=["fd_attributes"], extractors={"pool": Pool()})
    with pytest.raises(ConfigError, match="'other': expected disjoint or same"):
        MetricSuite(names=["mse"], reference="other")
    with pytest.raises(ConfigError, match="twice"):
        MetricSuite(names=["mse", "mse"])
    for name, key in (
        ("fid", "metric.inception_path"),
        ("lpips_alex", "metric.lpips_path"),
        ("prc", "metric.prc_vgg16_path"),
    ):
        with pytest.raises(MissingWeightsError, match=key):
            MetricSuite(names=[name])
