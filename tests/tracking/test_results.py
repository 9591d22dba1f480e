"""An evaluation in W&B: rows, tables of records and of single images, artifacts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from idinvert.tracking.results import Result, log_results, log_table, per_image_table
from idinvert.tracking.wandb_run import TrackedRun
from tests.tracking.fake_wandb import FakeRun


@pytest.fixture
def folder(tmp_path):
    """Three images in chunks of two; the first two are shown."""
    (tmp_path / "per_image.csv").write_text(
        "index,id,name,mse,loss_start,failed\n"
        "0,70,0070,0.25,1.5,0\n1,71,a,nan,2,0\n2,72,b,0.5,3,1\n"
    )
    (tmp_path / "parts").mkdir()
    for name, seconds in (("part-00000000-00000002", 3.0), ("part-00000002-00000003", 4.0)):
        (tmp_path / "parts" / f"{name}.json").write_text(json.dumps({"seconds": seconds}))
    images = np.arange(3 * 2 * 3 * 4 * 4, dtype=np.uint8).reshape(3, 2, 3, 4, 4)
    names = ("target", "encoder", "inverted")
    save_file(dict(zip(names, images, strict=True)), tmp_path / "shown.safetensors")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "reconstructions.png")
    (tmp_path / "codes.safetensors").write_bytes(b"codes")
    return tmp_path


def record(**more: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "run": "runid",
        "task": "reconstruction",
        "choices": {"inversion": {"name": "in_domain", "steps": 100}},
        "metrics": {"mse": 0.25, "fd_attributes": None},
        "n": 3,
        "nimg": 64,
        "seed": 0,
        "data": {"name": "faces_mini", "fingerprint": "ffff"},
        "checkpoints": {"encoder": "bbbb"},
    }
    return plain | more


def test_single_images_have_their_figures_their_time_and_pictures(folder):
    table = per_image_table(folder, images=1)
    assert table is not None
    columns = ["index", "id", "name", "mse", "loss_start", "failed", "seconds"]
    assert table.columns == [*columns, "target", "encoder", "inverted"]
    first, second, third = table.data
    assert first[:7] == [0, 70, "0070", 0.25, 1.5, 0, 1.5]  # half of the chunk's 3 s
    assert np.isnan(second[3]) and second[6] == 1.5 and third[6] == 4.0
    pixels = np.arange(48, dtype=np.uint8).reshape(3, 4, 4).transpose(1, 2, 0)
    assert np.array_equal(np.asarray(first[7].image), pixels)
    assert second[7:] == third[7:] == [None, None, None]  # beyond logger.wandb.images


def test_a_folder_without_single_images_has_no_such_table(tmp_path):
    assert per_image_table(tmp_path, images=8) is None


def test_a_record_is_a_row_a_line_and_an_artifact(folder):
    run = FakeRun()
    log_results(TrackedRun(run), [Result(record(), folder)], evaluation="12ab", images=2)
    figures, tables, shown = run.rows
    assert figures == {"reconstruction/mse": 0.25, "nimg": 64}  # no NaN
    assert dict(zip(tables["records"].columns, tables["records"].data[0], strict=True)) == {
        "record": 0,
        "task": "reconstruction",
        "inversion": "in_domain",
        "data": "faces_mini",
        "n": 3,
        "run": "runid",
        "nimg": 64,
        "seed": 0,
        "mse": 0.25,
        "fd_attributes": None,
        "choices": '{"inversion": {"name": "in_domain", "steps": 100}}',
    }
    assert sorted(shown) == ["nimg", "per_image", "reconstruction/reconstructions"]
    artifact, _ = run.made["record-12ab"]
    line = Path(artifact.manifest.entries["records.jsonl"].local_path).read_text()
    assert json.loads(line) == record()
    assert list(run.made["codes-runid-faces_mini"][0].manifest.entries) == ["codes.safetensors"]


def test_several_records_are_told_apart_and_curves_are_a_table():
    run = FakeRun()
    both = [record(), record(metrics={"mse": 0.5}, series={"pose/recall": [0.0, 1.0]})]
    log_results(TrackedRun(run), [Result(one, None) for one in both], evaluation="1", images=0)
    assert [(row["record"], row["reconstruction/mse"]) for row in run.rows[:2]] == [
        (0, 0.25),
        (1, 0.5),
    ]
    assert run.rows[2]["series"].data == [[1, "pose/recall", 0, 0.0], [1, "pose/recall", 1, 1.0]]


def test_pictures_without_a_record_are_shown_too(tmp_path):
    folder = tmp_path / "fig02"
    folder.mkdir()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / "pictures.png")
    run = FakeRun()
    log_results(TrackedRun(run), [Result(None, folder)], evaluation="1", images=0)
    assert [sorted(row) for row in run.rows] == [["fig02/pictures", "nimg"]]


def test_a_table_names_its_records_as_inputs_and_keeps_its_files(tmp_path):
    files = [tmp_path / "table1.miniature.md", tmp_path / "table1.miniature.csv"]
    for file in files:
        file.write_text("rows")
    run = FakeRun(known=("record-12ab:latest",))
    log_table(
        TrackedRun(run),
        name="table1.miniature",
        columns=["method", "FID"],
        lines=[["ours", 1.5], ["theirs", None]],
        files=files,
        records={"12ab": record(), "34cd": record()},
    )
    assert run.config["inputs"] == {"records": ["12ab", "34cd"]}
    assert run.used == ["record-12ab:latest"]  # the other was measured without W&B
    assert run.rows[0]["table"].data == [["ours", 1.5], ["theirs", None]]
    kept, _ = run.made["table-table1.miniature"]
    assert sorted(kept.manifest.entries) == [file.name for file in sorted(files)]
