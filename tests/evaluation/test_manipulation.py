"""The manipulation task against the protocol written out by hand."""

import pytest
import torch

from idinvert.editing.directions import Direction
from idinvert.errors import CheckpointError, ConfigError
from idinvert.evaluation.code_metrics import movement
from idinvert.evaluation.manipulation import manipulate
from idinvert.metrics.frechet import ExtractorDistance
from idinvert.metrics.swd import swd
from tests.evaluation.conftest import only, read


def test_outputs_and_figures_follow_the_protocol(
    subject, by_hand, directions, networks, rounded, tmp_path
):
    steps = [-2, 1, 3]
    record = only(
        manipulate(subject(directions=directions, out=tmp_path / "out"), steps=steps, shown=2)
    )
    alpha = [-2, -2, 1, 1, 3, 3, -2, -2]
    names = ["glasses", "light"] * 4
    rows = read(tmp_path / "out" / "edits.csv")
    assert [row["direction"] for row in rows] == names
    assert [float(row["alpha"]) for row in rows] == alpha
    moved = by_hand.codes.clone()
    for i in range(8):
        n = directions[names[i]].vector
        if names[i] == "glasses":
            moved[i] += alpha[i] * n  # the same for all layers
        else:
            moved[i, 1:3] += alpha[i] * n[1:3]  # its own layers alone
    edits = networks.generator.synthesis(moved)
    fakes = rounded(edits)
    distance = ExtractorDistance(networks.attributes, name="attributes").between(
        fakes, by_hand.reals
    )
    m = record.metrics
    assert m["fd_attributes"] == pytest.approx(distance["fd_attributes"], rel=2e-2)
    assert m["swd"] == pytest.approx(swd(fakes, by_hand.reals)["swd"], rel=1e-2)

    reader = networks.attributes  # glasses (a probability), light (a value)
    before = rounded(networks.generator.synthesis(by_hand.codes)).double() / 127.5 - 1
    after = fakes.double() / 127.5 - 1
    change = reader(after.float()).double() - reader(before.float()).double()
    p = torch.sigmoid(reader(after.float())) - torch.sigmoid(reader(before.float()))
    change[:, 0] = p[:, 0].double()
    per_unit = change / torch.tensor(alpha, dtype=torch.float64)[:, None]
    assert m["moved_glasses"] == pytest.approx(per_unit[0::2, 0].mean().item(), rel=1e-2, abs=1e-4)
    assert m["moved_light"] == pytest.approx(per_unit[1::2, 1].mean().item(), rel=1e-2, abs=1e-4)
    assert m["moved"] == pytest.approx((m["moved_glasses"] + m["moved_light"]) / 2)
    leaked = torch.cat([per_unit[0::2, 1], per_unit[1::2, 0]]).abs().mean().item()
    assert m["leaked"] == pytest.approx(leaked, rel=1e-2, abs=1e-4)
    assert record.task == "manipulation" and record.choices["task"]["steps"] == steps
    assert record.choices["task"]["directions"] == ["glasses", "light"]
    assert set(record.metrics) <= set(record.protocol) | {"swd_16"}
    assert (tmp_path / "out" / "pictures.png").is_file()


def test_without_an_attribute_network_nothing_is_said_of_movement(
    subject, directions, networks, tmp_path
):
    bare = subject(metric_names=["swd"], attributes=None, directions=directions, out=tmp_path)
    record = only(manipulate(bare, shown=0))
    assert set(record.metrics) == {"swd", "swd_16"}


def test_movement_by_hand():
    before = torch.tensor([[0.0, 0.5], [0.0, 0.5], [0.1, 0.0]])
    after = torch.tensor([[0.6, 0.4], [-0.3, 0.5], [0.1, 0.2]])
    found = movement(
        before, after, names=["a", "b"], aimed=["a", "a", "b"], alpha=torch.tensor([3.0, -1.0, 2.0])
    )
    metrics = found.metrics
    assert metrics["moved_a"] == pytest.approx((0.2 + 0.3) / 2)
    assert metrics["moved_b"] == pytest.approx(0.1)
    assert metrics["moved"] == pytest.approx((0.25 + 0.1) / 2)
    assert metrics["leaked"] == pytest.approx((0.1 / 3 + 0 + 0) / 3, rel=1e-5)
    assert set(found.protocol) == set(metrics)
    assert set(found.intervals) == {"moved_a", "leaked"}, "of one image there is none"
    none = movement(before, after, names=["a", "b"], aimed=["c"] * 3, alpha=torch.ones(3))
    assert none.metrics == {}


def test_bad_input_is_refused_before_any_work(subject, directions, tmp_path):
    wide = Direction("wide", torch.nn.functional.normalize(torch.ones(1, 9)), None)
    other = Direction("x", directions["glasses"].vector, None, {"generator": "another"})
    for given, choices, error, message in (
        ({}, {}, ConfigError, "no directions"),
        (directions, {"steps": [1, 0]}, ConfigError, r"task.steps is \[1, 0\]"),
        (directions, {"layers": [6]}, ConfigError, r"is \[6\]: the generator has layers 0 to 5"),
        (directions, {"unit": "metres"}, ConfigError, "'metres': expected length or sigma"),
        (directions, {"unit": "sigma"}, ConfigError, "'glasses' does not know.*task.unit=length"),
        ({"wide": wide}, {}, CheckpointError, r"'wide' is \[1, 9\]"),
        ({"x": other}, {}, CheckpointError, "found for generator another, not for 12"),
    ):
        with pytest.raises(error, match=message):
            manipulate(subject(directions=given, out=tmp_path / "out"), **choices)
    assert not list(tmp_path.iterdir())


def test_steps_in_standard_deviations(subject, by_hand, directions, networks, rounded, tmp_path):
    light = directions["light"]
    known = {**light.provenance, "sigma": [0.5] * len(light.vector)}
    spread = {"light": Direction("light", light.vector, light.layers, known)}
    out = tmp_path / "out"
    record = only(manipulate(subject(directions=spread, out=out), steps=[3], unit="sigma", shown=0))
    moved = by_hand.codes.clone()
    moved[:, 1:3] += 3 * 0.5 * light.vector[1:3]
    fakes = rounded(networks.generator.synthesis(moved))
    assert record.metrics["swd"] == pytest.approx(swd(fakes, by_hand.reals)["swd"], rel=1e-2)
    assert record.choices["task"]["unit"] == "sigma"
    assert "[3] standard deviations" in record.protocol["swd"]
