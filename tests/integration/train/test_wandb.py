"""W&B without a network: runs in one process, read back from what they left on the disk."""

import os
from pathlib import Path

import pytest
import wandb

from idinvert.checkpoints.release import fingerprint
from idinvert.errors import ConfigError, IdinvertError
from idinvert.tracking.loggers import read_rows
from tests.tracking.wandb_files import artifacts_of, config_of, history, numbers, records, run_of

from .runs import same_checkpoints

PANELS = ("reconstructions", "inversion", "interpolation", "diffusion")


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staged"))  # else below the home folder


def logged(folder: Path) -> list[Path]:
    """The W&B files of a run's folder, in the order in which they were begun."""
    return sorted(folder.glob("wandb/offline-run-*/*.wandb"))


def test_runs_of_one_process_are_kept_apart_with_one_without_wandb_between(train_tiny, monkeypatch):
    # What an earlier program of this shell may have left; the command's own words win.
    for name, value in (("WANDB_MODE", "disabled"), ("WANDB_RUN_ID", "another"),
                        ("WANDB_RUN_GROUP", "another"), ("WANDB_NAME", "another")):  # fmt: skip
        monkeypatch.setenv(name, value)
    before = {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}
    more = ("nimg=24", "logging.panel_every_nimg=16", "logging.panel_steps=2")
    loggers = ("wandb_offline", "csv", "wandb_offline")
    folders = [
        train_tiny("domain_guided", f"seed={seed}", f"logger={logger}", *more)
        for seed, logger in enumerate(loggers)
    ]
    assert wandb.run is None and len(set(folders)) == 3
    after = {name: os.environ[name] for name in before}
    assert after == before
    assert not (folders[1] / "wandb").exists()
    for seed in (0, 2):
        (path,) = logged(folders[seed])
        run = run_of(path)
        assert (run.run_id, run.project, run.run_group, run.job_type) == (
            folders[seed].name,
            "idinvert",
            "domain_guided",
            "train",
        )
        assert run.display_name == f"domain_guided_base_faces_mini_seed{seed}"
        config = config_of(path)
        assert config["seed"] == seed and config["objective"]["lambda_adv"] == 0.1
        assert set(config["inputs"]) == {"data", "generator", "discriminator", "perceptual"}
        axes = {
            record.metric.glob_name or record.metric.name: record.metric.step_metric
            for record in records(path)
            if record.WhichOneof("record_type") == "metric"
        }
        assert axes["*"] == "nimg"
        rows = history(path)
        assert not any("global_step" in name for row in rows for name in row)
        # Those without W&B have the same figures.
        assert numbers(rows) == read_rows(folders[seed] / "metrics.jsonl")
        assert [row["nimg"] for row in rows if "loss/pixel" in row] == [12, 24]


def test_panels_are_one_key_each_with_fixed_ids_at_every_step(train_tiny, capsys):
    more = ("nimg=24", "logging.panel_every_nimg=16", "logging.panel_steps=2")
    folder = train_tiny("domain_guided", "logger=wandb_offline", "logging.panel_images=3", *more)
    assert capsys.readouterr().out.count("no panel of manipulation: there are no edit") == 1
    (path,) = logged(folder)
    rows = history(path)
    ids = ["image 80", "image 81", "image 82"]
    expected = {
        "reconstructions": ids,
        "inversion": ids,
        "interpolation": ["image 80 to image 81"],
        "diffusion": ["image 80 into image 81", "image 81 into image 82"],
    }
    for key in PANELS:
        shown = [row for row in rows if f"{key}.captions" in row]
        assert [row["nimg"] for row in shown] == [16, 24]
        assert all(row[f"{key}.captions"] == expected[key] for row in shown)
        media = list((path.parent / "files" / "media" / "images").glob(f"{key}_*.png"))
        assert len(media) == 2 * len(expected[key])
        copies = sorted(file.name for file in (folder / "panels" / key).iterdir())
        assert copies == ["nimg-000000016.png", "nimg-000000024.png"]


