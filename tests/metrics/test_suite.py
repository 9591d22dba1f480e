"""The suite gives what its metrics give, and refuses before any work."""

import pytest
import torch
from torch import nn

from idinvert.data.convert import to_float, to_uint8
from idinvert.errors import ConfigError, MissingWeightsError
from idinvert.metrics.frechet import extractor_distances
from idinvert.metrics.mse import mse
from idinvert.metrics.ssim import ssim
from idinvert.metrics.suite import MetricSuite
from idinvert.metrics.swd import swd, swd_floor


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
    got = suite.compute()
    torch.testing.assert_close(torch.cat(per_image), mse(outputs, targets))
    fake, real = to_uint8(outputs), to_uint8(targets)
    expected = {
        "mse": mse(outputs, targets).mean().item(),
        "ssim": ssim(outputs, targets).mean().item(),
        "swd_floor": swd_floor(real, seed=4),
        **swd(fake, real, seed=4),
        **extractor_distances(fake, real, extractor=Pool(), name="pool", kernel=True),
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
    assert suite.compute()["mse"] == pytest.approx(mse(outputs[:4], targets[:4]).mean().item())


def test_protocols_name_extractor_and_seed():
    suite = MetricSuite(names=["fd_pool", "swd", "mse"], extractors={"pool": Pool()}, seed=7)
    text = suite.protocol()
    assert list(text) == ["fd_pool", "swd", "mse", "swd_floor"]
    assert "pool" in text["fd_pool"]
    assert text["swd"].endswith("seed 7")
    read = Pool()
    read.weights_sha256, read.architecture = "f00d" * 16, {"layer": 3}
    text = MetricSuite(names=["fd_pool", "kd_pool"], extractors={"pool": read}).protocol()
    assert all(line.endswith("weights sha256 f00df00df00df00d, layer 3") for line in text.values())


def test_what_cannot_be_measured_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("IDINVERT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with pytest.raises(ConfigError, match="did you mean 'ssim'"):
        MetricSuite(names=["sssim"])
    with pytest.raises(ConfigError, match="no feature extractor 'attributes'; at hand: pool"):
        MetricSuite(names=["fd_attributes"], extractors={"pool": Pool()})
    with pytest.raises(ConfigError, match="twice"):
        MetricSuite(names=["mse", "mse"])
    for name, key in (
        ("fid", "metric.inception_path"),
        ("lpips_alex", "metric.lpips_path"),
        ("prc", "metric.prc_vgg16_path"),
    ):
        with pytest.raises(MissingWeightsError, match=key):
            MetricSuite(names=[name])
