"""Panels and the status of a run, as files."""

import json
import os
import subprocess
from typing import Any

import numpy as np
import pytest
from PIL import Image

from idinvert.tracking.pictures import log_panel, save_panel
from idinvert.tracking.run_files import read_status, write_status


def test_a_panel_is_a_png_named_by_the_images_seen(tmp_path):
    picture = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    path = save_panel(tmp_path, "reconstructions", picture, nimg=12_800)
    assert path == tmp_path / "panels" / "reconstructions" / "nimg-000012800.png"
    assert np.array_equal(np.asarray(Image.open(path)), picture)


def test_loggers_that_show_pictures_get_them_in_order_and_others_are_passed_over():
    calls: list[dict[str, Any]] = []

    class Shows:
        def log_image(self, **call):
            calls.append(call)

    pictures = {f"image {index}": np.full((2, 2, 3), index, np.uint8) for index in (7, 3)}
    log_panel([object(), Shows()], "reconstructions", pictures, nimg=64)
    (call,) = calls
    assert (call["key"], call["step"], call["caption"]) == (
        "reconstructions",
        64,
        ["image 7", "image 3"],
    )
    assert [image[0, 0, 0] for image in call["images"]] == [7, 3]


@pytest.mark.parametrize("state", ["running", "finished", "stopped", "diverged", "failed"])
def test_the_status_of_a_run_is_read_back(tmp_path, state):
    assert read_status(tmp_path) == {"state": "unknown", "nimg": 0}
    write_status(tmp_path, state=state, nimg=64)
    assert read_status(tmp_path) == {"state": state, "nimg": 64}
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]


def test_a_killed_run_is_not_running(tmp_path):
    write_status(tmp_path, state="running", nimg=64)
    facts = json.loads((tmp_path / "status.json").read_text())
    assert facts["process"] == os.getpid() and facts["host"] and facts["time"].endswith("+00:00")
    gone = subprocess.Popen(["true"])
    gone.wait()
    (tmp_path / "status.json").write_text(json.dumps(facts | {"process": gone.pid}))
    assert read_status(tmp_path) == {"state": "killed", "nimg": 64}
    (tmp_path / "status.json").write_text(json.dumps(facts | {"process": 1}))  # another user's
    assert read_status(tmp_path)["state"] == "running"
    elsewhere = facts | {"process": gone.pid, "host": "another"}
    (tmp_path / "status.json").write_text(json.dumps(elsewhere))
    assert read_status(tmp_path)["state"] == "running"
