"""Opening a W&B run, its failures, what goes through the logger; with a stand-in for the run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import wandb

from idinvert.errors import ConfigError
from idinvert.tracking.loggers import NimgWandbLogger
from idinvert.tracking.wandb_run import TrackedRun, open_wandb, require_account
from tests.tracking.fake_wandb import FakeRun

WHAT: dict[str, Any] = dict(
    run_id="abcdefghij",
    config={"seed": 1},
    project="p",
    group="g" * 200,
    job_type="train",
    name="n",
    tags=["table1", "table1", "t" * 90],
    timeout=7.0,
)


def opened(
    monkeypatch: pytest.MonkeyPatch, folder: Path, *, offline: bool = False
) -> tuple[TrackedRun, dict[str, Any]]:
    calls: list[dict[str, Any]] = []
    run = FakeRun(offline=offline)
    monkeypatch.setattr(wandb, "init", lambda **call: calls.append(call) or run)
    return open_wandb(folder=folder, offline=offline, **WHAT), calls[0]


def test_a_run_goes_on_under_its_own_id_and_touches_no_other(monkeypatch, tmp_path):
    tracked, call = opened(monkeypatch, tmp_path / "new")
    assert (call["id"], call["resume"], call["mode"]) == ("abcdefghij", "allow", "online")
    assert call["reinit"] == "create_new"  # neither takes over an open run nor ends it
    assert call["tags"] == ["table1", "t" * 64] and call["group"] == "g" * 128
    assert call["settings"].init_timeout == 7
    assert tracked.run.metrics == [("nimg", None), ("*", "nimg")]
    assert tracked.online
    assert opened(monkeypatch, tmp_path, offline=True)[1]["mode"] == "offline"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (wandb.errors.UsageError("No API key configured. Use `wandb login`."), "wandb login"),
        (wandb.errors.CommError("deadline exceeded\nwhile retrying"), "network"),
        (ValueError("1 validation error for Settings"), "logger.wandb"),
    ],
)
def test_without_key_or_network_the_error_names_the_logger_that_needs_none(
    error, words, monkeypatch, tmp_path
):
    def refuse(**call):
        raise error

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(ConfigError, match="logger=wandb_offline") as caught:
        open_wandb(folder=tmp_path, offline=False, **WHAT)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_account_is_noticed_before_any_work(monkeypatch):
    def nobody():
        raise wandb.errors.UsageError("No API key configured.")

    monkeypatch.setattr(wandb, "login", nobody)
    with pytest.raises(ConfigError, match=r"WANDB_API_KEY.*logger=wandb_offline"):
        require_account()


def test_when_wandb_fails_the_work_goes_on_and_it_is_told_once(capsys):
    run = FakeRun(broken=("log", "finish"))
    logger = NimgWandbLogger(TrackedRun(run))
    for nimg in (64, 128):
        logger.log_metrics({"x": 1.0}, step=nimg)
        logger.log_image("panel", [np.zeros((2, 2, 3), np.uint8)], step=nimg, caption=["image 1"])
    logger.finalize("success")
    logger.finalize("success")  # Lightning and the program both do
    said = capsys.readouterr().err
    assert said.count("log: the service is gone); the work continues.") == 1
    assert "W&B has not got all of this: ConnectionError: log" in said
    assert run.ends == [0]


def test_an_artifact_that_wandb_refuses_does_not_stop_the_rows(tmp_path, capsys):
    run = FakeRun(broken=("log_artifact",))
    logger = NimgWandbLogger(TrackedRun(run))
    (tmp_path / "e.safetensors").write_bytes(b"weights")
    logger.log_weights("encoder", tmp_path / "e.safetensors", aliases=["last"], sha="1f", facts={})
    logger.log_metrics({"x": 1.0}, step=64)
    assert "the service is gone" in capsys.readouterr().err
    assert run.rows == [{"x": 1.0, "nimg": 64}]


def test_rows_carry_nimg_and_pictures_their_captions():
    run = FakeRun()
    logger = NimgWandbLogger(TrackedRun(run))
    logger.log_metrics({"loss": torch.tensor(2.0), "nimg": 3}, step=64)
    pictures = [np.full((2, 2, 3), value, np.uint8) for value in (1, 2)]
    logger.log_image("inversion", pictures, step=64, caption=["image 7", "image 3"])
    assert run.rows[0]["nimg"] == 64 and float(run.rows[0]["loss"]) == 2.0
    shown = run.rows[1]["inversion"]
    assert [image._caption for image in shown] == ["image 7", "image 3"]
    assert run.rows[1]["nimg"] == 64


def test_weights_are_an_artifact_of_the_run_with_their_hash_as_an_alias(tmp_path):
    run = FakeRun()
    path = tmp_path / "encoder.safetensors"
    path.write_bytes(b"weights")
    kept, none = TrackedRun(run), TrackedRun(FakeRun(), uploads=False)
    for tracked in (kept, none):
        NimgWandbLogger(tracked).log_weights(
            "encoder", path, aliases=["best", "last"], sha="1f2e", facts={"nimg": 64}
        )
    artifact, aliases = run.made["encoder-run"]
    assert aliases == ["latest", "best", "last", "sha-1f2e"]
    assert artifact.type == "weights" and artifact.metadata == {"nimg": 64}
    assert list(artifact.manifest.entries) == ["encoder.safetensors"]
    assert none.run.made == {}


def test_a_failed_run_ends_as_one():
    run = FakeRun()
    NimgWandbLogger(TrackedRun(run)).finalize("diverged")
    assert run.ends == [1]
