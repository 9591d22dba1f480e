"""Typos are found before any work, and point to the nearest valid name."""

import re

import pytest

from idinvert.config.compose import compose_plain, expand_sweep
from idinvert.config.other_projects import dotted, nearest_key
from idinvert.errors import ConfigError


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("sede=3", "seed"),
        ("objective.lambda_avd=0.2", "objective.lambda_adv"),
        ("checkpoint.every_nimgs=5", "checkpoint.every_nimg"),
        ("objective=papper", "paper"),
        ("experiment=domain_guidet", "domain_guided"),
        ("encoder.backbone.varient=v1", "encoder.backbone.variant"),
        ("lrr=3", "objective.lr"),
        ("+lrr=3", "objective.lr"),
        ("optim.lrr=3", "objective.lr"),
        ("objective_lr=3", "objective.lr"),
        ("keeps=1", "checkpoint.keep"),
        ("trainer.device=2", "trainer.devices"),
        ("dataa.name=x", "data"),
    ],
)
def test_a_typo_names_the_nearest_valid_name(override, hint):
    with pytest.raises(ConfigError, match=f"'{hint}'"):
        compose_plain("train", [override])


@pytest.mark.parametrize("program", ["train", "evaluate"])
def test_every_key_is_found_by_its_last_part_with_a_sign_too_many(program):
    keys = dotted(compose_plain(program, []))
    for key in keys:
        group, _, last = key.rpartition(".")
        if last.startswith("_"):
            continue
        for typed in (f"{key}x", f"{last}x") if group else (f"{key}x",):
            said = re.fullmatch(r"Did you mean '(.*)'\?", nearest_key(typed, keys))
            assert said, (typed, key)
            found = said[1].rpartition(".")[2]
            assert last in found or last.endswith(found), (typed, said[1])


@pytest.mark.parametrize(
    ("program", "word", "said"),
    [
        ("train", "foo=1", "Known here: accumulate, "),
        ("train", "objective.foo=1", "Known here: adversarial, betas, "),
        ("train", "experiment=xyz", "Known here: attributes, "),
        ("train", "objective=domain_guided", "There is experiment=domain_guided."),
        ("train", "n=4", "is a choice of evaluate.py."),
        ("train", "inversion=encoder", "is a choice of evaluate.py."),
        ("evaluate", "nimg=4", "is a choice of train.py."),
        ("evaluate", "images.path=x", "images has no keys here, and is set as images=…"),
        ("evaluate", "task.alpha=1", "task has no keys here, and is set as task=…"),
        ("evaluate", "task.out=x", "There is task.out with task=control or diffusion or"),
        ("evaluate", "foo.bar.baz=1", "Known here: attributes, "),
        ("evaluate", "inversion=paper", "There is objective=paper."),
    ],
)
def test_what_is_like_nothing_is_answered_within_a_few_lines(program, word, said):
    with pytest.raises(ConfigError) as caught:
        compose_plain(program, [word])
    assert said in str(caught.value) and len(str(caught.value)) < 4 * 80


def test_a_wrong_type_is_refused():
    with pytest.raises(ConfigError, match="many"):
        compose_plain("train", ["seed=many"])


def test_an_added_key_that_the_target_does_not_take_is_refused():
    with pytest.raises(ConfigError, match=r"objective\.gamma is not a parameter.*'r1_gamma'"):
        compose_plain("train", ["+objective.gamma=3"])


def test_a_missing_value_is_named():
    with pytest.raises(ConfigError, match=r"data\.path"):
        compose_plain("train", ["data=folder"])


def test_sweeps_expand_to_every_combination():
    combinations = expand_sweep(["seed=1,2", "encoder.backbone.variant=v1,v2", "nimg=64"])
    assert len(combinations) == 4
    assert ["seed=2", "encoder.backbone.variant=v1", "nimg=64"] in combinations


def test_the_command_line_wins_over_the_experiment():
    config = compose_plain("train", ["experiment=domain_guided", "objective=authors_code"])
    assert config["objective"]["lambda_adv"] == 0.08
    assert config["objective"]["refresh_fakes"] is True
