"""Paths stay text whatever they hold; printed commands can be pasted; neighbours are known."""

import os
import shlex
from pathlib import Path

import pytest

from idinvert.config.argv import check_words, for_hydra, for_shell, from_shell, is_path_key
from idinvert.config.compose import compose_plain, expand_sweep
from idinvert.config.other_projects import CHOICES, NEIGHBOURS, as_markdown
from idinvert.config.values import expectations, is_path_annotation
from idinvert.data.source import open_source
from idinvert.errors import ConfigError, DataError
from idinvert.evaluation.provenance import command
from idinvert.results.spec import Column, Group, Row, Table
from tests.config.test_values import configurations

ORDINARY = [
    *("My Photos (1)", "Büro", "写真", "a&b", "a,b", "2024_07_15", "a=b", "[x]", "{y}", "$HOME"),
    *(" a ", "#1", "it's", '"q"x', "a\tb", "1e5", "true", "007", "a:b", "x;y", "a*", "!x", "a%b"),
]


def test_any_name_stays_what_it_is_and_its_printed_command_can_be_pasted():
    for name in ORDINARY:
        typed = f"images={name}"
        word = for_hydra(typed)
        assert for_hydra(word) == word, "again for Hydra, as jobs and ranks do"
        pasted = shlex.split(for_shell([word]))
        assert [for_hydra(one) for one in pasted] == [word], name
    for start in range(0, len(ORDINARY), 4):
        keys = ("images", "generator.path", "records", "system.outputs")
        values = dict(zip(keys, ORDINARY[start : start + 4], strict=False))
        config = compose_plain("evaluate", [f"{key}={value}" for key, value in values.items()])
        for key, value in values.items():
            node = config
            for part in key.split("."):
                node = node[part]
            assert node == value, key


def test_recorded_and_printed_commands_are_read_back_to_the_same_values(monkeypatch):
    """Records and weights, rows of sweeps, the commands under tables, methods' words."""
    for name in ORDINARY:
        typed = [f"images={name}", f"generator.path={name}", "name='a b'", "task.attributes=[age]"]
        words = [for_hydra(word) for word in typed]
        monkeypatch.setattr("sys.argv", ["evaluate.py", *words, "system.outputs=x"])
        row = Row(label="a", train=words, evaluate=words, fill={"y": "{y}"})
        groups = [Group(label="b", data="c", paper_data="d")]
        table = Table(
            name="t",
            title="T",
            scale="full",
            rows=[row],
            groups=groups,
            columns=[],
            classes=["my.C"],
        )
        column = Column(label="x", metric=["mse"], better="up")
        train, evaluate = table.place(row, groups[0], column).commands()
        joined = shlex.join(["evaluate.py", *words])  # rows of sweeps, and what to go on with
        for text in (command(), train, evaluate, joined, for_shell(["evaluate.py", *words])):
            pasted = [for_hydra(word) for word in shlex.split(text)]
            assert [word for word in pasted if word in words] == words, text
        assert train.endswith(" 'classes=[my.C]'") and evaluate.endswith(" 'classes=[my.C]'")
        assert [for_hydra(word) for word in from_shell(for_shell(words), key="words")] == words
    with pytest.raises(ConfigError, match='words="images=\'a" cannot be read'):
        from_shell("images='a", key="words")


def test_the_home_folder_is_found_and_null_is_nothing():
    assert for_hydra("images=~/photos") == f"images={Path.home() / 'photos'}"
    assert for_hydra("images=~") == f"images={Path.home()}"
    for word in ("images=null", "images=", "images='a b'", "encoder.path=${generator.path}"):
        assert for_hydra(word) == word
    assert for_hydra("seed=1,2") == "seed=1,2", "keys of other kinds are left to Hydra"


def test_a_comma_is_a_sweep_under_m_unless_there_is_such_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    swept = expand_sweep([for_hydra("images=my a,2024_07", sweep=True)])
    configs = [compose_plain("evaluate", words)["images"] for words in swept]
    assert configs == ["my a", "2024_07"]
    Path("a,b").mkdir()
    assert len(expand_sweep([for_hydra("images=a,b", sweep=True)])) == 1


def test_the_keys_of_paths_are_those_whose_annotations_say_so():
    for _, config in configurations():
        for key, _, takes in expectations(config):
            assert is_path_key(key) == is_path_annotation(takes), key


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["nimg", "=", "4000"], "write nimg=4000"),
        (["nimg=", "4000"], "got '4000', expected KEY=VALUE"),
        (["images=My", "Photos"], "python train.py 'images=My Photos'"),
        (["--experiment", "x"], "there is no flag --experiment. Here it is experiment=NAME"),
        (["--outdir=x"], "Here it is system.outputs=FOLDER"),
        (["--gpus", "2"], "Here it is trainer=ddp trainer.devices=N"),
        (["--data", "x"], "Here it is data=folder data.path=FOLDER"),
        (["--foo", "3"], "foo=3"),
        (["images=b\udcfcro"], "no UTF-8 text"),
    ],
)
def test_words_that_are_no_overrides(line, said):
    with pytest.raises(ConfigError) as caught:
        check_words("train", line)
    assert said in str(caught.value)
    check_words("train", ["seed=1", "--cfg", "job", "-m", "~augment", "--info", "all"])


@pytest.mark.parametrize(
    ("program", "words", "said"),
    [
        ("train", ["lr=1"], "Here it is objective.lr=…"),
        ("evaluate", ["steps=1"], "Here it is inversion.steps=…"),
        ("train", ["ckpt_path=x"], "Here it is run=RUN"),
        ("train", ["model=x"], "Here it is encoder=NAME"),
        ("train", ["trainer.max_epochs=3"], "nimg=…"),
        ("train", ["max_steps=3"], "nimg=…"),
        ("train", ["start_from_latent_avg=true"], "latent.offset=w_avg"),
        ("train", ["hydra/launcher=slurm"], "hydra/launcher=submitit_slurm"),
        ("train", ["data.path=x"], "add data=folder data.path=…"),
        ("evaluate", ["encoder=resnet18"], "give run=RUN, or encoder.path=FILE"),
        ("evaluate", ["generator.path=https://x.org/g.pkl"], "download it first"),
        ("evaluate", ["generator.path=hf://x/g.pkl"], "download it first"),
    ],
)
def test_the_words_of_neighbours_are_known(program, words, said):
    with pytest.raises(ConfigError) as caught:
        compose_plain(program, words)
    assert said in str(caught.value)


def test_the_page_shows_the_words_that_the_errors_know():
    page = Path(__file__).parents[2] / "docs" / "researcher.md"
    assert as_markdown() in page.read_text(encoding="utf-8")
    assert len(NEIGHBOURS) > 20 and CHOICES


def test_a_file_whose_name_is_no_text_is_refused_before_the_work(tmp_path):
    (tmp_path / os.fsdecode(b"b\xfcro.png")).touch()
    with pytest.raises(DataError, match="rename that file"):
        open_source(tmp_path, key="images")
