"""Whole runs of experiment=gan with augmentation, path lengths and micro-batches."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from idinvert.checkpoints.release import read_header
from idinvert.cli.assemble import assemble
from idinvert.config.compose import compose_plain
from idinvert.config.identity import run_identity, scientific_config
from idinvert.errors import ConfigError
from idinvert.tracking.run_files import read_status

from .runs import FORKED, NO_MBSTD, assert_close, newest, rows_of, same_checkpoints

BOTH = ["augment=ada", "augment.ramp_nimg=100", "augment.target=-0.5", "augment.every=3"]
BOTH += ["augment.p=0.4", "objective.path_length_every=2"]
STYLEGAN = ["generator=stylegan", "discriminator=stylegan"]


def identity(*words: str, without: Callable[[dict[str, Any]], None] | None = None) -> str:
    config = compose_plain("train", ["experiment=gan", *words])
    if without is not None:
        without(config)
    return run_identity(
        scientific_config(config, contents={"data": "d" * 16}, batch_norm_group=None)
    )


def test_runs_from_before_there_was_either_keep_their_identity():
    def as_before(config):
        del config["augment"]
        for key in [key for key in config["objective"] if key.startswith("path_length")]:
            del config["objective"][key]

    before = identity(without=as_before)
    for same in ([], ["augment=none"], ["objective.path_length_weight=3"], ["accumulate=2"]):
        assert identity(*same) == before, same
    others = [
        ["augment=ada"],
        ["augment=ada", "augment.target=0.5"],
        ["augment=fixed"],
        ["objective.path_length_every=4"],
        ["objective.path_length_every=4", "objective.path_length_weight=3"],
    ]
    assert len({before, *(identity(*words) for words in others)}) == 1 + len(others)


@pytest.mark.parametrize("more", [[], STYLEGAN, ["generator.multi_w=true"]], ids="+".join)
def test_both_train_and_leave_their_figures_and_their_state(train_tiny, more):
    folder = train_tiny("gan", *BOTH, *more, "nimg=24")
    assert read_status(folder) == {"state": "finished", "nimg": 24}
    rows = rows_of(folder)
    assert {"augment/p", "augment/sign", "loss/path_length", "path_length"} < set(rows[-1])
    state = newest(folder)["state_dict"]
    assert 0 < state["augment._extra_state"]["p"] < 1
    assert state["path_length._extra_state"]["mean"] > 0
    assert not any("augmenter" in name for name in state)
    choices = read_header(folder / "weights" / "generator.safetensors").provenance["choices"]
    assert choices["augment"]["name"] == "AdaptiveAugment" and choices["augment"]["every"] == 3
    assert choices["objective"]["path_length_every"] == 2


def test_stopped_in_the_middle_of_a_window_and_gone_on_with_equals_unbroken(train_tiny):
    unbroken = train_tiny("gan", "nimg=72", *BOTH, where="unbroken")
    for nimg in (20, 48, 72):
        broken = train_tiny("gan", f"nimg={nimg}", *BOTH, where="broken")
    assert broken.name == unbroken.name
    same_checkpoints(unbroken, broken)
    assert rows_of(unbroken) == rows_of(broken, stopped_at=[20])
    assert len({row["augment/p"] for row in rows_of(unbroken) if "augment/p" in row}) > 1


def test_an_encoder_stands_on_such_a_run(train_tiny):
    folder = train_tiny("gan", *BOTH, where="gan")
    encoder = train_tiny("domain_guided", f"generator.path={folder}", "data.val=0")
    assert read_status(encoder)["state"] == "finished"


def test_a_trained_gan_is_trained_further(train_tiny, overrides, bundle):
    words = ["generator=checkpoint", f"generator.path={bundle['multi_w']}"]
    words += ["discriminator=of_generator", "seed=9"]
    parts = assemble(compose_plain("train", overrides("gan", *words)))
    folder = train_tiny("gan", *words)
    for name, began in parts.module.trained_networks.items():
        start = load_file(bundle["multi_w"] / "weights" / f"{name}.safetensors")
        end = load_file(folder / "weights" / f"{name}.safetensors")
        assert start.keys() == end.keys()
        assert all(torch.equal(began.state_dict()[key], value) for key, value in start.items())
        assert any(not torch.equal(end[key], value) for key, value in start.items())
    again = train_tiny("gan", *words, where="again")
    same_checkpoints(folder, again)
    assert folder.name != train_tiny("gan", "seed=9", "generator.multi_w=true").name


def test_a_new_discriminator_for_a_trained_generator_is_pointed_out(overrides, bundle):
    words = ["generator=checkpoint", f"generator.path={bundle['generator']}"]
    with pytest.warns(UserWarning, match="D starts untrained beside the trained G"):
        assemble(compose_plain("train", overrides("gan", *words)))


def test_half_precision_trains(train_tiny):
    more = ["augment=fixed", "augment.p=0.8", "objective.path_length_every=1"]
    folder = train_tiny("gan", *more, "trainer.precision=bf16-mixed")
    assert read_status(folder)["state"] == "finished"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["augment=adda"], r"no such augment\. Did you mean 'ada'"),
        (["augment=ada", "augment.rampnimg=3"], r"no such key.*augment\.ramp_nimg"),
        (["augment=ada", "augment.p=2"], r"augment\.p=2, expected at most 1"),
        (["augment=ada", "augment.every=often"], r"augment\.every=often"),
        (["objective.path_length_every=x"], r"objective\.path_length_every=x"),
        (["discriminator=of_generator"], r"discriminator\.init=generator .* this generator is new"),
        (["experiment=domain_guided", "augment=ada"], r"augment: .*belongs to experiment=gan"),
    ],
)
def test_what_is_wrong_is_refused_before_any_work(overrides, words, message):
    experiment = "gan"
    if words[0].startswith("experiment="):
        experiment, words = words[0].removeprefix("experiment="), words[1:]
    with pytest.raises(ConfigError, match=message):
        assemble(compose_plain("train", overrides(experiment, *words)))


TWO = [*BOTH, *FORKED, "batch_size=8", "data.val=0"]


def test_two_ranks_stopped_and_gone_on_with_equal_unbroken(train_tiny):
    train_tiny("gan", *TWO, "nimg=24", where="broken")
    whole, broken = (train_tiny("gan", *TWO, "nimg=40", where=w) for w in ("whole", "broken"))
    same_checkpoints(whole, broken)
    assert newest(whole)["state_dict"]["augment._extra_state"]["p"] != 0.4


def test_two_ranks_take_a_step_in_parts(train_tiny):
    exact = [*TWO, "trainer.precision=64-true", NO_MBSTD[1], "nimg=32"]
    whole = train_tiny("gan", *exact, where="whole")
    parts = train_tiny("gan", *exact, "accumulate=2", where="parts")
    assert whole.name == parts.name
    assert_close(whole, parts, atol=1e-9)
    assert newest(whole)["state_dict"]["augment._extra_state"]["p"] != 0.4
