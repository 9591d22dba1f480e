"""Every table and figure of conf/table: from stored records, without any, with one line more."""

import copy
import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from idinvert.config.compose import compose_plain, config_dir
from idinvert.results.fill import FilledTable
from idinvert.results.lack import run_clauses
from idinvert.results.record import Record
from idinvert.results.render import described, filled, page, write
from idinvert.results.select import failures
from idinvert.results.store import append, read_records
from idinvert.results.trace import TracedCurves
from tests.results.synthetic import record_for

NAMES = sorted(path.stem for path in (config_dir() / "table").glob("*.yaml"))
TABLES = [name for name in NAMES if name.startswith("table")]
CURVES = [name for name in NAMES if name.startswith("fig")]


@pytest.fixture(scope="module")
def spec() -> Callable[[str], dict[str, Any]]:
    """A description as the program gets it, composed once."""
    known: dict[str, dict[str, Any]] = {}

    def of(name: str) -> dict[str, Any]:
        if name not in known:
            known[name] = compose_plain("evaluate", [f"table={name}"])["table"]
        return copy.deepcopy(known[name])

    return of


def records_of(table: Any) -> list[Record]:
    """One record for every evaluation that it asks for."""
    needs = filled(table, []).needs(everything=True)
    return [record_for(need.where, value=0.5 + index) for index, need in enumerate(needs)]


def test_all_of_the_papers_tables_and_curves_are_there() -> None:
    assert [name.split("_")[0] for name in TABLES] == [f"table{k}" for k in range(1, 8)]
    assert [name.split("_")[0] for name in CURVES] == ["fig03", "fig10", "fig14"]


@pytest.mark.parametrize("scale", ["miniature", "full"])
@pytest.mark.parametrize("name", NAMES)
def test_without_records_it_says_what_to_do(spec: Callable, name: str, scale: str) -> None:
    table = described(spec(name), scale=scale)
    shown = filled(table, [])
    text = page(shown)
    assert "there are no records" in text
    commands = [line.strip(" -`") for line in text.splitlines() if "`python " in line]
    assert any(command.startswith("python train.py ") for command in commands)
    assert any(command.startswith("python evaluate.py run=RUN") for command in commands)
    assert not any("{" in command for command in commands), "every place is filled"
    assert set(table.train_commands()) <= set(commands)
    assert {need.evaluate for need in shown.needs(everything=True)} <= set(commands)


@pytest.mark.parametrize("name", TABLES)
def test_stored_records_fill_every_cell(spec: Callable, name: str, tmp_path: Path) -> None:
    table = described(spec(name), scale="miniature")
    for record in records_of(table):
        append(tmp_path / "records.jsonl", record)
    shown = filled(table, read_records(tmp_path / "records.jsonl"))
    assert isinstance(shown, FilledTable)
    for cell in shown.cells:
        assert (cell.value is None) == ("miniature" in cell.row.absent), (cell.row.label, cell)
    assert {one.reason for one in shown.missing()} == {
        r.absent["miniature"] for r in table.rows if r.absent
    }
    assert shown.needs(everything=False) == []
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
    for (row, group, column), figure in printed.items():  # every printed figure stands in its row
        (section,) = [part for part in text.split("\n## ") if part.startswith(f"{group}\n")]
        line = next(one for one in section.splitlines() if one.startswith(f"| {row} |"))
        cells = [cell.strip(" *") for cell in line.strip("|").split("|")]
        assert figure in [float(cell) for cell in cells[2::2] if cell != "—"], (row, column)


@pytest.mark.parametrize("name", NAMES)
def test_each_place_takes_records_of_its_own(spec: Callable, name: str) -> None:
    """No record meets the clauses of two rows, lest one stand for the other."""
    table = described(spec(name), scale="miniature")
    needs = filled(table, []).needs(everything=True)
    for index, need in enumerate(needs):
        record = record_for(need.where, value=1.0)
        others = [
            other
            for other in needs
            if not failures(record, other.where) and other.where != need.where
        ]
        assert not others, (need.label, [other.label for other in others])
        assert not failures(record, run_clauses(need.where)), index


@pytest.mark.parametrize("name", CURVES)
def test_stored_records_draw_every_line(spec: Callable, name: str, tmp_path: Path) -> None:
    curves = described(spec(name), scale="miniature")
    for record in records_of(curves):
        append(tmp_path / "records.jsonl", record)
    shown = filled(curves, read_records(tmp_path / "records.jsonl"))
    assert isinstance(shown, TracedCurves)
    for trace in shown.traces:
        assert bool(trace.points) == ("miniature" not in trace.line.absent), trace.line.label
    paths = write(shown, tmp_path / "out")
    assert [path.suffix for path in paths] == [".md", ".csv", ".png", ".pdf"]
    assert Image.open(paths[2]).width > 500
    assert paths[3].read_bytes().startswith(b"%PDF")
    points = sum(len(trace.points) + len(trace.line.printed) for trace in shown.traces)
    assert len(paths[1].read_text(encoding="utf-8").splitlines()) == 1 + points
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        path.name for path in paths
    ), "nothing else is left"


def test_a_new_encoder_is_one_line(spec: Callable, tmp_path: Path) -> None:
    plain = spec("table3_encoders")
    plain["rows"].append(
        {"label": "EffNet", "where": {"choices.encoder": "effnet"}, "fill": {"encoder": "effnet"}}
    )
    table = described(plain, scale="miniature")
    arguments = "scale=miniature generator.path=trained:stylegan_multi_w"
    for data in ("faces_mini", "churches_mini"):
        command = f"python train.py experiment=domain_guided encoder=effnet data={data} {arguments}"
        assert command in table.train_commands()
    where = {"choices.encoder": "effnet", "data.name": "faces_mini", "task": "reconstruction"}
    base = next(
        n.where for n in filled(table, []).needs(everything=True) if n.label == "Base, Face"
    )
    shown = filled(table, [record_for({**base, **where}, value=0.25)])
    (line,) = [one for one in page(shown).splitlines() if one.startswith("| EffNet | 3.25")]
    assert line.split(" | ")[2] == "—", "the paper prints none"
    assert "| Base | — " in page(shown)


def test_a_new_data_set_is_one_line(spec: Callable) -> None:
    plain = spec("table1_methods")
    plain["groups"].append({"label": "Cat", "data": {"miniature": "cats_mini"}, "paper_data": "–"})
    table = described(plain, scale="miniature")
    assert sum("data=cats_mini" in command for command in table.train_commands()) == 2
    assert "## Cat" in page(filled(table, []))


def test_another_scale_is_another_table(spec: Callable) -> None:
    table = described(spec("table6_noise"), scale="full")
    assert len(table.train_commands()) == 8, "all seven blocks and none"
    records = records_of(described(spec("table6_noise"), scale="miniature"))
    assert all(cell.value is None for cell in filled(table, records).cells)
