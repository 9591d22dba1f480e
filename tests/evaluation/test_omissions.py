"""Faces whose glasses were left out: the omission ranks first, and its interval excludes 0."""

import csv

import pytest
import torch
from PIL import Image

from idinvert.errors import DataError
from idinvert.evaluation import networks
from idinvert.evaluation.segmentation import find_omissions
from idinvert.toy.faces import FACES
from idinvert.toy.miniature import faces_mini

from .conftest import only

N = 48


@pytest.fixture
def faces(subject, tmp_path, monkeypatch):
    """A context on faces and their shipped segmenter, and a folder of the same without glasses."""
    domain = faces_mini(resolution=32, train=1, test=2 * N, val=1, cache_dir=tmp_path, masks=True)
    monkeypatch.setattr(networks, "open_data", lambda node, **_: domain)
    labels = domain.test.labels[:N].clone()
    labels[:, [a.name for a in domain.attributes].index("eyeglasses")] = 0
    out = tmp_path / "bare"
    out.mkdir()
    for k, image in enumerate(FACES.render(labels, resolution=32)[0]):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(out / f"{k:03d}.png")
    node = {
        "_target_": "idinvert.checkpoints.bundle.open_network", "path": "shipped:faces_mini",
        "role": "segmenter", "key": "segmenter.path",
    }  # fmt: skip

    def make(**changes):
        context = subject(domain=domain, **changes)
        context.config["segmenter"] = node
        return context

    return make, out


def test_a_planted_omission_ranks_first_and_its_interval_excludes_0(faces, tmp_path):
    make, bare = faces
    folder = tmp_path / "out"
    record = only(find_omissions(make(n=N, out=folder), other_path=str(bare), shown=2))
    found = record.metrics
    with (folder / "omissions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["class"] == "glasses" and float(rows[0]["relative"]) < -0.9
    assert record.intervals["relative_glasses"][1] < -0.8 and found["omitted"] >= 1
    assert all(found[f"relative_{row['class']}"] > -0.3 for row in rows[1:])
    assert found["fsd"] > found["fsd_real"] > found["fsd_floor"] > 0
    assert record.choices["task"]["source"] == "folder" and record.n == N
    assert (folder / "pictures.png").is_file()


def test_the_same_images_omit_nothing(faces, tmp_path):
    make, _ = faces
    same = tmp_path / "same"
    same.mkdir()
    context = make(n=8, out=tmp_path / "out")
    for k in range(8):
        image = context.domain.test[k]["image"]
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(same / f"{k}.png")
    found = only(find_omissions(context, other_path=str(same), shown=0)).metrics
    assert found["fsd"] == pytest.approx(0, abs=1e-4) and found["omitted"] == 0
    assert all(v == 0 for k, v in found.items() if k.startswith("relative_") and v == v)


def test_one_image_is_no_set(faces):
    make, bare = faces
    torch.manual_seed(0)
    with pytest.raises(DataError, match="n=2 or more"):
        find_omissions(make(n=1), other_path=str(bare))
