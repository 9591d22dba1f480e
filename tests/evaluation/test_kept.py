"""What lies in a task's folder is read again only where it would come out the same.

Walks the parameters of every task that keeps pictures, and the fields of an edit direction.
"""

import dataclasses
import inspect
import json
import shutil

import pytest
import torch

from idinvert.cli.evaluate import OF_OWN_IMAGES
from idinvert.editing.diffusion import DiffusionInverter
from idinvert.editing.directions import Direction
from idinvert.errors import ConfigError
from idinvert.evaluation.chunk_store import read_tensor
from idinvert.evaluation.diffusion import diffuse
from idinvert.evaluation.interpolation import interpolate
from idinvert.evaluation.manipulation import manipulate
from idinvert.evaluation.mixing import mix
from idinvert.evaluation.samples import sample
from idinvert.evaluation.speed import measure_speed
from idinvert.results.record import from_dict, to_dict
from tests.evaluation.conftest import only

NOT_OF_THE_OUTPUTS = {
    "context": "what inversions depend on has tests of its own; its seed is tried here too",
    "found_for": "the directions are given",
    "names": "the directions are given",
    "shown": "the picture, which is drawn each time",
    **dict.fromkeys(OF_OWN_IMAGES, "of images=, whose edits are made each time"),
}


STITCH = {
    "_target_": "idinvert.editing.diffusion.DiffusionInverter", "lambda_vgg": 0.0, "steps": 1,
}  # fmt: skip


@pytest.fixture
def bases(directions):
    """Task to its arguments, and to others in the place of each."""
    light = directions["light"]
    known = {**light.provenance, "sigma": [0.5] * 6}
    light = Direction("light", light.vector, light.layers, known)
    turned = Direction("light", -light.vector, light.layers, known)
    moved = Direction("light", light.vector, (3, 4), known)
    wider = Direction("light", light.vector, light.layers, {"sigma": [0.7] * 6})
    return {
        interpolate: ({}, {"steps": [3], "seed": [1]}),
        mix: (
            {"statistics": "gram", "steps": 2},
            {"first": [2], "seed": [1], "statistics": ["moments"], "steps": [3], "lr": [0.1]},
        ),
        sample: ({}, {"truncation": [0.5], "midpoints": [True], "seed": [1]}),
        manipulate: (
            {"directions": {"light": light}, "unit": "sigma"},
            {
                "directions": [{"light": one} for one in (turned, moved, wider)],
                "steps": [[-1, 1]],
                "layers": [[0]],
                "unit": ["length"],
            },
        ),
        diffuse: (
            {"sizes": [4], "images": [0, 1]},
            {"sizes": [[6]], "seed": [1], "images": [[1, 0], [0, 2]]},
        ),
    }


def outputs(out):
    """Every picture below a folder, by its file."""
    return {path.relative_to(out): read_tensor(path, "images") for path in out.rglob("part-*.s*")}


TASKS = (interpolate, mix, sample, manipulate, diffuse)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)
def test_other_arguments_are_never_answered_with_what_is_there(
    task, bases, subject, networks, tmp_path
):
    base, others = bases[task]
    quick = {"n": 4, "metric_names": ["fd_attributes"]}
    if task is diffuse:
        inverter = DiffusionInverter(encoder=networks.encoder, perceptual=None, lambda_vgg=0)
        quick |= {"inverter": inverter, "inversion": STITCH}

    def call(out, recompute=False, seed=0, directions=(), **choices):
        changes = {"out": out, "recompute": recompute, "seed": seed, "directions": directions}
        return task(subject(**quick, **changes), shown=0, **choices)

    names = set(inspect.signature(task).parameters) - set(NOT_OF_THE_OUTPUTS)
    assert names == set(others) - {"seed"}, "a parameter without another value to try"
    call(out=tmp_path / "base", **base)
    assert outputs(tmp_path / "base")
    for name, values in others.items():
        for k, value in enumerate(values):
            changed = {**base, name: value}
            fresh, again = tmp_path / f"{name}{k}", tmp_path / f"{name}{k}-again"
            call(out=fresh, **changed)
            shutil.copytree(tmp_path / "base", again)
            try:
                call(out=again, **changed)
            except ConfigError as error:
                assert "differ" in str(error)
                call(out=again, **changed, recompute=True)
            for path, images in outputs(fresh).items():
                assert torch.equal(outputs(again)[path], images), f"{name}={value}: {path}"


def test_all_of_a_direction_that_edits_take_is_its_content(directions):
    light = directions["light"]
    others = {
        "name": [dataclasses.replace(light, name="other")],
        "vector": [
            dataclasses.replace(light, vector=-light.vector),
            dataclasses.replace(light, vector=light.vector[:1]),
        ],
        "layers": [dataclasses.replace(light, layers=layers) for layers in (None, (), (1,))],
        "provenance": [
            dataclasses.replace(light, provenance={"sigma": [s] * 6}) for s in (0.1, 0.2)
        ],
    }
    assert set(others) == {field.name for field in dataclasses.fields(Direction)}
    assert others.pop("name")[0].content == light.content, "names stand beside it"
    contents = [one.content for kind in others.values() for one in kind]
    assert len({light.content, *contents}) == 1 + len(contents)
    assert dataclasses.replace(light, provenance={"accuracy": 1}).content == light.content


def test_another_id_or_backbone_is_another_inversion(subject, domain, tmp_path):
    marks = set()
    for ids in ([3, 4, 5], [3, 4, 6], None):
        domain.test.ids = ids
        marks.add(subject().folder("task"))
    assert len(marks) == 3
    found = []
    for content in (b"1", b"2"):
        (tmp_path / "lpips.pth").write_bytes(content)
        metric = {"names": ["mse", "lpips_alex"], "lpips_path": tmp_path / "lpips.pth"}
        found.append(subject(metric=metric).folder("task"))
    assert len({*found, subject().folder("task")}) == 3


def test_a_record_says_on_what_and_in_what_batches_its_images_were_made(subject, tmp_path):
    first = only(interpolate(subject(out=tmp_path / "out"), shown=0))
    assert first.device == "cpu, 1 threads" and first.batch_size == 3
    part = next((tmp_path / "inversions").rglob("part-*.json"))
    part.write_text(json.dumps({"seconds": 1.0, "device": "another"}))
    again = only(interpolate(subject(out=tmp_path / "out"), shown=0))
    assert set(again.device.split(" and ")) == {"another", "cpu, 1 threads"}
    part.write_text(json.dumps({"seconds": 1.0}))  # of a version that did not note it
    assert only(interpolate(subject(out=tmp_path / "out"), shown=0)).device == first.device
    assert only(measure_speed(subject(out=tmp_path / "out"), images=1, warm_up=0)).batch_size == 1
    assert from_dict(to_dict(first)) == first and "batch_size" not in to_dict(
        dataclasses.replace(first, batch_size=None)
    )


def test_tf32_is_another_precision(subject, monkeypatch):
    first = subject().identity
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    assert subject().identity != first
