"""The control task on a tiny world, against steps and readings computed by hand."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from idinvert.checkpoints.release import save_network
from idinvert.data.domain import Attribute
from idinvert.errors import ConfigError
from idinvert.evaluation import closed_loop
from idinvert.evaluation import control as module
from idinvert.evaluation.control import control
from idinvert.inversion.encoder import EncoderInverter
from idinvert.metrics.codes import NativeCodes
from tests.evaluation.conftest import grid_size, only, read


@pytest.fixture(autouse=True)
def known_directions(monkeypatch):
    """Directions of the context, and a native distribution that takes no samples."""
    monkeypatch.setattr(module, "open_directions", lambda context, **_: dict(context.directions))
    native = NativeCodes(torch.zeros(1, 8), torch.eye(8)[None], 1.0, torch.ones(3), torch.ones(3))
    monkeypatch.setattr(module, "distribution", lambda *_, **__: native)


@pytest.fixture
def other(networks, tmp_path):
    """The file of a second network."""
    network = copy.deepcopy(networks.attributes)
    with torch.no_grad():
        network.heads.weight.mul_(1.25)
    path = tmp_path / "second" / "attributes.safetensors"
    path.parent.mkdir()
    save_network(network, path, provenance={})
    return network, path


@pytest.fixture
def angles(domain):
    """The domain, with 40 degrees for a unit of light."""
    light = Attribute("light", "continuous", 40.0)
    return replace(domain, attributes=(light, domain.attributes[1]))


def reads(network, images):
    with torch.no_grad():
        return network.predict(images.float() / 127.5 - 1).double()


def test_every_edit_shows_what_is_asked_for(
    subject, angles, by_hand, directions, networks, rounded, other, tmp_path
):
    second, path = other
    context = subject(directions=directions, out=tmp_path / "out", domain=angles,
                      checkpoints={"generator": "12", "attributes": "34"})  # fmt: skip
    record = only(
        control(
            context, attribute="light", by=[-0.2, 0.1, 0.2], second=str(path), shown=2, limit=50
        )
    )
    rows = read(tmp_path / "out" / "control.csv")
    assert len(rows) == 24 and record.choices["task"]["unit"] == "degrees"
    before = reads(networks.attributes, rounded(networks.generator.synthesis(by_hand.codes)))
    errors, others, leaked = [], [], []
    for k, row in enumerate(rows):
        code = by_hand.codes[k // 3].clone()
        code[1:3] += float(row["alpha"]) * directions["light"].vector[1:3]
        image = rounded(networks.generator.synthesis(code[None]))
        after, asked = reads(networks.attributes, image)[0], [-0.2, 0.1, 0.2][k % 3]
        got = 40 * (after - before[k // 3])[1].item()
        assert float(row["got"]) == pytest.approx(got, abs=1e-3)
        assert float(row["asked"]) == asked
        if float(row["reached"]):
            assert abs(got - asked) <= 0.0401
            errors.append(abs(got - asked))
            others.append(abs(float(row["got_second"]) - asked))
            leaked.append(abs(after - before[k // 3])[0].item())
    assert len(errors) >= 8
    assert record.metrics["reached"] == pytest.approx(len(errors) / 24)
    median = {"error": errors, "error_second": others, "leaked": leaked}
    for name, values in median.items():
        middle = torch.tensor(values, dtype=torch.float64).quantile(0.5).item()
        assert record.metrics[name] == pytest.approx(middle, abs=2e-4)
    assert record.series["asked"] == [-0.2, 0.1, 0.2]
    light = torch.stack([item["attributes"][0] for item in by_hand.items]).double()
    real = [reads(network, by_hand.reals)[:, 1] for network in (networks.attributes, second)]
    for name, difference in (
        ("reads", real[0] - light), ("reads_second", real[1] - light),
        ("reads_between", real[0] - real[1]),
    ):  # fmt: skip
        value = 40 * difference.abs().quantile(0.5).item()
        assert record.metrics[name] == pytest.approx(value, rel=1e-4)
    assert grid_size(tmp_path / "out" / "pictures.png") == (5, 2)


def test_goals_out_of_reach_are_told(subject, directions, tmp_path, capsys):
    context = subject(directions=directions, out=tmp_path / "out", n=2)
    record = only(control(context, attribute="light", to=[0.99], shown=1, limit=0.1))
    assert record.metrics["reached"] == 0 and "error" not in record.metrics
    assert math.isnan(record.series["got"][0]), "no median of no edits"
    said = capsys.readouterr().out
    assert "001.png: light to 0.99: not reached, from" in said
    assert "task.second=null" in said and "seed=1 data=smooth" in said
    near = control(context.replaced(out=tmp_path), attribute="glasses", by=0.9, shown=0, limit=0.1)
    assert only(near).metrics["reached"] == 0, "a probability cannot pass 1"


def test_a_killed_task_goes_on(subject, directions, tmp_path, monkeypatch):
    whole = only(control(subject(directions=directions), attribute="light", by=0.002, shown=0))
    solve, calls = closed_loop.solve_steps, []

    def dies(*args, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyError("killed")
        return solve(*args, **options)

    monkeypatch.setattr(closed_loop, "solve_steps", dies)
    context = subject(directions=directions, out=tmp_path / "again")
    with pytest.raises(KeyError):
        control(context, attribute="light", by=0.002, shown=0)
    record = only(control(context, attribute="light", by=0.002, shown=0))
    assert len(calls) == 4, "of three chunks, the first is not solved again"
    assert record.metrics == whole.metrics and record.metrics["reached"] > 0
    assert record.series == whole.series


def test_what_makes_no_sense_is_refused(subject, directions, angles, other, domain, networks):
    made = subject(directions=directions, domain=angles, inverter=EncoderInverter(encoder=None))
    path = other[1]
    own = path.with_name("own.safetensors")
    save_network(networks.attributes, own, provenance={})
    known = {"attributes": closed_loop.wire.state_hash(networks.attributes)}
    for options, said in [
        ({}, "expected one of them"),
        ({"by": 1, "to": 1}, "expected one of them"),
        ({"by": 1, "attribute": "lihgt"}, "task.attribute=lihgt is not read .* 'light'"),
        ({"by": 0}, "light goes from -40 to 40 degrees; expected -80 to 80, not 0"),
        ({"by": []}, "expected -80 to 80"),
        ({"to": 41}, "expected -40 to 40"),
        ({"to": float("nan")}, "expected -40 to 40"),
        ({"to": 2, "unit": "label"}, "from -1 to 1 units of its label"),
        ({"to": -0.1, "attribute": "glasses"}, "from 0 to 1 units"),
        ({"by": 1, "attribute": "glasses", "unit": "degrees"}, "whose angles are light;"),
        ({"by": 1, "second": str(own)}, "is the attribute network itself"),
    ]:
        with pytest.raises(ConfigError, match=said):
            control(made.replaced(checkpoints=known), **{"attribute": "light", **options})
    del directions["light"]
    with pytest.raises(ConfigError, match=r"no edit direction \(task=directions .* glasses"):
        control(subject(directions=directions, domain=domain), attribute="light", by=0.1)
