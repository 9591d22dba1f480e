"""A row of a table takes no record that differs from its commands in a single choice."""

import copy
import functools
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from idinvert.cli.run_defaults import trained_runs
from idinvert.cli.tables import (
    LONG,
    _is_look,
    _not_done,
    _steps,
    expected_choices,
    render_table,
    with_training,
)
from idinvert.cli.trained_gans import KINDS, with_trained_generator
from idinvert.config.compose import compose_plain, config_dir, given_keys
from idinvert.errors import ConfigError
from idinvert.results.cells import evaluations, filled
from idinvert.results.parse import described
from idinvert.results.record import Record, from_dict, read_records, to_dict
from idinvert.results.select import Default, failures, leaves, of_the_run
from idinvert.results.spec import ANY, FREE, Place
from tests.results.synthetic import record_for

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
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


def places_of(name: str, scale: str = "miniature") -> list[Place]:
    spec = compose_plain("evaluate", [f"table={name}"])["table"]
    table = described(spec, scale=scale, expected=expected_choices)
    return [place for place, _ in evaluations(filled(table, []))]


@pytest.mark.parametrize("scale", ["miniature", "full"])
@pytest.mark.parametrize("name", NAMES)
def test_a_row_refuses_a_record_that_differs_in_one_key(name, scale):
    places = places_of(name, scale)
    assert places
    keys = set()
    for place in places:
        record = record_for(place.where, value=1.0)
        assert failures(record, place.where) == [], place.label
        assert failures(record, of_the_run(place.where)) == []
        asked = {path for path, wanted in place.where.items() if isinstance(wanted, Default)}
        assert len(asked) > 15, "every choice that the row does not speak of"
        for path, changed in with_one_changed(record):
            keys.add(path)
            assert failures(changed, place.where), f"{place.label}: takes another {path}"
        for other_place in places:  # lest one stand for the other
            same = other_place.where == place.where
            assert same or failures(record, other_place.where), (place.label, other_place.label)
    assert {"task", "data.name", "data.split", "choices.generator.multi_w"} <= keys


def test_the_record_of_the_issue_stands_in_no_row():
    """Inverted with another start, rate and adversarial loss, it stood as in-domain inversion."""
    (place,) = [
        one
        for one in places_of("table1_methods")
        if one.label == "In-Domain Inversion (Ours), Face"
    ]
    plain = to_dict(record_for(place.where, value=1.0, run="trial"))
    plain["choices"]["inversion"] |= {"init": "normal", "lr": 0.5}
    plain["choices"]["objective"] |= {"adversarial": "wgan"}
    (reason,) = {
        cell.missing.reason
        for cell in filled(place.table, [from_dict(plain)]).cells
        if cell.place.label == place.label and cell.missing is not None
    }
    assert "closest is of run trial, but" in reason
    for word in ("adversarial is wgan, wanted logistic", "lr is 0.5", "init is normal"):
        assert word in reason


def test_records_from_before_a_choice_was_one_still_stand():
    place = places_of("table1_methods")[0]
    plain = to_dict(record_for(place.where, value=1.0))
    del plain["choices"]["objective"]["betas"], plain["choices"]["discriminator"]
    assert failures(from_dict(plain), place.where) == []
    del plain["choices"]["objective"]
    assert failures(from_dict(plain), place.where), "the row speaks of it"


def test_methods_without_an_encoder_are_not_asked_how_their_gan_was_trained():
    train = ["experiment=domain_guided", "generator.path=trained:stylegan_multi_w"]
    with_encoder = expected_choices(train, ["inversion=in_domain"])
    without = expected_choices(train, ["inversion=image2stylegan"])
    assert with_encoder["choices.objective.name"] == "domain_guided"
    assert with_encoder["choices.objective.schedule.name"] == "ExponentialDecay"
    assert with_encoder["choices.objective.betas"] == [0.9, 0.99]
    assert with_encoder["choices.discriminator"] == "generator"
    assert without["choices.objective"] is ANY and without["choices.augment"] is ANY
    assert not any(path.startswith("choices.encoder") for path in without)
    spec = compose_plain("evaluate", ["table=table1_methods"])["table"]
    table: Any = described(spec, scale="miniature", expected=expected_choices)
    rows = {row.label: row for row in table.rows}
    for label, named in (("In-Domain Inversion (Ours)", True), ("Image2StyleGAN [16]", False)):
        where = table.place(rows[label], table.groups[0], table.columns[0]).where
        assert where["choices.generator.multi_w"] is True
        plain = to_dict(record_for(where, value=1.0, run="gan"))
        plain["choices"]["objective"] = {"name": "gan", "lr": 0.5}
        plain["choices"]["augment"] = {"name": "AdaptiveAugment", "every": 4}
        assert bool(failures(from_dict(plain), where)) == named
        plain["choices"]["encoder"] = {"name": "base", "variant": "v1"}
        assert failures(from_dict(plain), where)


def test_words_of_scale_make_the_generator_too():
    words = ["scale=miniature", "scale.resolution=16", "scale.channels=[8,8,8]", "batch_size=4"]
    train = ["experiment=domain_guided", *words, "generator.path=trained:stylegan"]
    asked = expected_choices(train, [])
    assert asked["choices.generator.resolution"] == asked["choices.encoder.resolution"] == 16
    assert asked["choices.batch_size"] == 4


