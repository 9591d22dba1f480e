"""The pages of experiments/: one for each table and figure, with commands that do."""

import re
import shlex
from pathlib import Path

import pytest

from idinvert.cli.sweeps import chosen_row, with_rows
from idinvert.config.compose import compose_plain, config_dir, expand_sweep

PAGES = sorted((config_dir().parent / "experiments").glob("*/README.md"))
OF_THE_PAPER = re.compile(r"(table[1-7]|fig(02|03|04|05|06|08|09|1[0134-9]|20))_")
BLOCK = re.compile(r"^```$(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^python (train|evaluate)\.py (.*)$", re.MULTILINE)


def commands(page: Path) -> list[tuple[str, str]]:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    return [found for block in BLOCK.findall(text) for found in COMMAND.findall(block)]


def test_every_table_and_figure_has_a_page_and_an_experiment() -> None:
    found = sorted(page.parent.name for page in PAGES if OF_THE_PAPER.match(page.parent.name))
    numbers = [name.split("_")[0] for name in found]
    figures = ["02", "03", "04", "05", "06", "08", "09", "10", "11", *map(str, range(13, 21))]
    assert numbers == [
        *(f"fig{k}" for k in figures if k != "12"),
        *(f"table{k}" for k in range(1, 8)),
    ]
    for name in found:
        assert (config_dir() / "experiment" / f"{name}.yaml").is_file(), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_a_pages_commands_compose(page: Path) -> None:
    lines = commands(page)
    assert lines, "a page says its commands"
    for program, rest in lines:
        words = [
            word for word in shlex.split(rest, comments=True) if not word.endswith("README.md")
        ]
        sweep = "-m" in words
        words = [word for word in words if word != "-m"]
        words = with_rows(program, words) if sweep else words
        for one in expand_sweep(words) if sweep else [words]:
            compose_plain(program, chosen_row(program, one))


@pytest.mark.parametrize(
    "page", [p for p in PAGES if OF_THE_PAPER.match(p.parent.name)], ids=lambda p: p.parent.name
)
def test_a_page_says_the_claim_the_generator_and_what_was_measured(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for part in (
        "**The paper's claim.**",
        "**Generator.**",
        "**Commands.**",
        "**What we measured.**",
    ):
        assert part in text, part
    assert f"experiment={page.parent.name}" in text or f"table={page.parent.name}" in text
