"""The plan of the house: imports point down, files stay small, nothing runs at import time."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "idinvert"
MODULES = sorted(path for path in SOURCE.rglob("*.py"))

FLOORS = [
    "cli",
    "evaluation",
    "training",
    "editing",
    "inversion",
    "metrics",
    "weights",
    "losses",
    "networks",
    "data",
]
"""From the top floor down; each may import what stands below it."""

BESIDE = {
    "tables": set(),
    "tracking": set(),
    "config": set(),
}
"""Rooms that stand apart, and what of the project they may import (besides errors)."""

OPEN_TO_ALL = {"errors"}
ONLY_FOR_CLI = {"config"}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def project_imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {room(name) for name in names if name.startswith("idinvert.")}
    return found - {""}


def allowed(here: str) -> set[str]:
    if here in BESIDE:
        return BESIDE[here] | OPEN_TO_ALL | {here}
    below = set(FLOORS[FLOORS.index(here) :]) | {"tables", "tracking"} | OPEN_TO_ALL
    return below | ONLY_FOR_CLI if here == "cli" else below


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down(path: Path) -> None:
    parts = path.relative_to(SOURCE).parts
    here = parts[0]
    if len(parts) == 1:
        assert project_imports(path) <= OPEN_TO_ALL
        return
    assert project_imports(path) <= allowed(here), f"{here} may not import that"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_stay_below_the_hard_stop_and_open_with_a_docstring(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(ast.parse(text)), "a file says in one sentence what it is for"


def test_tables_import_no_torch() -> None:
    for path in (SOURCE / "tables").glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        } | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not any(name.split(".")[0].startswith("torch") for name in names), path


def test_the_floors_are_all_there() -> None:
    rooms = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").is_file()}
    assert rooms == set(FLOORS) | set(BESIDE)


def test_only_config_and_cli_see_omegaconf() -> None:
    for path in MODULES:
        here = path.relative_to(SOURCE).parts[0]
        if here not in ("cli", "config"):
            text = path.read_text(encoding="utf-8")
            assert "omegaconf" not in text and "DictConfig" not in text, path
