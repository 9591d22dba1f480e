"""`task=reconstruction`: records that say everything, and work that is never done twice."""

import csv
import math

import pytest
import torch
from PIL import Image
from torchvision.models import squeezenet1_1

from idinvert.checkpoints.release import fingerprint
from idinvert.data.content import file_hash
from idinvert.errors import ConfigError, DataError, MissingWeightsError
from idinvert.inversion.encoder import EncoderInverter
from idinvert.inversion.optimize_codes import InDomainInverter
from idinvert.results.record import read_records


@pytest.fixture
def inverted(monkeypatch):
    """How many images each call of an inverter was given."""
    calls: list[int] = []
    for kind in (EncoderInverter, InDomainInverter):

        def counted(self, images, _invert=kind.invert, **kw):
            calls.append(len(images))
            return _invert(self, images, **kw)

        monkeypatch.setattr(kind, "invert", counted)
    return calls


@pytest.mark.parametrize("inversion", ["encoder", "in_domain"])
def test_a_record_says_what_was_measured_and_what_made_it(on_run, world, outputs, inversion):
    steps = {"in_domain": ["inversion.steps=2"], "encoder": []}[inversion]
    names = "[mse,ssim,psnr,swd,fd_attributes,kd_attributes,attributes,seconds_per_image]"
    (record,) = on_run(f"inversion={inversion}", *steps, f"metric.names={names}")
    assert read_records(outputs / "records.jsonl") == [record]
    asked = {"mse", "ssim", "psnr", "swd", "fd_attributes", "kd_attributes", "seconds_per_image"}
    read = {"agreement_eyeglasses", "correlation_pose", "failed_images", "swd_floor"}
    assert asked | read <= set(record.metrics)
    assert set(record.metrics) - set(record.protocol) <= {"swd_16", "kd_attributes_std"}
    assert (record.task, record.n, record.nimg, record.run) == (
        "reconstruction", 6, 4, world.run.name,
    )  # fmt: skip
    assert record.metrics["failed_images"] == 0 and record.metrics["mse"] > 0
    assert record.choices["inversion"]["name"] == inversion
    assert record.choices["encoder"]["name"] == "base"
    assert record.choices["objective"]["lambda_adv"] == 0.1
    assert record.data["name"] == "faces_mini" and record.data["split"] == "test"
    assert record.data["resolution"] == 16
    weights = {role: folder / "weights" / f"{role}.safetensors" for role, folder in (
        ("generator", world.gan), ("encoder", world.run),
    )}  # fmt: skip
    for role, path in weights.items():
        assert record.checkpoints[role] == fingerprint(path)
    assert {"perceptual", "attributes"} <= set(record.checkpoints)
    assert record.versions["torch"] == torch.__version__.split("+")[0]


def test_distances_on_features_that_no_method_descends(on_run, tmp_path, inverted):
    torch.save(squeezenet1_1(weights=None).features.state_dict(), tmp_path / "squeezenet.pth")
    on_run("inversion=encoder")
    calls = len(inverted)
    path = f"metric.extractors.squeezenet.path={tmp_path / 'squeezenet.pth'}"
    names = "metric.names=[fd_attributes,fd_squeezenet,kd_squeezenet]"
    words = ["inversion=encoder", "metric=independent", names]
    (record,) = on_run(*words, path, "metric.extractors.squeezenet.resize=32")
    assert len(inverted) == calls, "another metric inverts nothing again"
    assert {"fd_squeezenet", "kd_squeezenet", "fd_attributes"} <= set(record.metrics)
    digest = file_hash(tmp_path / "squeezenet.pth")[:16]
    assert f"weights sha256 {digest}, layer 12, resize 32" in record.protocol["fd_squeezenet"]
    assert "sha256" not in record.protocol["fd_attributes"]
    with pytest.raises(MissingWeightsError, match=r"metric\.extractors\.squeezenet\.path"):
        on_run(*words)


def test_a_second_call_inverts_nothing_again(on_run, outputs, inverted):
    words = ("inversion=in_domain", "inversion.steps=2")
    (first,) = on_run(*words)
    assert inverted == [4, 2]
    (second,) = on_run(*words)
    assert inverted == [4, 2], "the parts on disk were used"
    assert second.metrics == first.metrics
    on_run(*words, "recompute=true")
    assert inverted == [4, 2, 4, 2]
    (folder,) = (outputs / "evaluations" / first.run).iterdir()
    with (folder / "in_domain" / "per_image.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["index"]) for row in rows] == list(range(6))
    mean = sum(float(row["mse"]) for row in rows) / 6
    assert mean == pytest.approx(first.metrics["mse"], rel=1e-4)
    picture = Image.open(folder / "in_domain" / "reconstructions.png")
    assert picture.width > 6 * 128, "six images, enlarged"


def test_two_settings_do_not_get_in_each_others_way(on_run, outputs, inverted):
    (one,) = on_run("inversion.steps=1")
    (two,) = on_run("inversion.steps=2")
    (alone,) = on_run("inversion=encoder")
    assert len(inverted) == 6
    assert len(list((outputs / "evaluations" / one.run).iterdir())) == 3
    assert len({record.metrics["mse"] for record in (one, two, alone)}) == 3
    again = on_run("inversion.steps=1")[0]
    assert again.metrics == one.metrics and len(inverted) == 6
    steps = [record.choices["inversion"]["steps"] for record in (one, two, alone)]
    assert steps == [1, 2, 0]


def test_what_changes_no_result_does_not_make_it_another_one(on_run, inverted, outputs):
    (one,) = on_run("inversion.steps=1")
    (other,) = on_run("inversion.steps=1", "batch_size=3", "system.num_workers=0", "logger=csv")
    assert len(list((outputs / "evaluations" / one.run).iterdir())) == 1
    assert inverted == [4, 2, 3, 3]
    assert other.metrics["mse"] == pytest.approx(one.metrics["mse"], rel=1e-4)


def test_an_inversion_in_half_precision_is_timed_too(on_run):
    names = "metric.names=[mse,seconds_per_image]"
    (record,) = on_run("inversion.steps=1", "trainer.precision=bf16-true", names)
    assert record.metrics["seconds_per_image"] > 0


def test_a_few_photographs_are_measured_as_far_as_they_can_be(go, world, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(12):
        Image.new("RGB", (20, 16), (20 * i, 90, 9)).save(folder / f"{i}.png")
    words = (f"run={world.run.name}", "data=folder", f"data.path={folder}", "inversion=encoder")
    words += ("data.resolution=16",)
    asked = "metric.names=[mse,attributes]"
    with pytest.warns(UserWarning) as warned:
        (record,) = go(*words)
    said = "\n".join(str(one.message) for one in warned)
    assert "n=2: the test split has no more" in said
    assert "left out attributes: the data has no labels" in said
    assert record.n == 2 and record.metrics["mse"] > 0
    assert math.isnan(record.metrics["attributes"])
    assert "the data has no labels" in record.protocol["attributes"]
    with pytest.raises(DataError, match="asked for n=5 images, but the split has 2"):
        go(*words, "n=5")
    with pytest.raises(ConfigError, match="asks for attributes, but the data has no labels"):
        go(*words, "n=2", asked)
