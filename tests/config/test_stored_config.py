"""A stored configuration from anyone: what it may name, and what it may cost to read it."""

import copy
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from idinvert.cli.run_defaults import stored_config
from idinvert.config.compose import compose_plain, config_files, usual_targets
from idinvert.config.instantiate import named_words, own_targets, targets
from idinvert.config.run_folder import read_config, write_config
from idinvert.errors import ConfigError
from tests.checkpoints.hostile.watch import watched

CASES = 600
SECONDS = 3.0
OWN = "canary_module.Canary"
ATTACKS = (
    "os.system", "builtins.eval", "builtins.open", "joblib.load", "torch.load", "torch.hub.load",
    "hydra.utils.get_method", "hydra.utils.instantiate", "hydra._internal.utils._locate",
    "idinvert.results.record.os.system", "idinvert.config.run_folder.replace_file",
    "idinvert.config.run_folder.os.system", "idinvert.checkpoints.release.importlib.import_module",
    "idinvert.checkpoints.fetch.fetch", "idinvert.data.pool.pickle.load",
    "idinvert.cli.train.train",
    "idinvert.networks.encoder.Encoder.__init__.__globals__", "idinvert", "idinvert.", "",
    "pytorch_lightning.trainer.trainer.os.system", "pytorch_lightning.Trainer.fit",
    "idinvert.toy.miniature.procedural", "idinvert\n.os.system", "${oc.env:HOME}", OWN, f"{OWN}.x",
)  # fmt: skip
ODD: tuple[Any, ...] = (
    None, True, -1, 10**30, 1e300, float("nan"), "", "x", [], {}, [[]], "${oc.env:HOME}",
    "${oc.create:{_target_:os.system}}", ["${x}"], {"_target_": None}, {"_target_": ["os.system"]},
    {"_args_": ["x"]}, {"_partial_": True}, "\x1b[2J", "a" * 5_000,
)  # fmt: skip


@pytest.fixture(scope="module")
def stored():
    return compose_plain("train", ["experiment=domain_guided"])


