"""Sweeps of experiment files: which runs they are, wrong uses, what the program is handed."""

import sys
from typing import Any

import pytest

from idinvert.cli.commands import run_app
from idinvert.cli.experiments import chosen_row, every_row, rows_of_sweep
from idinvert.config import compose
from idinvert.config.compose import compose_plain, config_dir
from idinvert.errors import ConfigError
from tests.docs.pages import opening

LAMBDAS = ("0", "0.5", "2", "5", "10", "20", "40")
STYLEGAN = "scale=miniature generator.path=trained:stylegan_multi_w"
STYLEGAN2 = "scale=miniature generator.path=trained:stylegan2_multi_w"
FACES = f"data=faces_mini {STYLEGAN}"
SHIPPED = tuple(
    f"data={name} scale=miniature generator.path=shipped:{name}"
    for name in ("towers_mini", "bedrooms_mini")
)


def rows(program: str, name: str, *words: str) -> set[str]:
    rows = rows_of_sweep(program, [f"experiment={name}", *words])
    assert rows is not None
    found = [" ".join(row) for row in rows]
    assert len(found) == len(set(found)), "no run twice"
    return set(found)


EXPECTED: dict[tuple[str, str], set[str]] = {
    ("train", "table1_methods"): {
        f"experiment={kind} {words}"
        for kind in ("conventional", "domain_guided")
        for words in (FACES, *SHIPPED)
    },
    ("train", "table2_editing"): {
        f"experiment=domain_guided {words}" for words in (FACES, *SHIPPED)
    },
    ("train", "table3_encoders"): {
        f"experiment=domain_guided encoder={encoder} data={data} {STYLEGAN}"
        for encoder in ("base", "resnet18", "resnet34", "resnet50", "mobilenet")
        for data in ("faces_mini", "churches_mini")
    },
    ("train", "table4_offset"): {
        "experiment=e4e encoder=base data=faces_mini scale=miniature "
        "generator.path=trained:stylegan2",
        f"experiment=domain_guided latent.offset=none data=faces_mini {STYLEGAN2}",
        f"experiment=domain_guided latent.offset=w_avg data=faces_mini {STYLEGAN2}",
    },
    ("train", "table5_retraining"): {
        f"experiment=domain_guided data=faces_mini scale=miniature generator.path=trained:{kind}"
        for kind in ("stylegan", "stylegan_multi_w", "stylegan2", "stylegan2_multi_w")
    },
    ("train", "table6_noise"): {
        f"experiment=domain_guided {FACES}",
        *(
            f"experiment=domain_guided encoder=noise encoder.noise_blocks={blocks} "
            f"encoder.noise_std=0.1 {FACES}"
            for blocks in (1, 2, 3, 4)
        ),
    },
    ("train", "table7_datasets"): {
        f"experiment=domain_guided data={data} scale=miniature generator.path=trained:{kind}"
        for data in ("towers_mini", "bedrooms_mini")
        for kind in ("stylegan_multi_w", "stylegan2_multi_w")
    },
    ("evaluate", "fig10_lambda_dom"): {
        *(
            f"task={task} inversion=in_domain inversion.steps=100 inversion.lambda_dom={weight}"
            for task in ("reconstruction", "manipulation")
            for weight in LAMBDAS
        ),
        "table=fig10_lambda_dom evaluate_missing=false",
    },
}


@pytest.mark.parametrize(("program", "name"), EXPECTED, ids=str)
def test_a_sweep_is_the_runs_that_it_names(program, name):
    assert rows(program, name) == EXPECTED[program, name]


SWEEPS = [
    (program, path.stem)
    for path in sorted((config_dir() / "experiment").glob("*.yaml"))
    for program in ("train", "evaluate")
    if f"\n  {program}:" in path.read_text(encoding="utf-8").partition("\nsweep:")[2]
    and opening(path).words[1] != f"{program}.py"
]
"""Those that no opening command names; tests/docs composes all rows of the others."""


@pytest.mark.parametrize(("program", "name"), SWEEPS, ids=str)
def test_every_row_composes_for_its_program(program, name):
    rows = rows_of_sweep(program, [f"experiment={name}"])
    assert rows
    for index, row in enumerate(rows):
        words = chosen_row(program, [f"experiment={name}", f"row={index}"])
        assert words == [*row, f"row={index}"]
        compose_plain(program, words)