def test_panels_change_nothing_of_a_training(train_tiny):
    more = ("nimg=24", "logging.panel_every_nimg=8")
    with_them = train_tiny("domain_guided", "logging.panel_steps=2", *more, where="with")
    without = train_tiny("domain_guided", "logging.panel_steps=null", *more, where="without")
    assert with_them.name == without.name
    assert [path.name for path in (without / "panels").iterdir()] == ["reconstructions"]
    same_checkpoints(with_them, without)


def test_weights_and_the_data_sets_manifest_are_artifacts(train_tiny):
    folder = train_tiny("domain_guided", "logger=wandb_offline", "logging.panel_steps=null")
    found = artifacts_of(logged(folder)[0])
    assert set(found) == {f"encoder-{folder.name}", "data-faces_mini-8px"}
    weights = found[f"encoder-{folder.name}"]
    sha = fingerprint(folder / "weights" / "encoder.safetensors")
    assert f"sha-{sha}" in weights.aliases and {"latest", "last"} <= set(weights.aliases)


def test_an_offline_run_that_goes_on_keeps_id_name_and_group(train_tiny):
    one = train_tiny("attributes", "nimg=12", "logger=wandb_offline", "logger.wandb.group=first")
    folder = train_tiny("attributes", "nimg=24", "logger=wandb_offline")
    assert folder == one
    files = logged(folder)
    runs = [run_of(file) for file in files]
    assert [run.run_id for run in runs] == [folder.name] * 2
    assert [run.run_group for run in runs] == ["first"] * 2
    assert runs[0].display_name == runs[1].display_name
    rows = [[row["nimg"] for row in numbers(history(file))] for file in files]
    assert set(rows[0]) == {12} and rows[1][-1] == 24 and min(rows[1]) > 12
    both = [row for file in files for row in numbers(history(file))]
    assert both == read_rows(folder / "metrics.jsonl")


def test_a_failed_run_is_ended_as_failed(train_tiny, monkeypatch, tmp_path):
    from idinvert.training.attributes import AttributeTraining

    def broken(self, batch, batch_idx):
        raise RuntimeError("broken")

    monkeypatch.setattr(AttributeTraining, "training_step", broken)
    with pytest.raises(RuntimeError, match="broken"):
        train_tiny("attributes", "logger=wandb_offline")
    (path,) = tmp_path.rglob("*.wandb")
    (end,) = [r.exit for r in records(path) if r.WhichOneof("record_type") == "exit"]
    assert end.exit_code == 1


def test_a_trainer_that_cannot_be_built_leaves_no_open_run(train_tiny, tmp_path):
    with pytest.raises((IdinvertError, Exception)):
        train_tiny("attributes", "logger=wandb_offline", "trainer.precision=17-odd")
    assert not list(tmp_path.rglob("*.wandb"))


def test_without_an_account_nothing_is_begun(train_tiny, monkeypatch, tmp_path):
    def nobody():
        raise wandb.errors.UsageError("No API key configured. Use `wandb login` to log in.")

    monkeypatch.setattr(wandb, "login", nobody)
    with pytest.raises(ConfigError, match="logger=wandb_offline"):
        train_tiny("attributes", "logger=wandb", where="nothing")
    assert not (tmp_path / "nothing").exists()


def test_a_service_that_dies_costs_no_checkpoint(train_tiny, monkeypatch, capsys):
    def gone(self, *args, **kwargs):
        raise BrokenPipeError("the service has gone")

    monkeypatch.setattr(wandb.Run, "log", gone)
    folder = train_tiny("attributes", "nimg=24", "logger=wandb_offline")
    assert (folder / "checkpoints" / "nimg-000000024.ckpt").is_file()
    assert [row["nimg"] for row in read_rows(folder / "metrics.jsonl")][-1] == 24
    assert "W&B failed (BrokenPipeError: the service has gone)" in capsys.readouterr().err