def test_a_command_that_cannot_be_composed_is_named():
    spec = compose_plain("evaluate", ["table=table3_encoders"])["table"]
    spec["rows"].append({"label": "EffNet", "fill": {"encoder": "effnet"}})
    table = described(spec, scale="miniature", expected=expected_choices)
    with pytest.raises(ConfigError, match=r"row 'EffNet': its commands cannot be composed.*effnet"):
        filled(table, [])


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["miniature", "full"])
@pytest.mark.parametrize("name", NAMES)
def test_every_printed_command_can_be_typed_as_it_stands(name, scale, tmp_path):
    """It composes; its runs and GANs are shipped, or a command above it trains them."""
    table = described(
        compose_plain("evaluate", [f"table={name}"])["table"],
        scale=scale,
        expected=expected_choices,
    )
    shipped = {run.run for run in trained_runs(tmp_path)}
    for records in ([], read_records([EXPERIMENTS / name])):
        cells = with_training(filled(table, records), tmp_path).cells
        for commands in {cell.missing.commands for cell in cells if cell.missing}:
            trained: set[str] = set()
            for command in commands:
                python, file, *words = shlex.split(command)
                assert (python, file) in (("python", "train.py"), ("python", "evaluate.py"))
                config = composed(file.removesuffix(".py"), *words)
                if file == "evaluate.py":
                    assert config["run"] in shipped or (config["run"], trained) == ("RUN", {"E"})
                elif "experiment=gan" in words:
                    trained = {f"trained:{kind_of(config['generator'])}"}
                else:
                    path = config["generator"]["path"]
                    assert path.startswith("FILE_OF_") or path in trained or has(config, tmp_path)
                    trained = {"E"}


def has(config: dict[str, Any], outputs: Path) -> bool:
    """Whether a GAN of that kind is shipped."""
    found = with_trained_generator({**config, "system": {"outputs": str(outputs)}})
    return found["generator"]["path"].startswith("shipped:")


def kind_of(node: dict[str, Any]) -> str:
    name = node["_target_"].rsplit(".", 1)[-1]
    return next(kind for kind, what in KINDS.items() if what == (name, node["multi_w"]))


@functools.cache
def composed(program: str, *words: str) -> dict[str, Any]:
    return compose_plain(program, list(words))


def rendered(*words: str, out: Path, work: Any = None) -> str:
    """The page that ``evaluate.py table=…`` writes."""
    words = (*words, f"system.outputs={out}")
    config = compose_plain("evaluate", list(words))
    shown: list[Any] = []
    render_table(
        config,
        evaluate=work,
        given=given_keys(words),
        track=lambda table, files: shown.extend(files),
    )
    return shown[0].read_text()


@pytest.mark.slow
def test_records_that_come_with_the_package_are_shown_where_there_are_no_own(tmp_path):
    words = ("table=fig14_training", "evaluate_missing=false")
    told = "No record of yours stands here yet: all numbers come with idinvert (data faces_mini"
    page = rendered(*words, out=tmp_path)
    assert told in page and "run dnmnijjega" in page
    committed = EXPERIMENTS / "fig14_training"
    assert told not in rendered(*words, f"records={committed}", out=tmp_path)
    first = (committed / "records.jsonl").read_text().splitlines()[0]
    (tmp_path / "records.jsonl").write_text(f"{first}\n")
    page = rendered(*words, out=tmp_path)
    assert told not in page and page.count("points; run") == 1, "own records are never mixed"


@pytest.mark.slow
def test_a_look_at_table_1_starts_no_row_of_1000_steps(tmp_path):
    asked: list[dict[str, Any]] = []

    def work(config):
        asked.append(config)
        return []

    rendered("table=table1_methods", "n=32", out=tmp_path, work=work)
    steps = [config["inversion"].get("steps", 0) for config in asked]
    assert steps and max(steps) < LONG and {config["n"] for config in asked} == {32}
    asked.clear()
    rendered("table=table1_methods", out=tmp_path, work=work)
    assert max(config["inversion"].get("steps", 0) for config in asked) == LONG


def test_each_seed_that_was_trained_is_evaluated_where_it_is_missing():
    places = {place.label: place for place in places_of("table1_methods")}
    ours = places["Domain-Guided Encoder (Ours), Face"]
    theirs = places["Image2StyleGAN [16], Face"]
    runs = [
        record_for(of_the_run(ours.where), value=1, run=f"{seed}-{nimg}", seed=seed, nimg=nimg)
        for seed, nimg in ((0, 9), (0, 5), (1, 9), (2, 5), (3, 9))
    ]

    def runs_of(place: Place, *done: int) -> list[str]:
        return [run.run for run in _not_done(place, runs, frozenset(done))]

    assert sorted(runs_of(ours)) == ["0-9", "1-9", "3-9"], "the longest, one a seed"
    assert sorted(runs_of(ours, 0, 3)) == ["1-9"]
    assert len(runs_of(theirs)) == 1 and runs_of(theirs, 0) == [], "its G is the same for all"


def test_a_look_starts_no_long_row():
    shown = filled(places_of("table1_methods")[0].table, [])
    long = [place for place, _ in evaluations(shown) if _steps(place) >= LONG]
    assert long, "table 1 has rows of 1,000 steps"
    config = {"n": 32, "scale": {"n_test": 500}, "recompute": False}
    assert _is_look(config, {"n": ["n"]}) and not _is_look(config, {})
    assert not _is_look({**config, "recompute": True}, {"n": ["n"]})
