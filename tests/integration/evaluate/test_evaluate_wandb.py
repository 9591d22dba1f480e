"""``evaluate.py logger=wandb_offline``: what W&B is given, read back from the disk."""

import pytest
import wandb

from idinvert.results.record import read_records
from tests.tracking.fake_wandb import FakeRun
from tests.tracking.wandb_files import artifacts_of, config_of, history, run_of, table_of


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staged"))  # else below the home folder


def logged(outputs, kind="evaluations"):
    return sorted((outputs / kind).glob("wandb/offline-run-*/*.wandb"))


def test_a_reconstruction_has_its_figures_and_each_image(on_run, outputs, world):
    (record,) = on_run("logger=wandb_offline", "logger.wandb.images=2", "logger.wandb.tags=[mine]",
                       "inversion.steps=2")  # fmt: skip
    (path,) = logged(outputs)
    run = run_of(path)
    assert (run.run_id, run.job_type, run.run_group) == (
        f"eval-{record.evaluation}",
        "evaluate",
        "reconstruction",
    )
    assert list(run.tags) == ["mine"]
    assert run.display_name == f"reconstruction_in_domain_faces_mini_{world.run.name}"
    inputs = config_of(path)["inputs"]
    assert inputs == {**record.checkpoints, "data": record.data["fingerprint"]}

    # The figures are those of records.jsonl.
    rows = history(path)
    (stored,) = read_records(outputs / "records.jsonl")
    figures = {f"reconstruction/{name}": value for name, value in stored.metrics.items()}
    assert {name: rows[0][name] for name in figures} == figures and rows[0]["nimg"] == stored.nimg

    lines, files = table_of(path, "per_image")
    assert [line["index"] for line in lines] == list(range(6))
    mean = sum(line["mse"] for line in lines) / 6
    assert mean == pytest.approx(stored.metrics["mse"], rel=1e-4)
    assert all(line["seconds"] > 0 for line in lines)
    shown = [line["inverted"] is not None for line in lines]
    assert shown == [True] * 2 + [False] * 4
    for column in ("target", "encoder", "inverted"):
        assert lines[0][column]["path"] in files
    assert any("reconstruction/reconstructions.path" in row for row in rows)
    assert f"record-{record.evaluation}" in artifacts_of(path)


def test_own_images_leave_their_codes_as_an_artifact(go, outputs, world, tmp_path):
    from PIL import Image

    (tmp_path / "photos").mkdir()
    for shade in (40, 200):
        Image.new("RGB", (16, 16), (shade, 90, 90)).save(tmp_path / "photos" / f"{shade}.png")
    words = (f"run={world.run.name}", "task=invert", f"images={tmp_path / 'photos'}",
             "logger=wandb_offline", "inversion=encoder")  # fmt: skip
    (record,) = go(*words)
    (path,) = logged(outputs)
    names = set(artifacts_of(path))
    assert {f"codes-{record.run}-photos", f"record-{record.evaluation}"} <= names


def test_a_table_is_one_run_and_its_evaluations_are_others(go, outputs):
    go("table=table1_methods", "logger=wandb_offline", "evaluate_missing=false")
    assert logged(outputs) == []
    (path,) = logged(outputs, "tables")
    run = run_of(path)
    assert (run.job_type, run.run_group, list(run.tags)) == (
        "table",
        "table1_methods",
        ["table1_methods"],
    )
    lines, _ = table_of(path, "table")
    assert next(iter(lines[0])) == "method" and len(lines) >= 3
    assert "table-table1_methods.miniature" in artifacts_of(path)


def test_without_wandb_nothing_more_is_written(on_run, outputs):
    on_run("inversion=encoder")
    assert logged(outputs) == [] and not list(outputs.rglob("shown.safetensors"))


def test_online_an_evaluation_names_what_it_stands_on(on_run, outputs, world, monkeypatch):
    runs: list[FakeRun] = []

    def init(**call):
        runs.append(FakeRun())
        runs[-1].config.update(call["config"])
        return runs[-1]

    monkeypatch.setattr(wandb, "login", lambda: True)
    monkeypatch.setattr(wandb, "init", init)
    (record,) = on_run("logger=wandb", "inversion=encoder")
    (run,) = runs
    names = [artifact.name for artifact, _ in run.used]
    assert names == [f"generator-{world.gan.name}", f"encoder-{world.run.name}",
                     "data-faces_mini-16px"]  # fmt: skip
    assert run.config["inputs"]["encoder"] == record.checkpoints["encoder"]
    assert run.ends == [0]


def test_a_server_that_is_gone_at_the_end_costs_no_figure(on_run, outputs, monkeypatch, capsys):
    def refuse(**call):
        raise wandb.errors.CommError("connection refused")

    monkeypatch.setattr(wandb, "login", lambda: True)
    monkeypatch.setattr(wandb, "init", refuse)
    on_run("logger=wandb", "inversion=encoder")
    assert len(read_records(outputs / "records.jsonl")) == 1
    assert "not sent to W&B" in capsys.readouterr().err
