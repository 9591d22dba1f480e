"""A row of a table takes no record that differs from its commands in a single choice."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from idinvert.cli.expected import expected_choices
from idinvert.config.compose import compose_plain, config_dir
from idinvert.errors import ConfigError
from idinvert.results.record import Record, from_dict, to_dict
from idinvert.results.render import described, filled
from idinvert.results.select import Default, failures, leaves
from idinvert.results.spec import ANY, FREE, with_defaults
from tests.results.synthetic import record_for

NAMES = sorted(path.stem for path in (config_dir() / "table").glob("*.yaml"))
MAY_DIFFER = {
    "run": "names what the choices made",
    "n": "the table says how many images, and cautions where rows differ",
    "nimg": "the record with the most is shown, and the table says how many",
    "seed": "a replicate; the table says which there are",
    "created": "a time",
    "seconds": "a time",
    "device": "where it was measured; the table says it",
    "command": "the words; what they chose stands in choices",
    "reference": "marked in the table",
    "metrics": "what was measured",
    "series": "what was measured",
    "protocol": "how; the table prints it and cautions where rows differ",
    "checkpoints": "contents; the table cautions where generators differ",
    "versions": "of packages",
}
"""What a row does not ask of a record, and why."""


def other(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return [*value, 7] if isinstance(value, list) else "other"


def with_one_changed(record: Record) -> Iterator[tuple[str, Record]]:
    """The record with each of its leaves changed, and with a choice more."""
    plain = to_dict(record)
    for path, value in leaves(plain, "").items():
        keys = path.removeprefix(".").split(".")
        if keys[0] in MAY_DIFFER or path.removeprefix(".") in FREE:
            continue
        changed = copy.deepcopy(plain)
        node = changed
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = other(value)
        yield ".".join(keys), from_dict(changed)
    plain["choices"]["more"] = {"name": "unheard of"}
    yield "choices.more", from_dict(plain)


@pytest.mark.parametrize("scale", ["miniature", "full"])
@pytest.mark.parametrize("name", NAMES)
def test_a_row_refuses_a_record_that_differs_in_one_key(name: str, scale: str) -> None:
    spec = compose_plain("evaluate", [f"table={name}"])["table"]
    table = described(spec, scale=scale, expected=expected_choices)
    needs = filled(table, []).needs(everything=True)
    assert needs
    keys = set()
    for need in needs:
        record = record_for(need.where, value=1.0)
        assert failures(record, need.where) == [], need.label
        asked = {path for path, wanted in need.where.items() if isinstance(wanted, Default)}
        assert len(asked) > 15, "every choice that the row does not speak of"
        for path, changed in with_one_changed(record):
            keys.add(path)
            assert failures(changed, need.where), f"{need.label}: takes another {path}"
    assert {"task", "data.name", "data.split", "choices.generator.multi_w"} <= keys


def test_the_record_of_the_issue_stands_in_no_row() -> None:
    """Inverted with another start, rate and adversarial loss, it stood as in-domain inversion."""
    spec = compose_plain("evaluate", ["table=table1_methods"])["table"]
    table = described(spec, scale="miniature", expected=expected_choices)
    (need,) = [
        one
        for one in filled(table, []).needs(everything=True)
        if one.label == "In-Domain Inversion (Ours), Face"
    ]
    plain = to_dict(record_for(need.where, value=1.0, run="trial"))
    plain["choices"]["inversion"] |= {"init": "normal", "lr": 0.5}
    plain["choices"]["objective"] |= {"adversarial": "wgan"}
    shown = filled(table, [from_dict(plain)])
    (reason,) = {
        cell.reason
        for cell in shown.cells
        if (cell.row.label, cell.group.label) == ("In-Domain Inversion (Ours)", "Face")
    }
    assert "closest is of run trial, but" in reason
    for word in ("adversarial is wgan, wanted logistic", "lr is 0.5", "init is normal"):
        assert word in reason


def test_records_from_before_a_choice_was_one_still_stand() -> None:
    spec = compose_plain("evaluate", ["table=table1_methods"])["table"]
    table = described(spec, scale="miniature", expected=expected_choices)
    need = next(iter(filled(table, []).needs(everything=True)))
    plain = to_dict(record_for(need.where, value=1.0))
    del plain["choices"]["objective"]["betas"], plain["choices"]["discriminator"]
    assert failures(from_dict(plain), need.where) == []
    del plain["choices"]["objective"]
    assert failures(from_dict(plain), need.where), "the row speaks of it"


def test_methods_without_an_encoder_are_not_asked_how_their_gan_was_trained() -> None:
    train = "python train.py experiment=domain_guided generator.path=trained:stylegan_multi_w"
    with_encoder = expected_choices(train, "python evaluate.py run=RUN inversion=in_domain")
    without = expected_choices(train, "python evaluate.py run=RUN inversion=image2stylegan")
    assert with_encoder["choices.objective.name"] == "domain_guided"
    assert with_encoder["choices.objective.schedule.name"] == "ExponentialDecay"
    assert with_encoder["choices.objective.betas"] == [0.9, 0.99]
    assert with_encoder["choices.discriminator"] == "generator"
    assert without["choices.objective"] is ANY and without["choices.augment"] is ANY
    assert not any(path.startswith("choices.encoder") for path in without)
    for asked in (with_encoder, without):
        assert asked["choices.generator.multi_w"] is True
        where = with_defaults({}, lambda asked=asked: asked, at="here")
        gan = record_for(where, value=1.0, run="gan")
        plain = to_dict(gan)
        plain["choices"]["objective"] = {"name": "gan", "lr": 0.5}
        plain["choices"]["augment"] = {"name": "AdaptiveAugment", "every": 4}
        assert bool(failures(from_dict(plain), where)) == (asked is with_encoder)
        plain["choices"]["encoder"] = {"name": "base", "variant": "v1"}
        assert failures(from_dict(plain), where)


def test_words_of_scale_make_the_generator_too() -> None:
    words = "scale=miniature scale.resolution=16 scale.channels=[8,8,8] batch_size=4"
    train = f"python train.py experiment=domain_guided {words} generator.path=trained:stylegan"
    asked = expected_choices(train, "python evaluate.py run=RUN")
    assert asked["choices.generator.resolution"] == asked["choices.encoder.resolution"] == 16
    assert asked["choices.batch_size"] == 4


def test_a_command_that_cannot_be_composed_is_named() -> None:
    spec = compose_plain("evaluate", ["table=table3_encoders"])["table"]
    spec["rows"].append(
        {"label": "EffNet", "where": {"choices.encoder": "effnet"}, "fill": {"encoder": "effnet"}}
    )
    table = described(spec, scale="miniature", expected=expected_choices)
    with pytest.raises(ConfigError, match=r"row 'EffNet': its commands cannot be composed.*effnet"):
        filled(table, [])
