"""The diffusion task: what is stitched, what is measured inside the mask, the sizes of Fig. 16."""

import pytest
import torch

from idinvert.editing.diffusion import DiffusionInverter
from idinvert.errors import ConfigError, DataError
from idinvert.evaluation.diffusion import PastedDataset, diffuse
from idinvert.inversion.encoder import EncoderInverter
from idinvert.metrics.swd import swd
from tests.evaluation.conftest import grid_size, read

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
    context = [int(row["context"]) for row in read(tmp_path / "out" / "pairs.csv")]
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
    assert grid_size(tmp_path / "out" / "pictures.png") == (3, 3)


def test_each_size_has_its_record_and_its_column(go, tmp_path):
    records = go(changes={"n": 3}, sizes=[4, 6, 8], images=[], shown=2)
    assert [record.choices["inversion"]["size"] for record in records] == [4, 6, 8]
    shares = [record.metrics["mask_share"] for record in records]
    assert shares == pytest.approx([16 / 256, 36 / 256, 64 / 256])
    assert not (tmp_path / "pictures.png").exists()
    assert grid_size(tmp_path / "crop_size.png") == (4, 4)


def test_bad_input_is_refused_before_any_work(make, go, networks, tmp_path):
    encoder = EncoderInverter(encoder=networks.encoder)
    for inverter, changes, choices, error, message in (
        (None, {"n": 1, "metric_names": ["swd"]}, {}, DataError, "there are 1: set n=2"),
        (None, {"metric_names": ["mse"]}, {}, ConfigError, "no metric of sets"),
        (None, {}, {"sizes": []}, ConfigError, r"task\.sizes is empty"),
        (make(size=20), {"n": 2}, {}, ConfigError, "a crop of 20 px"),
        (encoder, {}, {}, ConfigError, "takes inversion=diffusion, not inversion=encoder"),
    ):
        with pytest.raises(error, match=message):
            go(inverter, changes=changes, **choices)
    assert not list(tmp_path.iterdir())
