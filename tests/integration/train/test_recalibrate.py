"""What a run validates and gives away: E with statistics estimated anew; training never knows."""

from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from idinvert.checkpoints.release import load_network, read_header
from idinvert.cli.assemble import assemble
from idinvert.cli.evaluate import evaluate
from idinvert.config.compose import compose_plain
from idinvert.data.convert import to_float
from idinvert.data.datamodule import permutation
from idinvert.errors import ConfigError

from .runs import newest, rows_of, same_checkpoints

ENCODERS = {
    "domain_guided": [],
    "conventional": [],
    "e4e": ["objective.delta_start=8", "objective.delta_every=8"],
    "force_in_domain": [],
}
LENGTH = ("nimg=32",)  # validated and saved at 16 and at 32


@pytest.fixture(autouse=True)
def unjudged(monkeypatch):
    """After eight steps E is worse than the mean image: a run of a few steps has not diverged."""
    monkeypatch.setattr("idinvert.cli.train.JUDGED_BY", ())


BEFORE, NOW = "recalibrate=0", "recalibrate=40"


@pytest.mark.parametrize("experiment", ENCODERS)
def test_training_goes_on_as_if_nobody_had_looked(once, experiment):
    more = (*LENGTH, *ENCODERS[experiment])
    plain, folder = once(experiment, *more, BEFORE), once(experiment, *more, NOW)
    assert folder.name != plain.name
    same_checkpoints(plain, folder, validations=False)
    trained, validated = (
        [
            [{k: v for k, v in row.items() if k.startswith("val/") is val} for row in rows_of(f)]
            for f in (plain, folder)
        ]
        for val in (False, True)
    )
    assert trained[0] == trained[1] and validated[0] != validated[1]
    weights = [load_file(f / "weights" / "encoder.safetensors") for f in (plain, folder)]
    state = newest(folder)["state_dict"]
    assert any("running" in name for name in weights[0])
    for name, value in weights[0].items():
        assert torch.equal(value, state[f"encoder.{name}"])
        assert torch.equal(value, weights[1][name]) is ("running" not in name), name
    headers = [read_header(f / "weights" / "encoder.safetensors") for f in (plain, folder)]
    assert [h.provenance.get("recalibrated") for h in headers] == [None, {"images": 40}]


def test_the_weights_have_the_statistics_of_their_images_and_are_those_that_are_validated(
    once, overrides
):
    more = (*LENGTH, NOW)
    folder = once("domain_guided", *more)
    parts = assemble(compose_plain("train", list(overrides("domain_guided", *more))))
    encoder: Any = load_network(folder / "weights" / "encoder.safetensors", key="FILE")
    order = permutation(64, seed=0, epoch=0)[:40]
    x = to_float(torch.stack([parts.domain.train[int(i)]["image"] for i in order]))
    stem = torch.nn.functional.leaky_relu(encoder.backbone.stem.conv(x), 0.2).detach()
    norm = encoder.backbone.stem.norm
    torch.testing.assert_close(norm.running_mean, stem.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, stem.var((0, 2, 3), unbiased=True))

    val = to_float(torch.stack([parts.domain.val[i]["image"] for i in range(8)]))
    generator = parts.module.generator

    def error(network):
        with torch.no_grad():
            y = generator.synthesis(network.eval()(val), noise="const").clamp(-1, 1)
        return float(((val - y) ** 2).mean())

    rows = [row for row in rows_of(folder) if "val/mse" in row]
    assert [row["nimg"] for row in rows] == [16, 32]
    assert rows[-1]["val/mse"] == pytest.approx(error(encoder), rel=1e-5)
    best = load_network(folder / "weights" / "best" / "encoder.safetensors", key="FILE")
    assert min(row["val/mse"] for row in rows) == pytest.approx(error(best), rel=1e-5)


def test_a_conventional_encoder_has_those_of_its_own_synthetic_images(once, overrides):
    more = (*LENGTH, NOW)
    folder = once("conventional", *more)
    encoder: Any = load_network(folder / "weights" / "encoder.safetensors", key="FILE")
    parts = assemble(compose_plain("train", list(overrides("conventional", *more))))
    order = permutation(64, seed=0, epoch=0)[:40]
    ids = torch.tensor([parts.domain.train[int(i)]["id"] for i in order])
    images = parts.module.synthetic_images(ids)
    stem = torch.nn.functional.leaky_relu(encoder.backbone.stem.conv(images), 0.2)
    torch.testing.assert_close(encoder.backbone.stem.norm.running_mean, stem.mean((0, 2, 3)))


def test_the_task_gives_weights_of_before_what_training_gives_them_now(once, tmp_path):
    plain, now = (once("domain_guided", *LENGTH, word) for word in (BEFORE, NOW))
    words = ["task=recalibrate", "task.images=40", f"system.outputs={tmp_path / 'out'}"]
    config = compose_plain("evaluate", [*words, f"run={plain}"])
    assert evaluate(config, given={}) == []
    (made,) = (tmp_path / "out").glob("evaluations/*/recalibrated/encoder.safetensors")
    ours, theirs = load_file(made), load_file(now / "weights" / "encoder.safetensors")
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=0, msg=name)
    facts = read_header(made).provenance
    assert facts["run"] == plain.name and facts["recalibrated"]["images"] == 40


def test_what_cannot_be_recalibrated_is_refused(train_tiny, once, tmp_path):
    with pytest.raises(ConfigError, match=r"recalibrate=1.*2 or more"):
        train_tiny("domain_guided", "recalibrate=1")

    def task(run, *words):
        place = f"system.outputs={tmp_path / 'out'}"
        config = compose_plain("evaluate", ["task=recalibrate", f"run={run}", place, *words])
        keys = {word.split(".")[0]: [word.split("=")[0]] for word in words}
        evaluate(config, given=keys)

    run = once("domain_guided", *LENGTH, BEFORE)
    with pytest.raises(ConfigError, match=r"task\.images=1"):
        task(run, "task.images=1")
    with pytest.raises(ConfigError, match=r"learned from faces_mini .* other images"):
        task(run, "data.train=32")
    without = train_tiny("domain_guided", "nimg=8", "encoder.backbone.norm=none")
    with pytest.raises(ConfigError, match=r"no BatchNorm"):
        task(without)
    with pytest.raises(ConfigError, match=r"synthetic images"):
        task(once("conventional", *LENGTH, BEFORE))
