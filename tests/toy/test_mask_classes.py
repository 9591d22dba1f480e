"""Domains name the classes of their masks, which are there only where they are asked for."""

import pytest
import torch
from PIL import Image

from idinvert.checkpoints.bundle import find_weights
from idinvert.checkpoints.release import read_header
from idinvert.cli.assemble import assemble
from idinvert.cli.run_defaults import with_run
from idinvert.config.compose import compose_plain
from idinvert.errors import ConfigError
from idinvert.evaluation.networks import open_data
from idinvert.toy.faces import FACES


def test_masks_are_asked_for_and_change_nothing_else(tmp_path):
    node = {
        "_target_": "idinvert.toy.miniature.faces_mini", "resolution": 8, "train": 2, "test": 3,
        "val": 1, "cache_dir": str(tmp_path),
    }  # fmt: skip
    plain, masked = open_data(node), open_data(node, masks=True)
    assert plain.mask_classes == masked.mask_classes == FACES.mask_classes
    assert plain.fingerprint == masked.fingerprint
    files = {path.name: path.read_bytes() for path in tmp_path.glob("*.npy")}
    one, other = plain.test[1], masked.test[1]
    assert "mask" not in one and torch.equal(one["image"], other["image"])
    labels = FACES.sample_labels(torch.tensor([other["id"]]), seed=0)
    assert torch.equal(other["mask"], FACES.render(labels, resolution=8)[1][0])
    assert all((tmp_path / name).read_bytes() == content for name, content in files.items())


def test_a_run_of_another_domain_brings_its_segmenter():
    path = find_weights("shipped:towers_mini", role="encoder", key="run")
    run = read_header(path).provenance["run"]
    config = compose_plain("evaluate", [f"run={run}"])
    assert with_run(config, given={"run": ["run"]})["segmenter"]["path"] == "shipped:towers_mini"
    given = {"run": ["run"], "segmenter": ["segmenter.path"]}
    config["segmenter"]["path"] = "mine"
    assert with_run(config, given=given)["segmenter"]["path"] == "mine"
    folder = ["data=folder", "data.path=FOLDER"]
    assert compose_plain("evaluate", folder)["segmenter"]["path"] == ""


def test_images_without_masks_train_no_segmenter(tmp_path):
    for k in range(4):
        Image.new("RGB", (32, 32), (k, k, k)).save(tmp_path / f"{k}.png")
    words = ["experiment=segmenter", "data=folder", f"data.path={tmp_path}", "data.split.test=1"]
    with pytest.raises(ConfigError, match="data=folder has no masks to learn from"):
        assemble(compose_plain("train", [*words, "data.val=1", "batch_size=1", "trainer=cpu"]))