def nodes(config: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the dicts and lists of a configuration are."""
    if isinstance(config, dict | list):
        yield path
        for key, value in config.items() if isinstance(config, dict) else enumerate(config):
            yield from nodes(value, (*path, key))


def hostile(stored: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """A copy with one or two nodes, targets or values changed."""
    config = copy.deepcopy(stored)
    for _ in range(rng.choice((1, 1, 2))):
        node: Any = config
        for key in rng.choice([path for path in nodes(config)]):
            node = node[key]
        attack = {"_target_": rng.choice(ATTACKS), **rng.choice(({}, {"_args_": ["true"]}))}
        if isinstance(node, list):
            node.append(rng.choice((attack, *ODD)))
        elif rng.random() < 0.5:
            node.update(attack)
        else:
            keys = [*node, "_partial_", "_args_", "_recursive_", "_convert_", "callbacks", 7]
            node[rng.choice(keys)] = rng.choice((attack, [attack], {"x": attack}, *ODD))
    return config


def test_no_stored_configuration_names_code(stored, tmp_path, monkeypatch, capsys):
    (tmp_path / "canary_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    usual, ended, wrong, events, slowest = usual_targets(), Counter[str](), [], [], 0.0
    path = tmp_path / "config.yaml"
    write_config(tmp_path, stored)
    stored_config(tmp_path, classes=[])  # what Python imports on first use is imported now
    for index in range(CASES):
        rng = random.Random(f"stored/{index}")
        path.write_text(yaml.dump(hostile(stored, rng), allow_unicode=True))
        begun = time.process_time()
        try:
            with watched() as seen:
                found = stored_config(tmp_path, classes=[])
        except ConfigError as error:
            ended["refused"] += 1
            message = str(error)
            if not message.replace("\n", "").isprintable() or len(message) > 4_100:
                wrong.append(f"{index}: {message!r}")
        except Exception as error:
            wrong.append(f"{index}: {type(error).__name__}: {error}")
        else:
            ended["read"] += 1
            if own_targets(found, usual=usual) or "${" in repr(found):
                wrong.append(f"{index}: read in silence")
        events += [f"{index}: {event}" for event in seen]
        slowest = max(slowest, time.process_time() - begun)
    with capsys.disabled():
        print(
            f"\n{CASES} stored configurations: {ended['refused']} refused, {ended['read']} read; "
            f"{len(events)} executions, {len(wrong)} other exceptions or read in silence, slowest "
            f"{slowest:.2f} s"
        )
    assert (events, wrong) == ([], []) and "canary_module" not in sys.modules
    assert ended["refused"] > CASES // 2 and slowest < SECONDS


@pytest.mark.parametrize("name", ATTACKS)
def test_a_target_is_refused_by_its_name(name, stored, tmp_path):
    for group in ("data", "objective", "trainer"):
        write_config(tmp_path, stored | {group: {"_target_": name}})
        with pytest.raises(ConfigError, match=rf"{group}") as caught:
            read_config(tmp_path)
        assert ascii(name)[1:-1] in str(caught.value)


def test_what_this_command_names_may_stand_anywhere(stored, tmp_path):
    encoder = stored["encoder"] | {"backbone": {"_target_": OWN, "_partial_": True}}
    write_config(tmp_path, stored | {"encoder": encoder})
    with pytest.raises(ConfigError) as caught:
        read_config(tmp_path)
    words = named_words([OWN])
    assert words == f"'classes=[{OWN}]'" and words in str(caught.value)
    found = read_config(tmp_path, classes=[OWN])
    assert found["encoder"] == encoder and own_targets(found, usual=usual_targets()) == [OWN]


def test_what_every_shipped_choice_stores_is_read(tmp_path):
    groups = ("data", "generator", "discriminator", "encoder", "objective", "augment", "metric",
              "perceptual", "trainer", "attributes", "experiment")  # fmt: skip
    given = {"data": ["data.path=x"], "generator": ["generator.path=x"]}
    read = 0
    for group in groups:
        for name in config_files(group):
            try:
                config = compose_plain("train", [f"{group}={name}", *given.get(group, ())])
            except ConfigError:
                continue  # of evaluate.py, or a choice without that key
            write_config(tmp_path, config)
            assert own_targets(read_config(tmp_path), usual=usual_targets()) == []
            read += 1
    extractor = {"f": {"_target_": "idinvert.checkpoints.perceptual.vgg16"}}
    metric = compose_plain("train", [])["metric"] or {}
    write_config(tmp_path, {"metric": {**metric, "extractors": extractor}})
    assert list(targets(read_config(tmp_path))) and read > 30


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [1, 1]\nb: [*a, *a]", "&a [*a]", "a: &a {x: 1}\nb: {<<: [*a, *a]}", "[" * 50_000,
        "- " * 40_000, "{a: " * 20_000, "x: " + "9" * 5_000, "x: 0x" + "f" * 90_000,
        "x: 1" + ":59" * 30_000, "x: !!python/object/apply:os.system [true]", "x: 2020-01-01",
        "x: !!binary aGk=", "x: !!set {a}", "? [a]\n: b", "a" * 200_000, "\x00", "- a", "a", "",
        'x: "\\ud800"', "data: 3", "trainer: [x]", "x: " + "[1, " * 100 + "1" + "]" * 100,
    ],
    ids=range(23),
)  # fmt: skip
def test_text_that_is_no_configuration_is_one_error(text, tmp_path):
    (tmp_path / "config.yaml").write_text(text)
    begun = time.process_time()
    with pytest.raises(ConfigError, match=r"config\.yaml: "):
        read_config(tmp_path)
    assert time.process_time() - begun < SECONDS


def test_files_that_are_none(tmp_path):
    path = tmp_path / "config.yaml"
    for make in (lambda: os.mkfifo(path), lambda: path.symlink_to("/dev/zero"), path.mkdir):
        make()
        with pytest.raises(ConfigError, match=r"regular file|directory"):
            read_config(tmp_path)
        path.rmdir() if path.is_dir() else path.unlink()
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        read_config(tmp_path)
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        read_config(tmp_path)


def test_a_configuration_without_its_groups_is_no_run(stored, tmp_path):
    for key in ("scale", "data", "generator", "objective", "trainer", "system", "encoder"):
        write_config(tmp_path, {name: node for name, node in stored.items() if name != key})
        with pytest.raises(ConfigError, match=f"lacks {key}"):
            stored_config(tmp_path, classes=[])
