"""The tables that stand under experiments/: exactly what their records say, and nothing else."""

from pathlib import Path

import pytest

from idinvert.cli.tables import expected_choices, with_training
from idinvert.config.compose import compose_plain, config_dir
from idinvert.results.cells import filled
from idinvert.results.parse import described
from idinvert.results.record import read_records
from idinvert.results.render import write

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
TABLES = {path.stem for path in (config_dir() / "table").glob("*.yaml")}
MEASURED = sorted(
    path.parent for path in EXPERIMENTS.glob("*/records.jsonl") if path.parent.name in TABLES
)


def committed(folder: Path, written: Path) -> Path:
    """A table is called so; figures of curves keep their name, by which their page shows them."""
    return folder / (f"table{written.suffix}" if folder.name[:5] == "table" else written.name)


def test_tables_were_measured():
    assert {"table1_methods", "fig10_lambda_dom"} <= {folder.name for folder in MEASURED}


@pytest.mark.parametrize("folder", MEASURED, ids=lambda folder: folder.name)
def test_records_give_the_table_that_stands_there(folder, tmp_path):
    spec = compose_plain("evaluate", [f"table={folder.name}"])["table"]
    table = described(spec, scale="miniature", expected=expected_choices)
    shown = with_training(filled(table, read_records(folder)), tmp_path)
    for written in write(shown, tmp_path):
        there = committed(folder, written)
        assert there.is_file()
        if written.suffix in (".md", ".csv", ".tex"):  # pictures depend on matplotlib's version
            assert there.read_text() == written.read_text()
        if written.suffix == ".tex":  # plain LaTeX knows no other letters; a caption is on one page
            text = written.read_text()
            assert text.isascii() and len(text[: text.index(r"\label")]) < 300


@pytest.mark.parametrize("folder", MEASURED, ids=lambda folder: folder.name)
def test_records_name_no_place_of_one_machine(folder):
    text = (folder / "records.jsonl").read_text()
    for place in ("/tmp/", "/home/", "/work/", "/root/"):
        assert place not in text
