"""The commands of the pages and of conf/, and the files that pages tell a reader to write."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
GUIDE = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
MEASURED = sorted((REPOSITORY / "experiments").rglob("README.md"))
CONF = sorted((REPOSITORY / "conf").rglob("*.yaml"))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = ("", "bash")
OPENING = re.compile(r"\A(?:# @package \S+\n)?# (python (?:train|evaluate)\.py .*)")
TYPED = ("python ", "make ", "torchrun ", "idinvert-", "wandb ", "sbatch ", "srun ")


@dataclass(frozen=True)
class Command:
    """A line that a page tells its reader to type.

    Attributes:
        page: The file it stands in, from the repository.
        line: Of the page.
        text: As it stands there, without its comment; continued lines are one.
    """

    page: str
    line: int
    text: str

    @property
    def words(self) -> list[str]:
        """As a shell splits them; ``…`` stands for more of the same."""
        return [word for word in shlex.split(self.text) if word != "…"]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


def opening(file: Path) -> Command:
    """The command that a file of conf/ opens with.

    Raises:
        AssertionError: It opens with none.
    """
    name = file.relative_to(REPOSITORY).as_posix()
    found = OPENING.match(file.read_text(encoding="utf-8"))
    assert found, f"{name} does not open with the command that takes it"
    return Command(name, 1, _without_comment(found[1]))


def commands(page: Path) -> Iterator[Command]:
    """The lines of a page's shell blocks; a block of another language has none."""
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(REPOSITORY).as_posix()
    for block in BLOCK.finditer(text):
        language, body = block.groups()
        if language not in SHELL or (not language and not _shell(body)):
            continue
        first = text[: block.start(2)].count("\n") + 1
        yield from (Command(name, first + k, line) for k, line in _lines(body))


def files(page: Path) -> dict[str, str]:
    """Path to text of the blocks that open with ``# path``."""
    found = {}
    for language, body in BLOCK.findall(page.read_text(encoding="utf-8")):
        named = re.match(r"# (\S+\.\w+)\n", body)
        if language not in SHELL and named:
            found[named[1]] = body
    return found


def _lines(body: str) -> Iterator[tuple[int, str]]:
    whole, begin = "", 0
    for k, line in enumerate(body.splitlines()):
        begin = begin if whole else k
        whole += line.rstrip()
        if whole.endswith("\\"):
            whole = whole[:-1].rstrip() + " "
            continue
        text = _without_comment(whole)
        whole = ""
        if text:
            yield begin, text


def _without_comment(line: str) -> str:
    return re.sub(r"(^|\s)#.*$", "", line).strip()


def _shell(body: str) -> bool:
    """Whether an unlabelled block is one to type, and no picture of a folder or of an output."""
    return re.match(rf"(#.*\n)*({'|'.join(TYPED)})", body) is not None
