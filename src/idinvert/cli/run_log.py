"""Prints a run's configuration at its start, and copies its output to a file in its folder."""

import contextlib
import json
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.tree import Tree

from idinvert.config.run_folder import is_first_process
from idinvert.untrusted import regular

NAME = "train.log"


def print_tree(config: Mapping[str, Any]) -> None:
    """Prints the resolved configuration as a tree on a terminal, if system.print_config is set."""
    if not (is_first_process() and sys.stdout.isatty() and config["system"].get("print_config")):
        return
    tree = Tree("config", guide_style="dim")
    for key, value in config.items():
        if value not in (None, {}, []):
            _grow(tree, str(key), value)
    Console(highlight=False, soft_wrap=True).print(tree)


def _grow(tree: Tree, key: str, value: Any) -> None:
    if isinstance(value, Mapping) and value:
        branch = tree.add(f"[bold]{key}[/bold]")
        for name, below in value.items():
            _grow(branch, str(name), below)
    else:
        typed = value if isinstance(value, str) else json.dumps(value, default=str)
        tree.add(f"{key}: {typed}".replace("[", r"\["))


class Tee:
    """A stream that also writes to a file, except for the updates of progress bars.

    Args:
        stream: The original stream.
        file: The file.
    """

    def __init__(self, stream: TextIO, file: TextIO) -> None:
        self.stream, self.file = stream, file

    def write(self, text: str) -> int:
        """Writes to both."""
        if "\r" not in text and "\x1b" not in text:
            with contextlib.suppress(OSError, ValueError):  # a full disk must not end the training
                self.file.write(text)
        return self.stream.write(text)

    def flush(self) -> None:
        """Flushes both."""
        with contextlib.suppress(OSError, ValueError):
            self.file.flush()
        self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """Also appends the output and errors of the first process to ``train.log``."""
    if not is_first_process():
        yield
        return
    how: Any = {"encoding": "utf-8", "errors": "backslashreplace", "opener": regular}
    with (
        open(folder / NAME, "a", **how) as file,
        contextlib.redirect_stdout(Tee(sys.stdout, file)),  # type: ignore[type-var]
        contextlib.redirect_stderr(Tee(sys.stderr, file)),  # type: ignore[type-var]
    ):
        try:
            yield
        except BaseException:
            with contextlib.suppress(OSError):
                file.write(traceback.format_exc())
            raise
