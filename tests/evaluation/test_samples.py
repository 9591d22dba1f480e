"""Images drawn from G's prior: by number, the same in any company, and measured as a set."""

import json

import pytest
import torch

from idinvert.data.convert import to_uint8
from idinvert.errors import ConfigError, DataError
from idinvert.evaluation import samples as task
from idinvert.evaluation.samples import inputs_of, sample, sampled
from idinvert.metrics.swd import swd
from idinvert.networks.stylegan2 import StyleGAN2Generator
from tests.evaluation.conftest import grid_size, only


@pytest.fixture
def noisy():
    """A generator whose noise is seen, away from where training starts."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        generator = StyleGAN2Generator(
            resolution=16, z_dim=8, w_dim=8, channels=[8, 8, 8], mapping_depth=1
        )
        with torch.no_grad():
            for name, parameter in generator.named_parameters():
                if "noise" in name:
                    parameter.fill_(0.3)
            generator.w_avg.copy_(torch.randn(8))
    return generator.eval().requires_grad_(False)


def test_a_sample_is_the_same_in_any_company(noisy):
    together = sampled(noisy, torch.arange(6), seed=4)
    alone = torch.cat([sampled(noisy, torch.tensor([i]), seed=4) for i in range(6)])
    assert (together.int() - alone.int()).abs().max() <= 1, "but for the last bit of a float"
    assert together.dtype == torch.uint8 and together.shape == (6, 3, 16, 16)
    assert len({image.numpy().tobytes() for image in together}) == 6
    assert not torch.equal(together, sampled(noisy, torch.arange(6), seed=5))


def test_truncation_takes_the_codes_to_their_mean(noisy):
    seen = {}

    def kept(module, args, kwargs):
        seen["codes"], seen["noise"] = args[0], kwargs["noise"]

    noisy.synthesis.register_forward_pre_hook(kept, with_kwargs=True)
    codes = {}
    for truncation in (0.0, 0.25, 1.0):
        sampled(noisy, torch.arange(3), truncation=truncation)
        codes[truncation] = seen["codes"]
    mean = noisy.w_avg.expand(3, noisy.num_layers, 8)
    assert torch.allclose(codes[0.0], mean, atol=1e-6)
    assert torch.allclose(codes[0.25], mean + 0.25 * (codes[1.0] - mean), atol=1e-6)
    assert codes[1.0].std(dim=0).min() > 0
    assert [tuple(maps.shape) for maps in seen["noise"]] == [
        (3, 1, *size) for size in noisy.noise_shapes
    ]
    assert all(maps.std() > 0.5 for maps in seen["noise"])


def test_the_set_is_measured_against_the_first_images(subject, by_hand, networks, tmp_path):
    record = only(sample(subject(out=tmp_path, seed=3), truncation=0.7, shown=5))
    fakes = sampled(networks.generator, torch.arange(8), truncation=0.7, seed=3)
    assert record.metrics["swd"] == pytest.approx(
        swd(fakes, by_hand.reals, seed=3)["swd"], rel=1e-2
    )
    assert record.metrics["fd_attributes"] > 0 and "mse" not in record.metrics
    assert record.task == "samples" and record.n == 8 and record.run == "abc"
    assert record.choices == {"x": 1, "task": {"truncation": 0.7, "seed": 3}}
    assert "seed 3, ψ = 0.7" in record.protocol["swd"]
    assert grid_size(tmp_path / "pictures.png")[0] == 5
    assert (tmp_path / "pictures.pdf").is_file()


def test_midpoints_are_of_the_means_of_two_samples_codes(noisy, subject, tmp_path):
    codes, noise = inputs_of(noisy, torch.arange(6), seed=4)
    images = noisy.synthesis((codes[::2] + codes[1::2]) / 2, noise=[maps[::2] for maps in noise])
    found = sampled(noisy, torch.arange(3), seed=4, midpoints=True)
    assert (found.int() - to_uint8(images).int()).abs().max() <= 1
    plain, means = (
        only(sample(subject(out=tmp_path / str(each)), shown=0, midpoints=each))
        for each in (False, True)
    )
    assert plain.metrics["swd"] != means.metrics["swd"]
    assert "midpoints" not in plain.choices["task"] and means.choices["task"]["midpoints"]
    assert "samples 2i and 2i + 1" in means.protocol["swd"]


def test_samples_that_are_there_are_kept(subject, tmp_path, monkeypatch):
    few = only(sample(subject(n=6, out=tmp_path), shown=0))
    drawn = []

    def counted(generator, index, **choices):
        drawn.extend(index.tolist())
        return sampled(generator, index, **choices)

    monkeypatch.setattr(task, "sampled", counted)
    assert only(sample(subject(n=6, out=tmp_path), shown=0)).metrics == few.metrics
    assert drawn == []
    only(sample(subject(n=8, out=tmp_path), shown=0))
    assert drawn == [6, 7]
    only(sample(subject(n=6, out=tmp_path, recompute=True), shown=0))
    assert drawn[2:] == list(range(6))
    with pytest.raises(ConfigError, match="holds"):
        only(sample(subject(n=6, out=tmp_path, seed=1), shown=0))
    json.dumps(few.choices)


def test_bad_requests_are_refused_before_any_work(subject, tmp_path):
    for truncation in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match=r"task\.truncation"):
            sample(subject(out=tmp_path / "x"), truncation=truncation)
    with pytest.raises(DataError):
        sample(subject(n=11, out=tmp_path / "y"))
    assert not (tmp_path / "x").exists()
