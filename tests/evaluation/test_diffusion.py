"""The diffusion task: what is stitched, what is measured inside the mask, the sizes of Fig. 16."""

import csv

import pytest
import torch
from PIL import Image

from idinvert.editing.diffusion import DiffusionInverter
from idinvert.errors import ConfigError, DataError
from idinvert.evaluation.diffusion import PastedDataset, diffuse
from idinvert.inversion.encoder import EncoderInverter
from idinvert.metrics.swd import swd

TARGET = "idinvert.editing.diffusion.DiffusionInverter"


@pytest.fixture
def make(networks):
    def inverter(kind=DiffusionInverter, **changes):
        choices = dict(lambda_vgg=0.1, steps=2, size=6, centre=[8, 8]) | changes
        return kind(encoder=networks.encoder, perceptual=networks.features, **choices)

    return inverter


@pytest.fixture
def go(subject, make, tmp_path):
    """Runs the task by a diffusion inverter."""

    def run(inverter=None, out=tmp_path, changes=None, **choices):
        node = {"_target_": TARGET, "lambda_vgg": 0.1, "steps": 2, "centre": [8, 8]}
        one = subject(inverter or make(), out=out, inversion=node, **(changes or {}))
        return diffuse(one, **choices)

    return run


def test_stitched_images_are_target_inside_and_context_outside(domain):
    mask = torch.zeros(1, 16, 16)
    mask[:, 4:7, 2:9] = 1
    stitched = PastedDataset(domain.test, pairs=[(0, 1), (2, 0)], mask=mask)
    target, context = domain.test[0]["image"], domain.test[1]["image"]
    expected = context.clone()
    expected[:, 4:7, 2:9] = target[:, 4:7, 2:9]
    assert torch.equal(stitched[0]["image"], expected)
    assert stitched[1]["id"] == 1 and stitched[1]["name"] == "002.png in 000.png"
    assert len(stitched) == 2


@pytest.mark.parametrize("average", ["image", "mask"])
def test_figures_equal_those_computed_by_hand(
    make, go, by_hand, networks, rounded, tmp_path, average
):
    inverter = make(average=average)
    (record,) = go(inverter, tmp_path / "out", {"n": 4}, images=[0, 1])
    with (tmp_path / "out" / "pairs.csv").open() as file:
        context = [int(row["context"]) for row in csv.DictReader(file)]
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 5:11, 5:11] = 1
    x = by_hand.x[:4]
    stitched = x * mask + x[context] * (1 - mask)
    found = make(average=average).invert(stitched, generator=networks.generator)
    inside = [
        ((found.images[i] - x[i])[:, 5:11, 5:11].double() ** 2).mean().item() for i in range(4)
    ]
    start = networks.generator.synthesis(networks.encoder(stitched))
    before = ((start - x)[:, :, 5:11, 5:11].double() ** 2).mean().item()
    m = record.metrics
    assert m["mse_inside"] == pytest.approx(sum(inside) / 4, rel=1e-2)
    assert m["mse_inside_start"] == pytest.approx(before, rel=1e-3)
    assert m["mask_share"] == pytest.approx(36 / 256)
    expected = swd(rounded(found.images), by_hand.reals[:4])["swd"]
    assert m["swd"] == pytest.approx(expected, rel=2e-2)
    assert (record.task, record.n) == ("diffusion", 4)
    assert record.choices["inversion"]["name"] == "diffusion"
    assert record.choices["inversion"]["size"] == 6
    with Image.open(tmp_path / "out" / "pictures.png") as picture:
        assert picture.height > 3 * 96 and picture.width > 3 * 96


def test_each_size_has_its_record_and_its_column(go, tmp_path):
    records = go(changes={"n": 3}, sizes=[4, 6, 8], images=[], shown=2)
    assert [record.choices["inversion"]["size"] for record in records] == [4, 6, 8]
    shares = [record.metrics["mask_share"] for record in records]
    assert shares == pytest.approx([16 / 256, 36 / 256, 64 / 256])
    assert not (tmp_path / "pictures.png").exists()
    with Image.open(tmp_path / "crop_size.png") as picture:
        assert picture.width > 4 * 96 and picture.height > 4 * 96


class Interrupted(DiffusionInverter):
    batches = 0

    def invert(self, images, **kw):
        self.batches += 1
        if self.batches == 2:
            raise KeyError("killed")
        return super().invert(images, **kw)


def test_a_killed_task_goes_on_and_ends_equal(make, go, tmp_path):
    (whole,) = go(make(), tmp_path / "a", {"n": 5}, images=[])
    dies = make(Interrupted)
    with pytest.raises(KeyError):
        go(dies, tmp_path / "b", {"n": 5}, images=[])
    dies.batches = 10
    (record,) = go(dies, tmp_path / "b", {"n": 5}, images=[])
    assert dies.batches == 11, "one of two chunks was there"
    assert record.metrics == whole.metrics


def test_bad_input_is_refused_before_any_work(make, go, networks, tmp_path):
    with pytest.raises(DataError, match="there are 1: set n=2"):
        go(changes={"n": 1})
    with pytest.raises(ConfigError, match="no metric of sets"):
        go(changes={"metric_names": ["mse"]})
    with pytest.raises(ConfigError, match=r"task\.sizes is empty"):
        go(sizes=[])
    with pytest.raises(ConfigError, match="a crop of 20 px"):
        go(make(size=20), changes={"n": 2})
    with pytest.raises(ConfigError, match=r"takes inversion=diffusion, not inversion=encoder"):
        go(EncoderInverter(encoder=networks.encoder))
    assert not list(tmp_path.iterdir())
