"""Typos are found before any work, and point to the nearest valid name."""

import pytest

from idinvert.config.compose import compose_plain, expand_sweep
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
    ],
)
def test_a_typo_names_the_nearest_valid_name(override: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"'{hint}'"):
        compose_plain("train", [override])


def test_a_wrong_type_is_refused() -> None:
    with pytest.raises(ConfigError, match="many"):
        compose_plain("train", ["seed=many"])


def test_an_added_key_that_the_target_does_not_take_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"objective\.gamma is not a parameter.*'r1_gamma'"):
        compose_plain("train", ["+objective.gamma=3"])


def test_a_missing_value_is_named() -> None:
    with pytest.raises(ConfigError, match=r"data\.path"):
        compose_plain("train", ["data=folder"])


def test_sweeps_expand_to_every_combination() -> None:
    combinations = expand_sweep(["seed=1,2", "encoder.backbone.variant=v1,v2", "nimg=64"])
    assert len(combinations) == 4
    assert ["seed=2", "encoder.backbone.variant=v1", "nimg=64"] in combinations


def test_the_command_line_wins_over_the_experiment() -> None:
    config = compose_plain("train", ["experiment=domain_guided", "objective=authors_code"])
    assert config["objective"]["lambda_adv"] == 0.08
    assert config["objective"]["refresh_fakes"] is True
