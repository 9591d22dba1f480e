"""The plan of the package: imports point down, files stay small, nothing runs at import time.

Each check looks at every file and names all that break it. The checks speak of rooms (the folders
of ``src/idinvert``), never of single files, so that files can move and be renamed.
"""

import ast
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "idinvert"
LONGEST = 400
"""Lines of a file at most."""

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
APART = ["results", "tracking", "config"]
"""Rooms that import nothing of the project but what is open to all."""
OPEN_TO_ALL = {"annotations", "errors", "untrusted", "durable", "acceleration"}
OPEN_TO_ALL |= {"config.identity", "config.argv", "config.other_projects"}
"""Modules that every room may import; they import no room."""
ABOVE = {"api", "__init__", "__main__"}
"""Modules above the top floor; they may import everything."""
SEE_CONFIGS = {"cli", "evaluation/context.py", "evaluation/networks.py"}
"""What reads configurations. Everything else is given plain values."""
OMEGACONF = {"cli", "config"}
"""Rooms in which OmegaConf's own types appear."""

AT_THE_MARGIN = (
    ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign,
    ast.AugAssign,
)  # fmt: skip
"""Statements that may stand at the left margin of a file, besides docstrings and guards."""
GUARDS = ("__name__ == '__main__'", "TYPE_CHECKING")


@functools.cache
def parsed() -> dict[str, ast.Module]:
    """Syntax tree of each file by its path from ``src/idinvert``."""
    return {
        path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(SOURCE.rglob("*.py"))
    }


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and dotted name of each import; ``from a import b`` gives ``a``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)


def room(file: str) -> str:
    """The room of a file, or the file's own name beside the rooms."""
    return file.split("/")[0].removesuffix(".py")


def may_import(file: str) -> set[str]:
    """The rooms and modules that a file may import."""
    here = room(file)
    if here in ABOVE:
        return {*FLOORS, *APART} | ABOVE | OPEN_TO_ALL
    if here not in (*FLOORS, *APART):
        return OPEN_TO_ALL
    seen = {"config"} if {here, file} & SEE_CONFIGS else set()
    if here in APART:
        return {here} | OPEN_TO_ALL
    return {*FLOORS[FLOORS.index(here) :], "results", "tracking"} | OPEN_TO_ALL | seen


def none(found: Iterable[str], rule: str) -> None:
    """Fails with all that breaks a rule."""
    lines = list(found)
    assert not lines, "\n".join([rule, *lines])


def test_the_rooms_are_those_of_the_plan():
    rooms = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").is_file()}
    assert rooms == {*FLOORS, *APART}


def test_imports_point_down():
    found = []
    for file, tree in parsed().items():
        for line, name in imports(tree):
            if not name.startswith("idinvert."):
                continue
            module = name.removeprefix("idinvert.")
            if not {module, module.split(".")[0]} & may_import(file):
                found.append(f"{file}:{line}: {name}")
    none(found, "a room imports only what stands below it")


def test_imports_name_the_room_they_come_from():
    relative = (
        f"{file}:{line}"
        for file, tree in parsed().items()
        for line, name in imports(tree)
        if name.startswith(".")
    )
    none(relative, "imports are absolute")


def test_packages_that_a_room_does_not_import():
    banned = {"results": {"torch", "torchvision"}}
    found = []
    for file, tree in parsed().items():
        for line, name in imports(tree):
            head = name.split(".")[0]
            omegaconf = head == "omegaconf" and room(file) not in OMEGACONF
            if head in banned.get(room(file), ()) or head == "lightning" or omegaconf:
                found.append(f"{file}:{line}: {name}")
    none(found, "no torch in results, no omegaconf outside cli and config, no `lightning` at all")


def test_files_stay_below_the_hard_stop():
    lengths = {file: len((SOURCE / file).read_text().splitlines()) for file in parsed()}
    long = (f"{file}: {lines}" for file, lines in lengths.items() if lines > LONGEST)
    none(long, f"a file has at most {LONGEST} lines")


def test_files_open_with_a_docstring():
    bare = (file for file, tree in parsed().items() if not ast.get_docstring(tree))
    none(bare, "a file says in one sentence what it is for")


def test_nothing_works_at_import_time():
    found = []
    for file, tree in parsed().items():
        for node in tree.body:
            words = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            guard = isinstance(node, ast.If) and ast.unparse(node.test) in GUARDS
            if not (words or guard or isinstance(node, AT_THE_MARGIN)):
                found.append(f"{file}:{node.lineno}")
    none(found, "a module only defines things when it is imported")


def test_no_tensor_is_sent_to_cuda_by_name():
    found = (
        f"{file}:{node.lineno}"
        for file, tree in parsed().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr == "cuda"
        and ast.unparse(node.value) != "torch"
    )
    none(found, "devices are passed on: no `.cuda()`")
