"""Every family by its content alone, under names that mislead, opened and put to work."""

from pathlib import Path

import pytest
import torch

from idinvert.checkpoints import mean_code
from idinvert.checkpoints.checkpoint import Checkpoint, open_checkpoint
from idinvert.checkpoints.convert import convert
from idinvert.checkpoints.describe import describe, in_lines
from idinvert.checkpoints.families import FAMILIES
from idinvert.checkpoints.formats.read import read_archive
from tests.checkpoints import tiny
from tests.checkpoints.every_family import SAMPLES, write

MISLEADING = ("model.npy", "weights.safetensors", "checkpoint", "photo.jpg", "net.pkl", "net.pth")


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch):
    """A cache of its own, and a mean code from few samples where a file has none."""
    monkeypatch.setenv("IDINVERT_CACHE", str(tmp_path / "cache"))
    few = mean_code.compute_mean_code
    monkeypatch.setattr(mean_code, "compute_mean_code", lambda g: few(g, samples=100))


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_of_every_family(name, tmp_path):
    misleading = MISLEADING[list(SAMPLES).index(name) % len(MISLEADING)]
    file, sample = write(name, tmp_path / "in" / misleading), SAMPLES[name]
    archive = read_archive(file, key="path")
    claims = [family.name for family in FAMILIES if family.recognise(archive)]
    assert claims == [sample.family]
    found = open_checkpoint(file)
    assert found.family == sample.family and tuple(found.networks) == sample.roles
    for network in found.networks.values():
        assert not network.training and not any(p.requires_grad for p in network.parameters())
    check_networks_work_together(found)
    facts = describe(file)
    assert facts["family"] == sample.family and tuple(facts["networks"]) == sample.roles
    assert any(facts["family"] in line for line in in_lines(facts))
    files = convert(file, tmp_path / "native")  # to this project's format and back is exact
    again = open_checkpoint(tmp_path / "native")
    assert files.keys() == found.networks.keys() == again.networks.keys()
    for role, network in found.networks.items():
        assert tiny.same(network, again.networks[role])
        assert network.architecture == again.networks[role].architecture


def check_networks_work_together(found: Checkpoint) -> None:
    images = torch.linspace(-1, 1, 2 * 3 * 256).reshape(2, 3, 16, 16)
    generator = found.generator
    if generator is not None:
        assert generator.resolution == 16 and generator.num_layers == 6
        assert found.latent_avg is not None
        assert found.latent_avg.shape == (generator.num_layers, generator.w_dim)
        assert torch.equal(found.latent_avg, generator.w_avg)
        codes = generator.mapping(torch.randn(2, generator.z_dim))
        assert codes.shape == (2, generator.num_layers, generator.w_dim)
        images = generator.synthesis(codes, noise="const")
    assert images.shape == (2, 3, 16, 16) and images.isfinite().all()
    if found.discriminator is not None:
        logits = found.discriminator(images)
        assert len(logits) == 2 and logits.isfinite().all()
    if found.encoder is not None:
        codes = found.encoder(images)
        assert codes.shape[:2] == (2, 6) and codes.isfinite().all()


def test_every_family_has_a_sample():
    assert {sample.family for sample in SAMPLES.values()} == {family.name for family in FAMILIES}


def test_every_family_is_documented():
    page = (Path(__file__).parents[2] / "docs" / "checkpoints.md").read_text(encoding="utf-8")
    for family in FAMILIES:
        assert f"| `{family.name}` |" in page
