"""metrics.jsonl and metrics.csv: appended as it happens, cut back on resuming, safe to tear."""

import csv
import json

from idinvert.tracking.loggers import CsvLogger, read_rows


def test_rows_are_on_the_disk_as_soon_as_they_are_logged(tmp_path):
    logger = CsvLogger(folder=tmp_path)
    logger.log_metrics({"loss/pixel": 0.5, "nimg": 64}, step=64)
    assert read_rows(tmp_path / "metrics.jsonl") == [{"nimg": 64, "loss/pixel": 0.5}]


def test_the_csv_has_every_column_of_every_row(tmp_path):
    logger = CsvLogger(folder=tmp_path)
    logger.log_metrics({"loss/pixel": 0.5}, step=64)
    logger.log_metrics({"val/mse": 0.25}, step=64)
    logger.finalize("success")
    with open(tmp_path / "metrics.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {"nimg": "64", "loss/pixel": "0.5", "val/mse": ""},
        {"nimg": "64", "loss/pixel": "", "val/mse": "0.25"},
    ]
    assert not list(tmp_path.glob("*.partial"))


def test_a_resumed_run_drops_what_lies_after_its_checkpoint_and_nothing_else(tmp_path):
    first = CsvLogger(folder=tmp_path)
    for nimg in (64, 128, 192):
        first.log_metrics({"x": float(nimg)}, step=nimg)
    again = CsvLogger(folder=tmp_path, resume_nimg=128)
    assert len(read_rows(again.path)) == 3  # not before it has something to say
    again.log_metrics({"x": 1.0}, step=192)
    again.log_metrics({"x": 2.0}, step=256)
    rows = [(row["nimg"], row["x"]) for row in read_rows(again.path)]
    assert rows == [(64, 64.0), (128, 128.0), (192, 1.0), (256, 2.0)]


def test_a_last_line_torn_by_a_kill_is_left_out_and_cut_off_on_resuming(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({"nimg": 64, "x": 1.0}) + '\n{"nimg": 12', encoding="utf-8")
    assert read_rows(path) == [{"nimg": 64, "x": 1.0}]
    CsvLogger(folder=tmp_path, resume_nimg=64).log_metrics({"x": 2.0}, step=128)
    assert [row["nimg"] for row in read_rows(path)] == [64, 128]


def test_a_run_without_rows_has_no_csv(tmp_path):
    CsvLogger(folder=tmp_path).finalize("success")
    assert not (tmp_path / "metrics.csv").exists()
    assert read_rows(tmp_path / "metrics.jsonl") == []
