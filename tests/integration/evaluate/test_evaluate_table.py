"""`table=…`: evaluates what is missing, reuses what is there, never trains."""

import json
import shutil
import statistics

import pytest
import pytorch_lightning as pl

from idinvert.cli import trained_gans
from idinvert.cli.evaluate import evaluate
from idinvert.config.compose import compose_plain, given_keys
from idinvert.errors import ConfigError
from idinvert.inversion.optimize_codes import InDomainInverter
from idinvert.results.record import read_records
from tests.integration.evaluate.conftest import TINY

pytestmark = pytest.mark.usefixtures("nothing_shipped", "no_training")


@pytest.fixture(scope="session")
def encoder_of(train_one, world):
    """Trains encoders for the generator that Table 1 stands on: StyleGAN with one w a layer."""
    train_one(
        "experiment=gan",
        "generator=stylegan",
        "discriminator=stylegan",
        "generator.multi_w=true",
    )

    def train(*words):
        return train_one(
            "experiment=domain_guided",
            "generator.path=trained:stylegan_multi_w",
            "data.test=12",
            "logging.every_nimg=4",
            f"perceptual.network.path={world.attributes}",
            f"attributes.path={world.attributes}",
            *words,
        )

    return train


@pytest.fixture(scope="session")
def retrained(encoder_of):
    return encoder_of()


@pytest.fixture(scope="session")
def another_seed(encoder_of):
    return encoder_of("seed=1")


@pytest.fixture
def outputs(retrained, tmp_path):
    """An outputs folder of this test's own, with that encoder's run in it."""
    shutil.copytree(retrained, tmp_path / "out" / "domain_guided" / retrained.name)
    return tmp_path / "out"


@pytest.fixture
def no_training(monkeypatch):
    """Whoever trains is caught."""

    def refuse(*args, **kw):
        raise AssertionError("a table never trains")

    monkeypatch.setattr(pl.Trainer, "fit", refuse)
    monkeypatch.setattr("idinvert.cli.train.train", refuse)


def tiny(table):
    """A table whose rows are of what is trained here: with the settings of this world."""
    scale = table["scales"]["miniature"]
    words = [word for word in TINY if word.startswith(("scale", "batch_size"))]
    train = [*scale["train"], *words]
    return table | {"scales": table["scales"] | {"miniature": scale | {"train": train}}}


def quicker(table):
    """Table 1 as it stands, with two steps for all and without the row of 1,000."""
    text = json.dumps([row for row in table["rows"] if "1,000" not in row["label"]])
    table["scales"]["miniature"]["fill"]["steps"] = 2
    return table | {"rows": json.loads(text.replace("inversion.steps=100", "inversion.steps=2"))}


@pytest.fixture(autouse=True)
def nothing_shipped(tmp_path, monkeypatch):
    """Tables of this folder's runs alone: to evaluate what is shipped takes minutes."""
    monkeypatch.setattr(trained_gans, "assets_folder", lambda: tmp_path / "nothing shipped")


@pytest.fixture
def table1(world, tmp_path):
    """`evaluate.py table=table1_methods`, on six images."""

    def render(*overrides, outputs):
        place = (f"system.outputs={outputs}", f"system.cache={world.cache}", "trainer=cpu")
        words = ["table=table1_methods", "n=6", "batch_size=6", *place, *overrides]
        config = compose_plain("evaluate", words)
        config["table"] = tiny(quicker(config["table"]))
        return evaluate(config, given=given_keys(words))

    return render


def row_of(markdown, label):
    (line,) = [line for line in markdown.splitlines() if line.startswith(f"| {label} |")][:1]
    cells = [cell.split(" ±")[0] for cell in line.strip("|").split("|")]  # without intervals
    return [cell.strip() for cell in cells][1:]


def test_without_runs_it_says_how_to_train_them(table1, tmp_path):
    assert table1(outputs=tmp_path / "empty") == []
    folder = tmp_path / "empty" / "tables"
    assert {path.suffix for path in folder.iterdir()} == {".md", ".csv", ".tex"}
    text = (folder / "table1_methods.miniature.md").read_text(encoding="utf-8")
    cells = row_of(text, "In-Domain Inversion (Ours)")
    paper, ours = cells[:8], cells[8:]
    assert all(cell.startswith("—") for cell in [*paper[0::2], *ours]), "measured"
    assert [cell.strip("*") for cell in paper[1::2]] == ["15.07", "14.92", "0.568", "0.053"]
    assert "there are no records" in text
    for training, data, generator in (
        ("domain_guided", "faces_mini", "trained:stylegan_multi_w"),
        ("conventional", "towers_mini", "shipped:towers_mini"),
    ):
        more = f"data={data} scale=miniature generator.path={generator} scale.resolution=16"
        assert f"`python train.py experiment={training} {more}" in text


