"""What a run stands on: lineage where there is a server, hashes in any case, no image uploaded."""

import json
from pathlib import Path

import pytest

from idinvert.tracking.artifacts import DataSet, Weights, data_artifact, log_inputs, plain
from idinvert.tracking.wandb_run import TrackedRun
from tests.tracking.fake_wandb import FakeRun

HASHES = {"generator": "aaaa", "encoder": "bbbb", "perceptual": "cccc", "data": "ffff"}


@pytest.fixture
def data(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "one.png").write_bytes(b"pixels")
    return DataSet(
        name="my photos",
        resolution=32,
        fingerprint="ffff",
        path=tmp_path / "images",
        splits={"train": ["one.png", "two.png"], "test": ["three.png"]},
        counts={"train": 2, "val": 0, "test": 1},
    )


@pytest.fixture
def weights(tmp_path):
    file = tmp_path / "w.safetensors"
    file.write_bytes(b"weights")
    return [
        Weights("generator", "aaaa", file),
        Weights("encoder", "bbbb", file, run="runid", facts={"nimg": 64}),
    ]


def test_a_data_set_is_its_manifest_its_splits_and_a_reference(data):
    artifact = data_artifact(data)
    assert (artifact.name, artifact.type) == ("data-my_photos-32px", "dataset")
    entries = artifact.manifest.entries
    assert sorted(entries) == ["images/one.png", "manifest.json", "test.txt", "train.txt"]
    assert data.path is not None
    one = entries["images/one.png"]
    assert one.ref == f"{data.path.as_uri()}/one.png" and one.local_path is None  # not uploaded
    kept = {name: Path(entry.local_path) for name, entry in entries.items() if entry.local_path}
    assert kept["train.txt"].read_text() == "one.png\ntwo.png\n"
    assert json.loads(kept["manifest.json"].read_text()) == {
        "fingerprint": "ffff",
        "images": {"test": 1, "train": 2, "val": 0},
        "name": "my photos",
        "resolution": 32,
    }


def test_online_what_other_runs_logged_becomes_an_input(data, weights):
    known = ("encoder-runid:sha-bbbb", "data-my_photos-32px:fingerprint-ffff")
    run = FakeRun(known=known)
    log_inputs(TrackedRun(run), hashes=HASHES, data=data, weights=weights)
    assert run.config["inputs"] == HASHES
    (reference, aliases), *named = run.used
    assert tuple(named) == known
    # No run of this project logged that generator: its file is referred to, not uploaded.
    assert reference.name == "generator-aaaa" and aliases == ["sha-aaaa"]
    entry = reference.manifest.entries["generator.safetensors"]
    assert entry.ref == weights[0].path.as_uri() and entry.local_path is None
    assert run.made == {}


def test_a_data_set_seen_for_the_first_time_is_logged_as_an_input(data):
    run = FakeRun()
    log_inputs(TrackedRun(run), hashes=HASHES, data=data, weights=[])
    ((artifact, aliases),) = run.used
    assert artifact.name == "data-my_photos-32px" and aliases == ["fingerprint-ffff"]


def test_offline_the_hashes_stand_in_the_configuration(data, weights):
    run = FakeRun(offline=True)
    log_inputs(TrackedRun(run), hashes=HASHES, data=data, weights=weights)
    assert run.config["inputs"] == HASHES and run.used == []
    assert run.made["data-my_photos-32px"][1] == ["latest", "fingerprint-ffff"]


def test_names_are_made_of_what_wandb_takes():
    assert plain("data-my photos/é-32px") == "data-my_photos_-32px"
