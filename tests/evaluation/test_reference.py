"""Sets are compared with real images that no output was made of, in every task that has sets."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import idinvert.evaluation
from idinvert.editing.diffusion import DiffusionInverter
from idinvert.errors import ConfigError, DataError
from idinvert.evaluation.diffusion import diffuse
from idinvert.evaluation.interpolation import interpolate
from idinvert.evaluation.manipulation import manipulate
from idinvert.evaluation.mixing import mix
from idinvert.evaluation.out_of_domain import invert_foreign
from idinvert.evaluation.outputs import compared, partners_of
from idinvert.evaluation.reconstruction import reconstruct
from idinvert.evaluation.samples import sample
from idinvert.evaluation.untrained_encoder import measure_untrained
from idinvert.metrics.suite import MetricSuite
from idinvert.metrics.swd import swd
from tests.evaluation.conftest import Smooth, only


def diffused(one, networks):
    inverter = DiffusionInverter(
        encoder=networks.encoder, perceptual=networks.features, lambda_vgg=0.1, steps=1, size=6,
        centre=[8, 8],
    )  # fmt: skip
    return only(diffuse(one.replaced(inverter=inverter), images=[]))


TASKS = {
    "reconstruction": lambda one, _: only(reconstruct(one)),
    "diffusion": diffused,
    "interpolation": lambda one, _: only(interpolate(one, shown=0)),
    "mixing": lambda one, _: only(mix(one, shown=0)),
    "manipulation": lambda one, _: only(manipulate(one, shown=0)),
    "samples": lambda one, _: only(sample(one, shown=0)),
    "untrained_encoder": lambda one, _: only(
        measure_untrained(["StyleGAN2"], [{"none": one}], out=one.out, shown=0)
    ),
    "out_of_domain": lambda one, _: only(
        invert_foreign(one, methods=[{"label": "Encoder"}], own="data=home", shown=0)
    ),
}


def test_no_task_that_measures_sets_is_forgotten_here():
    found = set()
    for path in Path(idinvert.evaluation.__file__).parent.glob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        names = {n.id for n in nodes if isinstance(n, ast.Name)}
        names |= {n.attr for n in nodes if isinstance(n, ast.Attribute)}
        if names & {"measure_sets", "measured_outputs", "make_outputs"}:
            found.add(path.stem)
    pairs_alone = {"control", "restoration"}  # they make images, and measure no sets of them
    assert found - {"outputs"} - pairs_alone == set(TASKS)


@pytest.fixture
def seen(monkeypatch):
    """What the suite of sets was given: targets and other images."""
    kept = {"targets": [], "others": []}
    update, refer = MetricSuite.update, MetricSuite.refer

    def updated(self, outputs, targets):
        if self.keeps_images:
            kept["targets"].append(targets)
        return update(self, outputs, targets)

    def referred(self, images):
        kept["others"].append(images)
        return refer(self, images)

    monkeypatch.setattr(MetricSuite, "update", updated)
    monkeypatch.setattr(MetricSuite, "refer", referred)
    return kept


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize(
    ("n", "there", "reference"), [(4, 20, "disjoint"), (8, 11, "disjoint"), (8, 11, "same")]
)
def test_the_reference_holds_no_image_that_an_output_was_made_of(
    name, n, there, reference, subject, domain, networks, directions, seen, tmp_path
):
    m = 5 if (n, reference) == (8, "disjoint") else n
    images = replace(domain, test=Smooth(there, first_id=100))
    names = {"reference": reference, "metric_names": ["mse", "swd"]}
    one = subject(n=n, domain=images, directions=directions, out=tmp_path / "out", **names)
    record = TASKS[name](one, networks)
    prefix = "own_" if name == "out_of_domain" else ""
    assert record.reference == reference and record.n == n
    text = record.protocol[f"{prefix}swd"]
    assert f"reference={reference}" in text and f"{m} outputs against" in text
    assert (f"{prefix}swd_floor" in record.metrics) == (2 * m <= there)
    assert ("no floor" in text) == (2 * m > there)
    low, high = record.intervals[f"{prefix}swd"]
    assert low < record.metrics[f"{prefix}swd"] < high
    real = torch.stack([images.test[i]["image"] for i in range(there)])
    others = torch.cat(seen["others"]) if seen["others"] else real[:0]
    assert torch.equal(others, real[m : 2 * m] if 2 * m <= there else real[:0])
    if f"{prefix}swd_floor" in record.metrics:  # what a perfect copy would get
        floor = swd(real[:m], real[m : 2 * m])["swd"]
        assert record.metrics[f"{prefix}swd_floor"] == pytest.approx(floor, rel=1e-6)


def test_pairs_stay_among_the_images_that_are_compared(subject, domain):
    images = replace(domain, test=Smooth(11, first_id=100))
    one = subject(n=8, domain=images, reference="disjoint")
    partner, within = partners_of(one.replaced(seed=3))
    assert within == {"compared": 5} and sorted(partner[:5].tolist()) == list(range(5))
    assert all(i != j for i, j in enumerate(partner.tolist())) and partner.max() < 5
    assert partners_of(subject(n=8))[1] == {}
    few = subject(n=2, domain=replace(domain, test=Smooth(3)), reference="disjoint")
    with pytest.raises(DataError, match="a split of 4 or more"):
        partners_of(few)


def test_how_many_are_compared():
    assert compared(500, there=5000, reference="disjoint") == (500, (500, 1000))
    assert compared(5000, there=5000, reference="disjoint") == (2500, (2500, 5000))
    assert compared(5000, there=5000, reference="same") == (5000, None)
    assert compared(500, there=5000, reference="same") == (500, (500, 1000))
    assert compared(1, there=1, reference="disjoint") == (0, None)


def test_a_distance_of_single_images_is_refused(subject, domain):
    def made(name, reference):
        metric = {"names": [name], "lpips_path": None}
        images = replace(domain, test=Smooth(3))
        return reconstruct(subject(domain=images, n=3, reference=reference, metric=metric))

    for name in ("fd_attributes", "kd_attributes"):
        with pytest.raises(ConfigError, match=f"asks for {name}, but 3 images .* too few"):
            made(name, "disjoint")
    assert made("swd", "disjoint") and made("fd_attributes", "same")