def test_what_is_missing_is_evaluated_once(table1, retrained, outputs, monkeypatch):
    assert table1("evaluate_missing=false", outputs=outputs) == []
    text = (outputs / "tables" / "table1_methods.miniature.md").read_text(encoding="utf-8")
    assert row_of(text, "Domain-Guided Encoder (Ours)")[0].startswith("—")
    assert not (outputs / "evaluations").exists(), "rendering alone evaluates nothing"

    calls: list[int] = []
    invert = InDomainInverter.invert

    def counted(self, images, **kw):
        calls.append(self.settings["steps"])
        return invert(self, images, **kw)

    monkeypatch.setattr(InDomainInverter, "invert", counted)
    metrics = "metric.names=[mse,ssim,swd,fd_attributes]"
    made = table1(metrics, outputs=outputs)
    names = [record.choices["inversion"]["name"] for record in made]
    assert names == ["image2stylegan", "encoder", "in_domain", "free", "free", "projector"]
    assert all(record.n == 6 for record in made)
    of_encoder = [record for record in made if "encoder" in record.choices]
    assert [record.run for record in of_encoder] == [retrained.name] * 2
    others = {record.run for record in made} - {retrained.name}
    assert len(others) == 1, "methods without an encoder are the generator's"
    assert calls == [2]

    text = (outputs / "tables" / "table1_methods.miniature.md").read_text(encoding="utf-8")
    for record, label in zip(
        of_encoder, ("Domain-Guided Encoder (Ours)", "In-Domain Inversion (Ours)"), strict=True
    ):
        cells = [cell.strip("*") for cell in row_of(text, label)[0:8:2]]
        for cell, metric in zip(cells, ("fd_attributes", "swd", "ssim", "mse"), strict=True):
            assert float(cell) == pytest.approx(record.metrics[metric], rel=0.05, abs=0.05)
    assert row_of(text, "Conventional Encoder [9]")[0].startswith("—")
    assert "fd_attributes" in text and "faces_mini" in text, "no miniature figure as the paper's"

    assert table1(metrics, outputs=outputs) == [], "all records are there"
    assert calls == [2] and len(read_records(outputs / "records.jsonl")) == 6

    again = table1(metrics, "recompute=true", outputs=outputs)
    assert len(again) == 6 and calls == [2, 2]
    assert [record.metrics["mse"] for record in again] == [record.metrics["mse"] for record in made]

    table1("scale=full", outputs=outputs)
    text = (outputs / "tables" / "table1_methods.full.md").read_text(encoding="utf-8")
    for label in ("Domain-Guided Encoder (Ours)", "In-Domain Inversion (Ours)"):
        cells = row_of(text, label)[0::2]
        assert all(cell.startswith("—") for cell in cells), "nothing of this scale"
    assert "scale=full data=ffhq256 data.path=FOLDER" in text


def test_each_seed_is_evaluated_and_the_table_shows_their_mean(
    table1, retrained, another_seed, outputs
):
    assert len(table1("metric.names=[mse]", outputs=outputs)) == 6
    shutil.copytree(another_seed, outputs / "domain_guided" / another_seed.name)
    made = table1("metric.names=[mse]", outputs=outputs)
    assert {(record.run, record.seed) for record in made} == {(another_seed.name, 1)}
    assert len(made) == 2, "the methods without an encoder are not asked again"
    assert table1("metric.names=[mse]", outputs=outputs) == [], "all seeds are there"
    text = (outputs / "tables" / "table1_methods.miniature.md").read_text(encoding="utf-8")
    errors = [
        record.metrics["mse"]
        for record in read_records(outputs / "records.jsonl")
        if "encoder" in record.choices and record.choices["inversion"]["name"] == "encoder"
    ]
    cell = row_of(text, "Domain-Guided Encoder (Ours)")[6].strip("*")
    assert len(errors) == 2 and float(cell) == pytest.approx(statistics.fmean(errors), rel=0.01)
    assert f"| {retrained.name}, {another_seed.name} |" in text and "‡: mean over the seeds" in text


