"""Every table and plot of conf/table: from stored records, without any, with one line more."""

import copy
import csv
import functools
from typing import Any

import pytest
from PIL import Image

from idinvert.cli.tables import expected_choices
from idinvert.config.compose import compose_plain, config_dir
from idinvert.results.cells import FilledCurves, FilledTable, evaluations, filled
from idinvert.results.parse import described
from idinvert.results.record import Record, append, read_records
from idinvert.results.render import page, write
from idinvert.results.spec import Curves, Place, Table
from tests.results.synthetic import record_for

NAMES = sorted(path.stem for path in (config_dir() / "table").glob("*.yaml"))
TABLES = [name for name in NAMES if name.startswith("table")]
CURVES = [name for name in NAMES if name.startswith("fig")]


def spec(name: str) -> dict[str, Any]:
    """A description as the program gets it."""
    return copy.deepcopy(_composed(name))


@functools.cache
def _composed(name: str) -> dict[str, Any]:
    return compose_plain("evaluate", [f"table={name}"])["table"]


@functools.cache
def table_of(name: str, scale: str = "miniature") -> Table | Curves:
    return described(spec(name), scale=scale, expected=expected_choices)


def everything(table: Table | Curves) -> list[Place]:
    return [place for place, _ in evaluations(filled(table, []))]


def records_of(table: Table | Curves) -> list[Record]:
    """One record for every evaluation that it asks for."""
    places = everything(table)
    return [record_for(place.where, value=0.5 + index) for index, place in enumerate(places)]


def test_all_of_the_papers_tables_and_curves_are_there():
    assert [name.split("_")[0] for name in TABLES] == [f"table{k}" for k in range(1, 8)]
    assert [name.split("_")[0] for name in CURVES] == ["fig03", "fig10", "fig14"]


@pytest.mark.parametrize("name", NAMES)
def test_without_records_it_says_what_to_do(name):
    for scale in ("miniature", "full"):
        table = table_of(name, scale)
        text = page(filled(table, []))
        assert "there are no records" in text
        commands = {line.strip(" -`") for line in text.splitlines() if "`python " in line}
        assert not any("{" in command for command in commands), "every place is filled"
        assert {" ".join(["python train.py", *words]) for words in table.trainings()} <= commands
        asked = {command for place in everything(table) for command in place.commands()}
        assert asked == commands and table.trainings()


@pytest.mark.parametrize("name", TABLES)
def test_stored_records_fill_every_cell(name, tmp_path):
    table = table_of(name)
    assert isinstance(table, Table)
    for record in records_of(table):
        append(tmp_path / "records.jsonl", record)
    shown = filled(table, read_records(tmp_path / "records.jsonl"))
    assert isinstance(shown, FilledTable)
    for cell in shown.cells:
        reason = cell.row.absent.get("miniature")
        assert (cell.value is None) == (reason is not None), (cell.row.label, cell)
        assert cell.missing is None or cell.missing.reason == reason
    assert all(done for _, done in evaluations(shown))
    paths = write(shown, tmp_path / "out")
    assert [path.suffix for path in paths] == [".md", ".csv", ".tex"]
    text = paths[0].read_text(encoding="utf-8")
    for group in table.groups:
        assert f"## {group.label}\n" in text
    lines = list(csv.DictReader(paths[1].open(encoding="utf-8")))
    printed = {
        (r.label, g, c): v for r in table.rows for g, f in r.printed.items() for c, v in f.items()
    }
    assert {
        (line["row"], line["group"], line["column"]): float(line["paper"])
        for line in lines
        if line["paper"]
    } == printed
    for (row, group, column), value in printed.items():  # every printed value stands in its row
        (section,) = [part for part in text.split("\n## ") if part.startswith(f"{group}\n")]
        line = next(one for one in section.splitlines() if one.startswith(f"| {row} |"))
        cells = [cell.strip(" *") for cell in line.strip("|").split("|")]
        of_group = next(one for one in table.groups if one.label == group)
        pairs = sum(not one.ours for one in table.columns_of(of_group))  # ours stand last, alone
        paper = cells[2 : 2 * pairs + 1 : 2]
        assert value in [float(cell) for cell in paper if cell != "—"], (row, column)
        assert len(cells) == 1 + 2 * pairs + sum(one.ours for one in table.columns_of(of_group))


@pytest.mark.parametrize("name", CURVES)
def test_stored_records_draw_every_line(name, tmp_path):
    curves = table_of(name)
    for record in records_of(curves):
        append(tmp_path / "records.jsonl", record)
    shown = filled(curves, read_records(tmp_path / "records.jsonl"))
    assert isinstance(shown, FilledCurves)
    for curve in shown.curves:
        assert bool(curve.points) == ("miniature" not in curve.line.absent), curve.line.label
    paths = write(shown, tmp_path / "out")
    assert [path.suffix for path in paths] == [".md", ".csv", ".png", ".pdf"]
    assert Image.open(paths[2]).width > 500
    assert paths[3].read_bytes().startswith(b"%PDF")
    points = sum(len(curve.points) + len(curve.line.printed) for curve in shown.curves)
    assert len(paths[1].read_text(encoding="utf-8").splitlines()) == 1 + points
    assert {path.name for path in (tmp_path / "out").iterdir()} == {p.name for p in paths}


def test_a_new_encoder_is_one_line():
    plain = spec("table3_encoders")
    plain["rows"].append({"label": "EffNet", "fill": {"encoder": "effnet"}})
    table = described(plain, scale="miniature")
    more = ["scale=miniature", "generator.path=trained:stylegan_multi_w"]
    for data in ("faces_mini", "churches_mini"):
        words = ["experiment=domain_guided", "encoder=effnet", f"data={data}", *more]
        assert words in table.trainings()
    base = next(place.where for place in everything(table) if place.label == "Base, Face")
    shown = filled(table, [record_for({**base, "choices.encoder": "effnet"}, value=0.25)])
    (line,) = [one for one in page(shown).splitlines() if one.startswith("| EffNet | 3.25")]
    assert line.split(" | ")[2] == "—", "the paper prints none"
    assert "| Base | — " in page(shown)


def test_a_new_data_set_is_one_line():
    plain = spec("table1_methods")
    plain["groups"].append({"label": "Cat", "data": {"miniature": "cats_mini"}, "paper_data": "–"})
    table = described(plain, scale="miniature")
    assert sum("data=cats_mini" in words for words in table.trainings()) == 2
    assert "## Cat" in page(filled(table, []))


def test_another_scale_is_another_table():
    table = table_of("table6_noise", "full")
    assert len(table.trainings()) == 8, "all seven blocks and none"
    records = records_of(table_of("table6_noise"))
    assert all(cell.value is None for cell in filled(table, records).cells)
