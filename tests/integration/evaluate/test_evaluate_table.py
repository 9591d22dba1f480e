"""`table=…`: evaluates what is missing, reuses what is there, never trains."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl

from idinvert.cli.app import given_keys
from idinvert.cli.evaluate import evaluate
from idinvert.config.overrides import compose_plain
from idinvert.inversion.in_domain import InDomainInverter
from idinvert.tables.record import Record
from idinvert.tables.store import read_records

pytestmark = pytest.mark.usefixtures("nothing_shipped", "no_training")


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever trains is caught."""

    def refuse(*args: Any, **kw: Any) -> None:
        raise AssertionError("a table never trains")

    monkeypatch.setattr(pl.Trainer, "fit", refuse)
    monkeypatch.setattr("idinvert.cli.train.train", refuse)


def quicker(table: dict[str, Any]) -> dict[str, Any]:
    """Table 1 as it stands, with two steps for 100 and without the row of 1,000."""
    text = json.dumps([row for row in table["rows"] if "1,000" not in row["label"]])
    for steps in ("inversion.steps=%d", '"choices.inversion.steps": %d'):
        text = text.replace(steps % 100, steps % 2)
    return table | {"rows": json.loads(text)}


@pytest.fixture
def table1(world: SimpleNamespace, tmp_path: Path) -> Callable[..., list[Record]]:
    """`evaluate.py table=table1_methods`, on six images."""

    def render(*overrides: str, outputs: Path) -> list[Record]:
        place = (f"system.outputs={outputs}", f"system.cache={world.cache}", "trainer=cpu")
        words = ["table=table1_methods", "n=6", "batch_size=6", *place, *overrides]
        config = compose_plain("evaluate", words)
        config["table"] = quicker(config["table"])
        return evaluate(config, given=given_keys(words))

    return render


def row_of(markdown: str, label: str) -> list[str]:
    (line,) = [line for line in markdown.splitlines() if line.startswith(f"| {label} |")][:1]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_without_runs_it_says_how_to_train_them(
    table1: Callable[..., list[Record]], tmp_path: Path
) -> None:
    assert table1(outputs=tmp_path / "empty") == []
    folder = tmp_path / "empty" / "tables"
    assert {path.suffix for path in folder.iterdir()} == {".md", ".csv", ".tex"}
    text = (folder / "table1_methods.miniature.md").read_text(encoding="utf-8")
    cells = row_of(text, "In-Domain Inversion (Ours)")
    assert all(cell.startswith("—") for cell in cells[0::2]), "measured"
    assert [cell.strip("*") for cell in cells[1::2]] == ["15.07", "14.92", "0.568", "0.053"]
    assert "there are no records" in text
    assert "`python train.py experiment=domain_guided data=faces_mini scale=miniature`" in text
    assert "`python train.py experiment=conventional data=towers_mini scale=miniature`" in text


def test_what_is_missing_is_evaluated_once(
    table1: Callable[..., list[Record]],
    world: SimpleNamespace,
    outputs: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []
    invert = InDomainInverter.invert

    def counted(self, images, **kw):
        calls.append(self.steps)
        return invert(self, images, **kw)

    monkeypatch.setattr(InDomainInverter, "invert", counted)
    metrics = "metric.names=[mse,ssim,swd,fd_attributes]"
    made = table1(metrics, outputs=outputs)
    assert [record.choices["inversion"]["name"] for record in made] == ["encoder", "in_domain"]
    assert all(record.n == 6 and record.run == world.run.name for record in made)
    assert calls == [2]

    text = (outputs / "tables" / "table1_methods.miniature.md").read_text(encoding="utf-8")
    for record, label in zip(
        made, ("Domain-Guided Encoder (Ours)", "In-Domain Inversion (Ours)"), strict=True
    ):
        cells = [cell.strip("*") for cell in row_of(text, label)[0::2]]
        for cell, metric in zip(cells, ("fd_attributes", "swd", "ssim", "mse"), strict=True):
            assert float(cell) == pytest.approx(record.metrics[metric], rel=0.05, abs=0.05)
    assert row_of(text, "Conventional Encoder [9]")[0].startswith("—")
    assert "fd_attributes" in text and "faces_mini" in text, "no miniature figure as the paper's"

    assert table1(metrics, outputs=outputs) == [], "all records are there"
    assert calls == [2] and len(read_records(outputs / "records.jsonl")) == 2

    again = table1(metrics, "recompute=true", outputs=outputs)
    assert len(again) == 2 and calls == [2, 2]
    assert [record.metrics["mse"] for record in again] == [record.metrics["mse"] for record in made]


def test_rendering_alone_evaluates_nothing(
    table1: Callable[..., list[Record]], outputs: Path, world: SimpleNamespace
) -> None:
    assert table1("evaluate_missing=false", outputs=outputs) == []
    text = (outputs / "tables" / "table1_methods.miniature.md").read_text(encoding="utf-8")
    assert row_of(text, "Domain-Guided Encoder (Ours)")[0].startswith("—")
    assert not (outputs / "evaluations").exists()


def test_a_broken_run_does_not_keep_the_others_from_the_table(
    table1: Callable[..., list[Record]], world: SimpleNamespace, outputs: Path, capsys
) -> None:
    broken = outputs / "domain_guided" / "0000000000" / "weights" / "encoder.safetensors"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"half a file")
    made = table1("metric.names=[mse]", outputs=outputs)
    assert {record.run for record in made} == {world.run.name}
    assert "Image2StyleGAN" in capsys.readouterr().out


def test_another_scale_shows_nothing_of_this_one(
    table1: Callable[..., list[Record]], outputs: Path
) -> None:
    table1("metric.names=[mse]", outputs=outputs)
    table1("scale=full", outputs=outputs)
    text = (outputs / "tables" / "table1_methods.full.md").read_text(encoding="utf-8")
    for label in ("Domain-Guided Encoder (Ours)", "In-Domain Inversion (Ours)"):
        assert all(cell.startswith("—") for cell in row_of(text, label)[0::2])
    assert "scale=full data=folder data.name=ffhq256" in text
