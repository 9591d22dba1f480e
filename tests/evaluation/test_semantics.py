"""Precision and recall of attributes from inverted codes, against scikit-learn on codes by hand."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from idinvert.errors import CheckpointError, ConfigError, DataError
from idinvert.evaluation.semantics import boundary_scores, classify
from idinvert.results.record import from_dict, to_dict
from tests.evaluation.conftest import only, read


def projections(codes, direction):
    """The mean over its layers of each code's projection, one number after the other."""
    layers = direction.layers or range(6)
    rows = direction.vector.double().tolist()
    return [
        sum(
            sum(a * b for a, b in zip(code[k], rows[k % len(rows)], strict=True)) for k in layers
        ) / len(list(layers))
        for code in codes.double().tolist()
    ]  # fmt: skip


def test_figures_are_scikit_learns_on_the_codes(subject, by_hand, directions, tmp_path):
    record = only(classify(subject(directions=directions, out=tmp_path / "out")))
    labels = torch.stack([item["attributes"] for item in by_hand.items])  # light, glasses
    truth = {"glasses": labels[:, 1].numpy() > 0.5, "light": labels[:, 0].numpy() > 0}
    for name in ("glasses", "light"):
        scores = projections(by_hand.codes, directions[name])
        ap = reference.average_precision_score(truth[name], scores)
        auc = reference.roc_auc_score(truth[name], scores)
        assert record.metrics[f"ap_{name}"] == pytest.approx(ap, rel=1e-6)
        assert record.metrics[f"auc_{name}"] == pytest.approx(auc, rel=1e-6)
        assert record.metrics[f"positives_{name}"] == pytest.approx(truth[name].mean())
        precision, recall, _ = reference.precision_recall_curve(truth[name], scores)
        np.testing.assert_allclose(record.series[f"{name}/precision"], precision, atol=1e-6)
        np.testing.assert_allclose(record.series[f"{name}/recall"], recall, atol=1e-6)
        assert "labels of the data" in record.protocol[f"ap_{name}"]
    both = record.metrics["ap_glasses"] + record.metrics["ap_light"]
    assert record.metrics["ap"] == pytest.approx(both / 2)
    assert from_dict(to_dict(record)) == record
    rows = [row for row in read(tmp_path / "out" / "curves.csv") if row["attribute"] == "light"]
    assert [float(row["recall"]) for row in rows] == pytest.approx(
        list(record.series["light/recall"]), abs=1e-5
    )


def test_unlabelled_images_take_the_networks_word(
    subject, by_hand, directions, networks, domain, tmp_path
):
    reader = copy.deepcopy(networks.attributes)
    light = reader(by_hand.x)[:, 1].sort().values
    middle = len(light) // 2
    reader.heads.bias[1] -= light[middle - 1 : middle + 1].mean()  # half above 0, half below
    bare = dataclasses.replace(domain, attributes=())
    for truth, images in (("auto", bare), ("network", domain)):
        record = only(
            classify(
                subject(
                    domain=images,
                    attributes=reader,
                    directions={"light": directions["light"]},
                    out=tmp_path,
                ),
                truth=truth,
            )
        )
        positive = reader(by_hand.x)[:, 1].numpy() > 0
        scores = projections(by_hand.codes, directions["light"])
        ap = reference.average_precision_score(positive, scores)
        assert record.metrics["ap_light"] == pytest.approx(ap, rel=1e-6)
        assert "read from the real image" in record.protocol["ap_light"]


def test_scores_of_one_row_for_all_layers(directions, by_hand):
    ours = boundary_scores(by_hand.codes, directions["glasses"])
    n = directions["glasses"].vector[0].double()
    torch.testing.assert_close(ours, (by_hand.codes.double() @ n).mean(1))


def test_what_has_no_truth_is_refused(subject, directions, domain, tmp_path):
    glasses, bare = directions["glasses"], dataclasses.replace(domain, attributes=())
    strange = {"beard": dataclasses.replace(glasses, name="beard")}
    other = {"glasses": dataclasses.replace(glasses, provenance={"generator": "another"})}
    for given, changes, truth, error, message in (
        (strange, {}, "auto", ConfigError, r"truth for 'beard'.*labelled with \['light'"),
        (directions, {}, "guess", ConfigError, r"task\.truth is 'guess'"),
        (directions, {"domain": bare, "attributes": None}, "auto", ConfigError, "for 'glasses'"),
        (other, {}, "auto", CheckpointError, "found for generator another"),
    ):
        with pytest.raises(error, match=message):
            classify(subject(directions=given, out=tmp_path / "out", **changes), truth=truth)
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError, match=r"of 1 images each has or none has glasses, light"):
        few = subject(n=1, metric_names=["mse"], directions=directions, out=tmp_path / "out")
        only(classify(few))


def test_an_attribute_that_all_images_have_is_left_open(
    subject, by_hand, directions, networks, tmp_path
):
    reader = copy.deepcopy(networks.attributes)
    reader.heads.bias[0] -= reader(by_hand.x)[:, 0].median()  # glasses: half of the images
    reader.heads.bias[1] += 100.0  # light: all of them
    one = subject(attributes=reader)
    record = only(classify(one.replaced(directions=directions, out=tmp_path), truth="network"))
    assert math.isnan(record.metrics["ap_light"]) and math.isnan(record.metrics["auc_light"])
    assert "8 of 8 images have light" in record.protocol["ap_light"]
    assert record.metrics["ap"] == record.metrics["ap_glasses"]
    assert set(record.series) == {"glasses/recall", "glasses/precision"}
    with pytest.raises(DataError, match="take more images"):
        light = {"light": directions["light"]}
        only(classify(one.replaced(directions=light, out=tmp_path), truth="network"))