def test_the_users_words_win_and_make_rows_one():
    words = ("data.path=P", "generator.path=G", "scale=full", "nimg=5")
    found = rows("train", "table5_retraining", *words)
    of_data = "experiment=domain_guided data=ffhq256 generator=checkpoint"
    assert found == {f"{of_data} {' '.join(words)}"}
    assert len(rows("train", "table3_encoders", "data=faces_mini")) == 5
    assert len(rows("train", "table6_noise", "scale=full", "generator.path=G")) == 8


def test_a_multirun_gets_its_rows_and_a_sweep_of_ones_own_keeps_them():
    assert every_row("train", ["experiment=table5_retraining", "seed=0,1"]) == ["row=0,1,2,3"]
    for words in (["experiment=table5_retraining", "row=2"], ["experiment=domain_guided,gan"]):
        assert every_row("train", words) == []
    assert every_row("train", ["seed=0,1"]) == []
    data = ["experiment=table7_datasets", "data=towers_mini,bedrooms_mini"]
    (last,) = every_row("train", data)
    for one in ("towers_mini", "bedrooms_mini"):  # as many rows with each value as with the list
        rows = rows_of_sweep("train", [data[0], f"data={one}"])
        assert rows is not None and last == "row=" + ",".join(map(str, range(len(rows))))


@pytest.mark.parametrize(
    ("program", "words", "message"),
    [
        ("train", ["experiment=table3_encoders"], "a sweep of 10: add -m"),
        ("train", ["experiment=table3_encoders", "row=10"], "rows 0 to 9"),
        ("train", ["experiment=table3_encoders", "row=x"], "rows 0 to 9"),
        ("train", ["experiment=table3_encodes"], "Did you mean 'table3_encoders'?"),
        ("train", ["row=1"], "give its experiment=NAME"),
        ("evaluate", ["experiment=gan"], "python train.py experiment=gan"),
        (
            "evaluate",
            ["experiment=generators", "row=0"],
            "python train.py -m experiment=generators",
        ),
    ],
)
def test_a_wrong_use_says_the_right_one(program, words, message):
    with pytest.raises(ConfigError, match=message):
        chosen_row(program, words)


def test_an_experiment_of_evaluation_alone_does_not_train(tmp_path, monkeypatch):
    (tmp_path / "experiment").mkdir()
    text = "sweep:\n  evaluate: [task=speed]\n"
    (tmp_path / "experiment" / "only.yaml").write_text(text)
    monkeypatch.setattr(compose, "config_dir", lambda: tmp_path)
    with pytest.raises(ConfigError, match=r"evaluate\.py -m experiment=only run=RUN"):
        rows_of_sweep("train", ["experiment=only"])
    (tmp_path / "experiment" / "only.yaml").write_text("sweep: {tain: []}\n")
    with pytest.raises(ConfigError, match="sweep takes train and evaluate"):
        rows_of_sweep("train", ["experiment=only"])


@pytest.fixture
def run(monkeypatch, tmp_path):
    """What a program with these words hands to its work, and the command line at that time."""
    monkeypatch.chdir(tmp_path)

    def go(program, *words):
        jobs: list[Any] = []

        def work(config, *, given):
            jobs.append((config, set(given), " ".join(sys.argv[1:])))

        monkeypatch.setattr(sys, "argv", [f"{program}.py", *words])
        run_app(program, work)
        return jobs

    return go


def test_each_job_is_its_row_and_says_the_command_of_its_own(run):
    words = ("experiment=fig10_lambda_dom", "n=4", "system.outputs=out", "row=1,8,14")
    first, (config, given, line), last = run("evaluate", "-m", *words)
    assert first[0]["inversion"]["lambda_dom"] == 0.5 == config["inversion"]["lambda_dom"]
    assert config["n"] == 4 and config["row"] == 8 and config["table"] is None
    assert given == {"task", "inversion", "n", "system", "row"}
    assert line == (
        "task=manipulation inversion=in_domain inversion.steps=100 inversion.lambda_dom=0.5 n=4 "
        "system.outputs=out"
    )
    assert last[0]["table"]["name"] == "fig10_lambda_dom"


def test_one_row_can_be_chosen_without_a_multirun(run):
    ((config, _, line),) = run("train", "experiment=table6_noise", "row=2", "seed=3")
    assert config["encoder"]["noise_blocks"] == 2 and config["seed"] == 3
    assert "row=" not in line and "encoder.noise_blocks=2" in line
