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
    "checkpoints",
    "losses",
    "networks",
    "toy",
    "data",
]
"""From the top floor down; each may import what stands below it."""

BESIDE = {
    "results": set(),
    "tracking": set(),
    "config": set(),
}
"""Rooms that stand apart, and what of the project they may import (besides errors)."""

OPEN_TO_ALL = {"errors", "acceleration", "identity"}
"""Whatever keeps an output names it by the one module of identities, which imports nothing."""
ONLY_FOR_CLI = {"config"}


def room(module: str) -> str:
    """The first part of a module's name; `config.identity` counts for itself."""
    if module in ("idinvert.config.identity", "idinvert.config.moved"):
        return "identity"
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
    below = set(FLOORS[FLOORS.index(here) :]) | {"results", "tracking"} | OPEN_TO_ALL
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


def test_results_import_no_torch() -> None:
    for path in (SOURCE / "results").glob("*.py"):
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


STATEMENTS = (
    ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign,
    ast.AugAssign,
)  # fmt: skip
"""What may stand at the left margin of a file, besides docstrings and the start of a program."""


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_works_at_import_time(path: Path) -> None:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        words = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.If):  # the start of a program, or imports for a type checker
            words = ast.unparse(node.test) in ("__name__ == '__main__'", "TYPE_CHECKING")
        assert words or isinstance(node, STATEMENTS), f"{path}, line {node.lineno}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_what_no_file_does(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        line = f"{path}, line {getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{line}: imports name the room they come from"
        if isinstance(node, ast.ImportFrom | ast.Import):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else node.names
            heads = {(name if isinstance(name, str) else name.name).split(".")[0] for name in names}
            assert "lightning" not in heads, f"{line}: import pytorch_lightning"
        if isinstance(node, ast.Attribute):
            assert node.attr != "cuda" or ast.unparse(node.value) == "torch", f"{line}: .cuda()"
