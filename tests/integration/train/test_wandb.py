"""W&B without a network: two runs in one process, read back from what they left on the disk."""

import json
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb.proto import wandb_internal_pb2

BLOCK, HEADER = 32768, 7
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(path: Path) -> list[Any]:
    """The records of a run that has ended; W&B's own process writes the last a moment later."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = list(written(path))
        if any(record.WhichOneof("record_type") == "exit" for record in found):
            return found
        time.sleep(0.01)
    raise AssertionError(f"{path} was not ended")


def written(path: Path) -> Iterator[Any]:
    """The records so far of a ``.wandb`` file: a LevelDB log (crc, length, kind; 32 KiB blocks)."""
    data, position, parts = path.read_bytes(), HEADER, b""
    assert data.startswith(b":W&B")
    while position + 7 <= len(data):
        left = BLOCK - position % BLOCK
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        body = data[position + 7 : position + 7 + length]
        position += 7 + length
        parts = body if kind in (WHOLE, FIRST) else parts + body
        if kind in (WHOLE, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record


def history(path: Path) -> list[dict[str, Any]]:
    """The logged rows; of pictures, the captions."""
    rows = []
    for record in records(path):
        if record.WhichOneof("record_type") == "history":
            items = {".".join(i.nested_key) or i.key: i.value_json for i in record.history.item}
            rows.append({name: json.loads(value) for name, value in items.items()})
    return rows


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")


def test_two_runs_in_one_process_are_two_runs_with_images_seen_as_their_axis(
    train_tiny: Callable[..., Path], quiet: None
) -> None:
    more = ("nimg=24", "logger=wandb_offline", "logging.panel_every_nimg=16")
    folders = [train_tiny("domain_guided", f"seed={seed}", *more) for seed in (0, 1)]
    assert folders[0] != folders[1]
    for seed, folder in enumerate(folders):
        (path,) = folder.glob("wandb/offline-run-*/*.wandb")
        run = next(r.run for r in records(path) if r.WhichOneof("record_type") == "run")
        assert (run.run_id, run.project, run.run_group, run.job_type) == (
            folder.name,
            "idinvert",
            "domain_guided",
            "train",
        )
        config = {update.key: json.loads(update.value_json) for update in run.config.update}
        assert config["seed"] == seed and config["objective"]["lambda_adv"] == 0.1
        axes = {
            record.metric.glob_name or record.metric.name: record.metric.step_metric
            for record in records(path)
            if record.WhichOneof("record_type") == "metric"
        }
        assert axes["*"] == "nimg"
        rows = history(path)
        assert [row["nimg"] for row in rows if "loss/pixel" in row] == [12, 24]
        assert [row["nimg"] for row in rows if "val/mse" in row] == [16, 24]
        assert not any("global_step" in name for row in rows for name in row)
        panels = [row for row in rows if "reconstructions.captions" in row]
        assert [row["nimg"] for row in panels] == [16, 24]
        captions = [row["reconstructions.captions"] for row in panels]
        assert captions[0] == captions[1] == [f"image {80 + index}" for index in range(8)]
        pictures = list((path.parent / "files" / "media" / "images").glob("reconstructions_*.png"))
        assert len(pictures) == 16


def test_a_run_that_goes_on_keeps_its_id(train_tiny: Callable[..., Path], quiet: None) -> None:
    for nimg in (12, 24):
        folder = train_tiny("attributes", f"nimg={nimg}", "logger=wandb_offline")
    files = sorted(folder.glob("wandb/offline-run-*/*.wandb"))
    ids = {
        record.run.run_id for file in files for record in records(file) if record.HasField("run")
    }
    assert ids == {folder.name}
    rows = [row["nimg"] for file in files for row in history(file) if "loss/total" in row]
    assert sorted(rows) == [12, 24]


def test_a_failed_run_is_ended_as_failed(
    train_tiny: Callable[..., Path], quiet: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from idinvert.training.attributes import AttributeTraining

    def broken(self: Any, batch: Any, batch_idx: int) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(AttributeTraining, "training_step", broken)
    with pytest.raises(RuntimeError, match="broken"):
        train_tiny("attributes", "logger=wandb_offline")
    (path,) = tmp_path.rglob("*.wandb")
    (end,) = [r.exit for r in records(path) if r.WhichOneof("record_type") == "exit"]
    assert end.exit_code == 1
