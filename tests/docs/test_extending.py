"""docs/extending.md does what it says: its files are written and its commands run, untouched."""

import shlex
import sys
from typing import Any

import pytest
import yaml

from idinvert.checkpoints.bundle import find_weights
from idinvert.checkpoints.release import load_network, read_header, save_network
from idinvert.cli.evaluate import evaluate
from idinvert.cli.tables import expected_choices
from idinvert.cli.train import train
from idinvert.config.compose import OWN, compose_plain, given_keys, take_own_config_dir
from idinvert.errors import CheckpointError, ConfigError
from idinvert.results.parse import described
from tests.docs.pages import REPOSITORY, commands, files
from tests.docs.shrink import overrides, tiny

PAGE = REPOSITORY / "docs" / "extending.md"
OWN_CLASS = "my_encoder.PatchBackbone"


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder with the page's files, importable, and a command line's ``--config-dir``."""
    for name, text in files(PAGE).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(OWN, "")
    yield tmp_path
    sys.modules.pop("my_encoder", None)


def said(number: int) -> tuple[str, list[str]]:
    """The program and the words of one of the page's commands."""
    command = list(commands(PAGE))[number]
    program = command.words[1].removesuffix(".py")
    return program, take_own_config_dir(command.words[2:])


def done(number: int, *, run: str | None = None) -> Any:
    """What a command of the page gives, in a tiny form."""
    program, words = said(number)
    words = [word.replace("RUN", run) if run else word for word in overrides(words)]
    words = tiny(program, words, compose_plain(program, words))
    work: Any = {"train": train, "evaluate": evaluate}[program]
    return work(compose_plain(program, words), given=given_keys(words))


def test_the_page_has_the_files_it_tells_to_write():
    assert list(files(PAGE)) == ["my_encoder.py", "my_conf/encoder/patches.yaml"]


def test_the_encoder_is_found_and_a_mistyped_one_is_told(mine):
    _, words = said(0)
    config = compose_plain("train", words)
    assert config["encoder"]["backbone"]["_target_"] == OWN_CLASS
    assert config["encoder"]["backbone"]["resolution"] == 32
    with pytest.raises(ConfigError, match=r"no such encoder. Did you mean 'patches'\?"):
        compose_plain("train", ["encoder=patchs"])
    with pytest.raises(ConfigError, match=r"encoder.backbone.widht is not a parameter"):
        compose_plain("train", ["encoder=patches", "+encoder.backbone.widht=3"])
    with pytest.raises(ConfigError, match=r"--config-dir=nowhere: no such folder"):
        take_own_config_dir(["--config-dir", "nowhere", "seed=1"])


def test_a_backbone_that_lacks_something_is_told_what(mine):
    from torch import nn

    from idinvert.networks.encoder import Encoder

    with pytest.raises(ConfigError, match=r"Linear without resolution, out_channels, out_size"):
        Encoder(backbone=nn.Linear(1, 1), num_layers=2, w_dim=4)


def test_its_weights_are_built_where_its_name_is_given_and_nowhere_else(mine):
    import my_encoder  # type: ignore[import-not-found]

    from idinvert.networks.encoder import Encoder

    backbone = my_encoder.PatchBackbone(resolution=8, width=4, depth=1)
    encoder = Encoder(backbone=backbone, num_layers=2, w_dim=4).eval()
    save_network(encoder, mine / "encoder.safetensors", provenance={})
    load: Any = {"path": mine / "encoder.safetensors", "key": "encoder.path", "expect": "encoder"}
    again = load_network(**load, classes=[OWN_CLASS])
    for name, tensor in encoder.state_dict().items():
        assert again.state_dict()[name].equal(tensor), name
    for classes in ((), ("my_encoder.Other",)):
        with pytest.raises(CheckpointError, match=r"classes=\[my_encoder.PatchBackbone\]"):
            load_network(**load, classes=classes)
    sys.modules.pop("my_encoder")
    (mine / "my_encoder.py").unlink()
    with pytest.raises(CheckpointError, match=r"folder of my_encoder.py on PYTHONPATH"):
        load_network(**load, classes=[OWN_CLASS])


