"""The weights of the least validation error, and what loggers are handed when training ends."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from idinvert.checkpoints.release import fingerprint, read_header
from idinvert.training.callbacks.weights import RunWeights
from tests.training.tiny import tiny_discriminator, tiny_encoder, tiny_generator


class Keeps:
    """A logger that takes weights."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def log_weights(self, role: str, path: Path, **more: Any) -> None:
        self.calls.append({"role": role, "path": path, **more})


@pytest.fixture
def run(tmp_path):
    """Writes the weights at so many images, validated with this error or not."""
    module = SimpleNamespace(trained_networks={"encoder": tiny_encoder()}, nimg=0)
    trainer: Any = SimpleNamespace(
        is_global_zero=True,
        loggers=[object(), logger := Keeps()],
        strategy=SimpleNamespace(broadcast=lambda found: found),
    )
    folder = tmp_path / "weights"

    def step(nimg, error=None, *, weights=None, fresh=True, damaged=()):
        weights = weights or found.weights
        module.nimg = nimg
        if error is not None:
            weights.judged = nimg, error
        weights.write(trainer, module, fresh=fresh, damaged=set(damaged))
        return weights

    def end():
        found.weights.hand_on(trainer, module)
        return logger.calls

    weights = RunWeights(folder=tmp_path, provenance={"run": "r"})
    found = SimpleNamespace(step=step, end=end, folder=folder, module=module, weights=weights)
    return found


def best(run: Any) -> int:
    return read_header(run.folder / "best" / "encoder.safetensors").provenance["nimg"]


def test_the_least_error_is_kept_also_by_a_process_that_goes_on(run, tmp_path):
    for nimg, error, kept in ((4, 0.5, 4), (8, 0.3, 8), (12, 0.4, 8)):
        run.step(nimg, error)
        assert best(run) == kept
    later = RunWeights(folder=tmp_path, provenance={})
    for nimg, error, kept in ((16, 0.35, 8), (20, float("nan"), 8), (24, None, 8), (28, 0.2, 28)):
        run.step(nimg, error, weights=later)
        assert best(run) == kept


def test_of_older_runs_the_least_error_stands_beside_the_file(run):
    run.step(4, None)
    (run.folder / "best").mkdir()
    (run.folder / "encoder.safetensors").rename(run.folder / "best" / "encoder.safetensors")
    (run.folder / "best" / "val_mse.txt").write_text("0.4\n")
    run.step(8, 0.5)
    assert best(run) == 4
    run.step(12, 0.3)
    assert best(run) == 12


@pytest.mark.parametrize("fault", ["missing", "cut off", "earlier", "damaged", None])
def test_only_what_is_not_as_it_should_be_is_written_again(run, fault):
    run.step(8, 0.3)
    path = run.folder / "encoder.safetensors"
    good, old = path.read_bytes(), path.stat().st_ino
    path.with_name("old").hardlink_to(path)  # so that no other file gets its inode
    if fault == "missing":
        path.unlink()
    elif fault == "cut off":
        path.write_bytes(good[:-1])
    elif fault == "damaged":
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    elif fault == "earlier":
        run.step(4)
    run.step(8, fresh=False, damaged=(path,) if fault == "damaged" else ())
    assert path.read_bytes() == good
    assert (path.stat().st_ino == old) is (fault is None)


def test_damaged_best_weights_are_replaced_and_said(run, capsys):
    run.step(4, 0.1)
    run.step(8, 0.3, damaged=(run.folder / "best" / "encoder.safetensors",))
    assert best(run) == 8
    assert "best/encoder.safetensors is damaged" in capsys.readouterr().out


def test_loggers_get_last_and_best_with_their_hashes(run):
    run.step(4, 0.3)
    run.step(8, 0.5)
    calls = run.end()
    assert [(call["aliases"], call["facts"]["nimg"]) for call in calls] == [
        (["best"], 4),
        (["last"], 8),
    ]
    assert all(call["role"] == "encoder" for call in calls)
    assert [call["sha"] for call in calls] == [fingerprint(call["path"]) for call in calls]


def test_where_the_last_is_the_best_it_is_one_upload(run):
    run.step(4, 0.5)
    run.step(8, 0.3)
    assert [call["aliases"] for call in run.end()] == [["best", "last"]]


def test_a_gan_hands_on_its_networks_as_they_are_last(run):
    run.module.trained_networks = {
        "generator": tiny_generator(),
        "discriminator": tiny_discriminator(),
    }
    run.step(4)
    assert [(call["role"], call["aliases"]) for call in run.end()] == [
        ("generator", ["last"]),
        ("discriminator", ["last"]),
    ]
    assert not (run.folder / "best").exists()
