"""A unit that was made to draw a class is found, with its place, its layer and its pictures."""

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from idinvert.errors import ConfigError, DataError
from idinvert.evaluation import units
from idinvert.evaluation.dissection import dissect
from idinvert.metrics.bootstrap import Z
from idinvert.networks.generator import SynthesisState

from .conftest import R, only

DRAWS = 2
"""The unit that draws the square."""


class Planted(nn.Module):
    """Two layers of four units; unit 2 draws a square where the code says, a little lighter."""

    def __init__(self):
        super().__init__()
        self.resolution, self.z_dim, self.w_dim, self.num_layers = R, 2, 2, 3
        self.noise_shapes = [(R // 2, R // 2), (R, R)]
        self.register_buffer("w_avg", torch.zeros(3, 2))

    def mapping(self, z):
        return z[:, None].expand(-1, 3, -1)

    def synthesis(self, codes, noise="const", *, stop=None, resume=None, rng=None):
        last = 3 if stop is None else stop
        state = resume or SynthesisState(torch.zeros(len(codes), 4, 1, 1), None, 0)
        for k in range(state.layer, last):
            if k == 0:
                side = torch.arange(R // 2) - R // 4
                at = codes[:, 0].clamp(-1, 1) * 2
                x = (side - at[:, 0, None].round()).abs() < 2
                y = (side - at[:, 1, None].round()).abs() < 2
                square = (y[:, :, None] & x[:, None, :]).float()
                noisy = noise[0][:, 0] if not isinstance(noise, str) else square * 0
                drawn = square * (1 + 0.1 * noisy)
                maps = torch.stack([noisy, square * 0, drawn, -square], 1)
            elif k == 1:
                maps = interpolate(state.features, scale_factor=2.0)
            else:
                maps = state.features
            image = 0.2 * maps[:, DRAWS : DRAWS + 1].expand(-1, 3, -1, -1) - 0.2 if k == 2 else None
            state = SynthesisState(maps, image, k + 1)
        return state.image if stop is None else state


class ReadsSquares(nn.Module):
    """The segmenter of such images, which is right, and smooth enough for gradients."""

    classes, resolution = ("ground", "square"), R

    def forward(self, images):
        logit = 40 * (images.mean(1) + 0.1)
        return torch.stack([-logit, logit], 1)

    def segment(self, images):
        return self(images).argmax(1).to(torch.uint8)


@pytest.fixture
def planted(subject, monkeypatch):
    """A context on the planted generator; the segmenter's hash is noted as for any other."""

    def opened(context):
        context.checkpoints["segmenter"] = "34"
        return ReadsSquares()

    monkeypatch.setattr(units, "segmenter_of", opened)
    return lambda **changes: subject(generator=Planted(), batch_size=5, **changes)


def described(out):
    (path,) = out.rglob("dissect.json")
    return json.loads(path.read_text())


@pytest.mark.parametrize("threshold", ["iqr", "quantile"])
def test_the_unit_that_draws_a_class_is_found(planted, tmp_path, threshold):
    record = only(dissect(planted(n=24, out=tmp_path), threshold=threshold, least=0.01, shown=4))
    table = described(tmp_path)
    assert [(u["layer"], u["unit"]) for u in table["units"]] == [
        (k, u) for k in (1, 2) for u in range(4)
    ]
    draws = [u for u in table["units"] if u["unit"] == DRAWS]
    if threshold == "quantile":  # half as fine, no upsampled square reaches its own top 0.5 %
        draws = draws[1:]
    found = {(u["concept"], u["kind"], u["follows"]) for u in draws}
    assert found == {("square", "object", True)}
    others = [u for u in table["units"] if u["unit"] in (0, 1)]
    score = "iqr" if threshold == "iqr" else "iou"
    assert max(u[score] for u in others) < 0.4 * min(u[score] for u in draws)
    if threshold == "iqr":
        assert draws[-1]["iou"] > 0.6, "the best level is chosen, not the topmost"
        low, high = record.intervals["object"]
        assert low < record.metrics["object"] < high and Z > 0
    assert record.task == "dissection" and record.n == 24
    assert record.checkpoints["segmenter"] == "34" and "inversion" not in record.choices
    assert record.series["layer"] == [1.0, 2.0] and len(record.series["object"]) == 2
    out = tmp_path / threshold
    assert {p.name for p in out.glob("layers.*")} == {"layers.png", "layers.pdf"}
    page = (out / "index.html").read_text()
    assert "layer 2" in page and "unit 2: square, IoU" in page and "data:image/png" in page
    assert len(list((out / "units").iterdir())) == 8


def test_what_is_counted_is_not_counted_again_and_part_of_it_goes_on(planted, tmp_path):
    dissect(planted(n=24, out=tmp_path))
    first = {path: path.read_bytes() for path in tmp_path.rglob("*.safetensors")}
    before = (tmp_path / "iqr" / "dissect.json").read_bytes()
    gone = sorted(first)[1]
    gone.unlink()
    times = {path: path.stat().st_mtime_ns for path in first if path != gone}
    dissect(planted(n=24, out=tmp_path))
    assert (tmp_path / "iqr" / "dissect.json").read_bytes() == before
    assert {path: path.read_bytes() for path in first} == first
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())


def test_exact_masks_of_real_images_that_are_inverted(subject, domain, tmp_path, monkeypatch):
    masks = SimpleNamespace(items=[dict(domain.test[i]) for i in range(10)])
    for item in masks.items:
        item["mask"] = (item["image"][0] > 127).to(torch.uint8)

    class Masked(list):
        pass

    held = Masked(masks.items)
    one = SimpleNamespace(test=held, mask_classes=("dark", "light"))
    monkeypatch.setattr(units, "masked_images", lambda context: one)
    record = only(dissect(subject(out=tmp_path), source="inverted", layers=[2, 4]))
    assert record.choices["task"]["source"] == "inverted" and record.choices["inversion"]
    assert {u["layer"] for u in described(tmp_path)["units"]} == {2, 4}


def test_a_layer_that_is_not_there_and_one_image_are_refused(planted):
    with pytest.raises(ConfigError, match=r"task\.layers=7: no such layer\. There are: 1, 2\."):
        dissect(planted(), layers=[7])
    with pytest.raises(DataError, match="got n=1, expected 2 or more"):
        dissect(planted(n=1))


def test_a_segmenter_is_needed(subject):
    context = subject()
    context.config["segmenter"] = None
    context.config["data"] = {"_target_": "idinvert.toy.miniature.faces_mini", "resolution": R}
    with pytest.raises(ConfigError, match="needs a segmenter, and none is given for data=faces"):
        dissect(context)
