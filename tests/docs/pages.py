"""The pages: their commands, and the files that they tell a reader to write."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
NOT_TO_TYPE = ("architecture", "methods")
"""Pages that explain and have no commands."""
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = ("", "bash")
TYPED = ("python ", "make ", "torchrun ", "idinvert-", "wandb ", "sbatch ", "srun ")


@dataclass(frozen=True)
class Command:
    """A line that a page tells its reader to type.

    Attributes:
        page: Where, from the repository.
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


def pages() -> list[Path]:
    """README.md and the pages of docs/ that tell their reader to type something."""
    docs = sorted((REPOSITORY / "docs").glob("*.md"))
    return [REPOSITORY / "README.md", *(page for page in docs if page.stem not in NOT_TO_TYPE)]


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