def test_a_broken_run_does_not_keep_the_others_from_the_table(table1, retrained, outputs, capsys):
    broken = outputs / "domain_guided" / "0000000000" / "weights" / "encoder.safetensors"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"half a file")
    made = table1("metric.names=[mse]", outputs=outputs)
    runs = {record.run for record in made if "encoder" in record.choices}
    assert runs == {retrained.name}
    assert "Image2StyleGAN" in capsys.readouterr().out


@pytest.fixture
def of_run(world, outputs):
    """`evaluate.py` with these overrides, on six images and two metrics."""

    def go(*overrides):
        place = (f"system.outputs={outputs}", f"system.cache={world.cache}", "trainer=cpu")
        words = [*place, "n=6", "batch_size=6", "metric.names=[mse,ssim]", *overrides]
        config = compose_plain("evaluate", words)
        if config["table"] is not None:
            config["table"] = tiny(config["table"])
        return evaluate(config, given=given_keys(words))

    return go


def test_a_row_may_need_records_of_several_tasks(of_run, retrained, outputs):
    made = of_run("table=table3_encoders")
    assert [record.task for record in made] == ["reconstruction", "speed"]
    text = (outputs / "tables" / "table3_encoders.miniature.md").read_text(encoding="utf-8")
    face, church, speed = (
        part
        for part in text.split("\n## ")
        if part.startswith("Face\n") or part.startswith("Church\n") or part.startswith("Speed\n")
    )
    assert float(row_of(face, "Base")[0].strip("*")) == pytest.approx(
        made[0].metrics["mse"], rel=0.05
    )
    assert row_of(church, "Base")[0].startswith("—")
    assert row_of(speed, "Base")[1] == "0.0042" and float(row_of(speed, "Base")[0]) > 0
    assert "encoder=resnet18 data=faces_mini scale=miniature" in text
    assert of_run("table=table3_encoders") == []


def test_curves_are_drawn_over_the_weight_of_the_regulariser(of_run, retrained, outputs):
    for weight in ("0.5", "40"):
        of_run(f"run={retrained.name}", f"inversion.lambda_dom={weight}", "inversion.steps=100")
    assert of_run("table=fig10_lambda_dom", "evaluate_missing=false") == []
    folder = outputs / "tables"
    assert (folder / "fig10_lambda_dom.miniature.png").stat().st_size > 10_000
    assert (folder / "fig10_lambda_dom.miniature.pdf").read_bytes().startswith(b"%PDF")
    text = (folder / "fig10_lambda_dom.miniature.md").read_text(encoding="utf-8")
    assert "lambda_dom: 0.5: " in text and ", 40: " in text
    assert f"run={retrained.name} task=reconstruction inversion=in_domain" in text
    only = of_run(f"run={retrained.name}", "table=fig10_lambda_dom", "evaluate_missing=false")
    assert only == []


def test_a_runs_losses_become_a_record(of_run, retrained):
    (record,) = of_run(f"run={retrained.name}", "task=training_curves")
    assert record.series["loss/encoder/nimg"] == [4.0]
    assert record.choices["generator"]["multi_w"] is True
    with pytest.raises(ConfigError, match="needs run=RUN"):
        of_run("task=training_curves")


def test_records_of_another_place_are_shown_as_well(table1, outputs, tmp_path):
    made = table1("metric.names=[mse,swd]", outputs=outputs)
    elsewhere = tmp_path / "theirs"
    elsewhere.mkdir()
    (outputs / "records.jsonl").rename(elsewhere / "records.jsonl")
    table1(f"records={elsewhere}", "evaluate_missing=false", outputs=tmp_path / "own")
    text = (tmp_path / "own" / "tables" / "table1_methods.miniature.md").read_text()
    mse = next(r for r in made if r.choices["inversion"]["name"] == "encoder").metrics["mse"]
    assert f"{mse:.3f}" in row_of(text, "Domain-Guided Encoder (Ours)")[6]


def test_records_that_are_nowhere_or_of_no_table_are_refused(table1, outputs):
    with pytest.raises(ConfigError, match=r"records=nowhere: there is no such file"):
        table1("records=nowhere", outputs=outputs)
    with pytest.raises(ConfigError, match=r"records=nowhere is of table=NAME"):
        evaluate(compose_plain("evaluate", ["records=nowhere"]), given={})
