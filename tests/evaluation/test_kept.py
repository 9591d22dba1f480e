"""What lies in a task's folder is read again only where it would come out the same.

Walks the parameters of every task that keeps pictures, and the fields of an edit direction.
"""

import dataclasses
import functools
import inspect
import json
import shutil

import pytest
import torch

from idinvert.editing.diffusion import DiffusionInverter
from idinvert.editing.directions import Direction
from idinvert.errors import ConfigError
from idinvert.evaluation.chunk_store import read_tensor
from idinvert.evaluation.diffusion import diffusion
from idinvert.evaluation.interpolation import interpolation
from idinvert.evaluation.manipulation import manipulation
from idinvert.evaluation.mixing import mixing
from idinvert.evaluation.samples import samples
from idinvert.evaluation.speed import speed
from idinvert.results.record import from_dict, to_dict

NOT_OF_THE_OUTPUTS = {
    "subject": "what inversions depend on has tests of its own",
    "out": "the folder",
    "recompute": "makes all anew",
    "shown": "the picture, which is drawn each time",
}


@pytest.fixture
def bases(networks, directions):
    """Task to its arguments, and to others in the place of each."""
    light = directions["light"]
    known = {**light.provenance, "sigma": [0.5] * 6}
    light = Direction("light", light.vector, light.layers, known)
    turned = Direction("light", -light.vector, light.layers, known)
    moved = Direction("light", light.vector, (3, 4), known)
    wider = Direction("light", light.vector, light.layers, {"sigma": [0.7] * 6})
    stitches = [
        DiffusionInverter(encoder=networks.encoder, perceptual=None, lambda_vgg=0, steps=1, size=s)
        for s in (4, 6)
    ]
    return {
        interpolation: ({}, {"steps": [3], "seed": [1]}),
        mixing: ({}, {"first": [2], "seed": [1]}),
        samples: ({}, {"truncation": [0.5], "seed": [1]}),
        manipulation: (
            {"directions": {"light": light}, "unit": "sigma"},
            {
                "directions": [{"light": one} for one in (turned, moved, wider)],
                "steps": [[-1, 1]],
                "layers": [[0]],
                "unit": ["length"],
            },
        ),
        diffusion: (
            {"inverters": stitches[:1], "images": [0, 1]},
            {"inverters": [stitches[1:]], "seed": [1], "images": [[1, 0], [0, 2]]},
        ),
    }


def outputs(out):
    """Every picture below a folder, by its file."""
    return {path.relative_to(out): read_tensor(path, "images") for path in out.rglob("part-*.s*")}


TASKS = (interpolation, mixing, samples, manipulation, diffusion)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)
def test_other_arguments_are_never_answered_with_what_is_there(
    task, bases, subject, measures, tmp_path
):
    base, others = bases[task]
    quick = {"n": 4, "measures": dataclasses.replace(measures, names=["fd_attributes"])}
    call = functools.partial(task, subject(**quick), shown=0)
    names = set(inspect.signature(task).parameters) - set(NOT_OF_THE_OUTPUTS)
    assert names == set(others), "a parameter without another value to try"
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


def test_another_id_or_backbone_is_another_inversion(subject, measures, domain, tmp_path):
    marks = set()
    for ids in ([3, 4, 5], [3, 4, 6], None):
        domain.test.ids = ids
        marks.add(subject().mark())
    assert len(marks) == 3
    found = []
    for content in (b"1", b"2"):
        (tmp_path / "lpips.pth").write_bytes(content)
        names = ["mse", "lpips_alex"]
        own = dataclasses.replace(measures, names=names, lpips_path=tmp_path / "lpips.pth")
        found.append(subject(measures=own).mark())
    assert len({*found, subject().mark()}) == 3


def test_a_record_says_on_what_and_in_what_batches_its_images_were_made(subject, tmp_path):
    first = interpolation(subject(), out=tmp_path / "out", shown=0)
    assert first.device == "cpu, 1 threads" and first.batch_size == 3
    part = next((tmp_path / "inversions").rglob("part-*.json"))
    part.write_text(json.dumps({"seconds": 1.0, "device": "another"}))
    again = interpolation(subject(), out=tmp_path / "out", shown=0)
    assert set(again.device.split(" and ")) == {"another", "cpu, 1 threads"}
    part.write_text(json.dumps({"seconds": 1.0}))  # of a version that did not note it
    assert interpolation(subject(), out=tmp_path / "out", shown=0).device == first.device
    assert speed(subject(), out=tmp_path / "out", images=1, warm_up=0).batch_size == 1
    assert from_dict(to_dict(first)) == first and "batch_size" not in to_dict(
        dataclasses.replace(first, batch_size=None)
    )


def test_tf32_is_another_precision(subject, monkeypatch):
    first = subject().identity
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    assert subject().identity != first