def test_a_whole_encoder_of_ones_own_is_kept_by_its_role(mine):
    import my_encoder  # type: ignore[import-not-found]

    network = my_encoder.PatchBackbone(resolution=8, width=4, depth=1)
    save_network(network, mine / "mine.safetensors", provenance={}, role="encoder")
    assert read_header(mine / "mine.safetensors").class_name == OWN_CLASS
    load: Any = {"path": mine / "mine.safetensors", "key": "encoder.path"}
    assert load_network(**load, expect="encoder", classes=[OWN_CLASS]).out_channels == 4
    with pytest.raises(CheckpointError, match=r"expected 'generator'"):
        load_network(**load, expect="generator", classes=[OWN_CLASS])
    with pytest.raises(CheckpointError, match=r"nothing is built because a file says so"):
        load_network(**load)


def test_a_tables_new_row_is_one_that_the_table_takes(mine):
    (block,) = [b for b in PAGE.read_text().split("```") if b.startswith("yaml\n  - {label: ")]
    said(0)  # its command line names the folder of the page's files
    spec = compose_plain("evaluate", ["table=table3_encoders"])["table"]
    spec["rows"] += yaml.safe_load(block.removeprefix("yaml\n"))
    table = described(spec, scale="miniature", expected=expected_choices)
    assert any("encoder=patches" in words for words in table.trainings())
    wheres = [place.where for place in table.places() if "encoder=patches" in place.train]
    assert wheres and all(where["choices.encoder"] == "my_encoder" for where in wheres)


@pytest.mark.slow
def test_the_worked_example(mine):
    folder = done(0)  # train
    run = folder.name
    header = read_header(find_weights(str(folder), role="encoder", key="run"))
    assert header.architecture["backbone"]["class"] == OWN_CLASS
    assert header.provenance["choices"]["encoder"]["name"] == "my_encoder"
    (record,) = done(1, run=run)
    assert record.run == run and record.choices["encoder"]["name"] == "my_encoder"
    assert done(2, run=run) == folder, "it goes on in its folder"
    after = read_header(find_weights(str(folder), role="encoder", key="run"))
    assert after.provenance["nimg"] == 2 * header.provenance["nimg"]
    (timed,) = done(3, run=run)
    assert timed.task == "speed"
    (by_path,) = done(4, run=run)
    assert by_path.choices["encoder"] == record.choices["encoder"]
    with pytest.raises(CheckpointError, match=r"line: classes=\[my_encoder.PatchBackbone\]"):
        evaluate(compose_plain("evaluate", [f"encoder.path={folder}", "n=2", "data.test=8"]))
    assert not [command for command in list(commands(PAGE))[5:]], "each command is run here"


@pytest.mark.slow
def test_the_printed_command_continues_a_stopped_run_and_names_its_classes(mine, capsys):
    program, words = said(0)
    words = tiny(program, overrides(words), compose_plain(program, words))
    words.append("nimg=8")
    folder = train(compose_plain("train", words), given=given_keys(words))
    printed = capsys.readouterr().out.splitlines()
    (line,) = [line for line in printed if line.startswith("to continue: ")]
    start, program, *typed = shlex.split(line.removeprefix("to continue: "))
    assert (start, program) == ("python", "train.py")
    assert typed == [f"run={folder}", f"classes=[{OWN_CLASS}]"], "nothing else is needed"
    for left_out in ([typed[0]], [typed[0], "classes=[my_encoder.Other]"]):
        with pytest.raises(ConfigError, match=r"classes=\[my_encoder.PatchBackbone\]"):
            train(compose_plain("train", left_out), given=given_keys(left_out))
    typed.append("max_seconds=null")
    assert train(compose_plain("train", typed), given=given_keys(typed)) == folder
    assert "finished at" in capsys.readouterr().out
