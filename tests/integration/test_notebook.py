"""notebooks/tour.ipynb: runs offline from beginning to end, and is committed whole and clean."""

import ast
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "tour.ipynb"
LARGEST = 1_000_000
LOGIC = (ast.FunctionDef, ast.ClassDef, ast.For, ast.While, ast.If, ast.Try, ast.Lambda)
SHOWN = ("invert", "interpolate", "manipulate", "DiffusionInverter", "read_records")


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_it_is_valid_and_small(notebook):
    nbformat.validate(notebook)
    assert NOTEBOOK.stat().st_size < LARGEST


def test_it_was_run_in_order_and_without_errors(notebook):
    assert [cell.execution_count for cell in code(notebook)] == [*range(1, len(code(notebook)) + 1)]
    kinds = [output.output_type for cell in code(notebook) for output in cell.outputs]
    assert "error" not in kinds
    assert sum(kind in ("execute_result", "display_data") for kind in kinds) >= 7
    streams = [o.get("name") for cell in code(notebook) for o in cell.outputs]
    assert "stderr" not in streams, "no warnings"


def test_nothing_of_a_machine_is_in_it(notebook):
    text = NOTEBOOK.read_text(encoding="utf-8")
    text = re.sub(r'"image/png": "[^"]*"', "", text)
    found = re.findall(r'(?<![\w.:)])/(?:home|root|work|tmp|Users|usr|opt|var)/[^\s"]*', text)
    assert not found, found
    assert re.search(r"[A-Z]:\\\\", text) is None


def test_it_holds_no_logic_and_shows_the_method(notebook):
    whole = "\n".join(cell.source for cell in code(notebook))
    assert not [node for node in ast.walk(ast.parse(whole)) if isinstance(node, LOGIC)]
    for name in SHOWN:
        assert name in whole
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for equation in ("Eq. 1", "Eq. 2", "Eq. 4", "Eq. 5"):
        assert equation in prose


@pytest.mark.slow
def test_it_runs(notebook):
    from nbclient import NotebookClient

    before = [cell.source for cell in code(notebook)]
    run = NotebookClient(
        nbformat.from_dict(notebook),
        timeout=300,
        startup_timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(NOTEBOOK.parent)}},
    ).execute()
    assert [cell.source for cell in code(run)] == before
    assert all(cell.execution_count for cell in code(run))
