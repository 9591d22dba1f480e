"""What an evaluation stands on is told by what is in it, wherever it lies and whatever its name."""

import copy
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from idinvert.checkpoints.bundle import find_weights
from idinvert.cli.evaluate import contents_of
from idinvert.config.compose import compose_plain
from idinvert.config.identity import evaluation_identity
from idinvert.data.content import computed_anew
from idinvert.editing.directions import Direction, save_directions

Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def composed():
    few = ["data.train=16", "data.test=8", "data.val=4"]
    return compose_plain("evaluate", few) | {"n": 4, "batch_size": 2}


def identity(config: dict[str, Any]) -> str:
    return evaluation_identity(config, contents=contents_of(config))


def put(config: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    other = copy.deepcopy(config)
    node, names = other, key.split(".")
    for name in names[:-1]:
        node = node[name]
    node[names[-1]] = value
    return other


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def picture(path: Path, grey: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (32, 32), grey).save(path)
    return path


FILES = [
    "inversion.mask",
    "metric.inception_path",
    "metric.lpips_path",
    "metric.prc_vgg16_path",
    "perceptual.network.path",
    "generator.path",
    "encoder.path",
    "attributes.path",
    "images",
]


@pytest.mark.parametrize("key", FILES)
def test_a_file_counts_by_what_is_in_it(key, composed, tmp_path):
    config = put(composed, "inversion.mask", None)
    content = find_weights("shipped:towers_mini", role="encoder", key="x").read_bytes()
    here, there = write(tmp_path / "a" / "file", content), write(tmp_path / "b" / "other", content)
    first = identity(put(config, key, str(here)))
    assert first == identity(put(config, key, str(there))) != identity(config)
    os.utime(here, (1, 1))
    assert identity(put(config, key, str(here))) == first
    write(here, content[:-1] + bytes([content[-1] ^ 1]))
    assert identity(put(config, key, str(here))) != first


def test_a_run_counts_by_its_weights_alone(composed, tmp_path):
    run = tmp_path / "run"
    write(run / "weights" / "encoder.safetensors", b"1")
    write(run / "metrics.jsonl", b"{}")
    first = identity(put(composed, "encoder.path", str(run)))
    write(run / "metrics.jsonl", b"{}\n{}")
    assert identity(put(composed, "encoder.path", str(run))) == first
    write(run / "weights" / "encoder.safetensors", b"2")
    assert identity(put(composed, "encoder.path", str(run))) != first


def another_picture(root: Path) -> None:
    picture(root / "sub" / "b.png", 9)


def one_more(root: Path) -> None:
    picture(root / "sub" / "c.png", 200)


@pytest.mark.parametrize("change", [another_picture, one_more])
@pytest.mark.parametrize("kind", ["images", "images as a zip", "data", "data as a zip"])
def test_images_count_by_what_is_in_them(kind, change, composed, tmp_path):
    root = tmp_path / "photos"
    for place, name in enumerate(("a.png", "sub/b.png", "z.png")):
        picture(root / name, 60 * place)

    def found():
        path = root
        if "zip" in kind:
            path = tmp_path / "photos.zip"
            with zipfile.ZipFile(path, "w") as archive:
                for file in sorted(root.rglob("*.png")):
                    archive.write(file, file.relative_to(root).as_posix())
        if kind.startswith("images"):
            return identity(put(composed, "images", str(path)))
        split = {"kind": "order", "test": 1}
        node = {"_target_": "idinvert.data.folder.image_folder", "path": str(path)}
        node |= {"resolution": 32, "split": split, "val": 0}
        return identity(composed | {"data": node})

    first = found()
    assert found() == first
    change(root)
    assert found() != first


def test_the_lists_of_a_split_count(composed, tmp_path):
    for place in range(4):
        picture(tmp_path / "photos" / f"{place}.png", 50 * place)
    tests = tmp_path / "test.txt"
    node = {"_target_": "idinvert.data.folder.image_folder", "path": str(tmp_path / "photos")}
    node |= {"resolution": 32, "val": 0, "split": {"kind": "list", "test": str(tests)}}
    found = []
    for content in ("3.png", "2.png"):
        tests.write_text(content)
        found.append(identity(composed | {"data": node}))
    moved = shutil.copy(tests, tmp_path / "moved.txt")
    found.append(identity(composed | {"data": {**node, "split": {"kind": "list", "test": moved}}}))
    assert found[0] != found[1] == found[2]
    picture(tmp_path / "photos" / "0a.png", 99)  # it trains; ids of the others move on by one
    assert identity(composed | {"data": node}) != found[1]


def test_directions_count_by_what_is_in_them(tmp_path):
    """Those that are named, and those that task=directions found last."""
    words = ["task=manipulation", f"system.outputs={tmp_path}", "data.train=16"]
    config = compose_plain("evaluate", words) | {"n": 4, "batch_size": 2}
    shipped = identity(config)
    generator = contents_of(config)["generator.path"]
    vector = torch.nn.functional.normalize(torch.ones(1, 128))
    given = tmp_path / "mine.safetensors"
    found = [shipped]
    for path in (given, tmp_path / "evaluations" / generator / "directions.safetensors"):
        chosen = put(config, "task.directions", str(given)) if path == given else config
        for layers in (None, (1, 2)):
            path.parent.mkdir(parents=True, exist_ok=True)
            save_directions(path, [Direction("age", vector, layers)])
            found.append(identity(chosen))
    assert found[1:3] == found[3:5] and len(set(found)) == 3


def test_the_methods_of_a_task_count_by_what_they_stand_on(tmp_path):
    path = write(tmp_path / "encoder.safetensors", b"1")
    entry = {"label": "E", "words": f"inversion=encoder encoder.path={path}"}
    config = compose_plain("evaluate", ["task=out_of_domain", "data.train=16"])
    config = put(config | {"n": 4, "batch_size": 2}, "task.methods", [entry])
    first = identity(config)
    write(path, b"2")
    assert identity(config) != first
    path = path.rename(tmp_path / "moved.safetensors")
    write(path, b"1")
    entry = {"label": "E", "words": f"inversion=encoder encoder.path={path}"}
    assert identity(put(config, "task.methods", [entry])) == first


def test_the_losses_of_a_run_count(tmp_path):
    run = tmp_path / "domain_guided" / "abcdefghij"
    write(run / "config.yaml", b"{}")
    config = compose_plain("evaluate", ["task=training_curves", f"system.outputs={tmp_path}"])
    config |= {"n": 4, "batch_size": 2, "run": str(run)}
    found = []
    for content in (b"1", b"2"):
        write(run / "metrics.jsonl", content)
        found.append(identity(config))
    assert found[0] != found[1]


def test_ones_own_code_counts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    config = compose_plain("evaluate", ["data.train=16"]) | {"n": 4, "batch_size": 2}
    config = put(config, "inversion", {"_target_": "own_method_of_a_test.Mine", "table": "x.csv"})
    found = []
    for code, table in ((b"1", b"a"), (b"2", b"a"), (b"2", b"b")):
        write(tmp_path / "own_method_of_a_test.py", code)
        table = write(tmp_path / "x.csv", table)
        found.append(identity(put(config, "inversion.table", str(table))))
    assert len(set(found)) == 3


def test_verify_finds_what_size_time_and_inode_do_not_tell(composed, tmp_path):
    path = write(tmp_path / "mask.png", b"1")
    os.utime(path, (1, 1))
    config = put(composed, "inversion.mask", str(path))
    first = identity(config)
    path.write_bytes(b"2")
    os.utime(path, (1, 1))
    assert identity(config) == first
    with computed_anew(True):
        assert identity(config) != first
