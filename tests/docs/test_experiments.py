"""Every table and figure of the paper has its page and its experiment."""

import re

from idinvert.config.compose import config_dir
from tests.docs.pages import MEASURED

OF_THE_PAPER = re.compile(r"(table|fig)\d+_")
TABLES = [f"table{k}" for k in range(1, 8)]
FIGURES = [f"fig{k:02}" for k in (2, 3, 4, 5, 6, 8, 9, 10, 11, *range(13, 21))]
"""Those that show results; the others explain."""


def test_every_table_and_figure_has_a_page_and_an_experiment() -> None:
    names = [page.parent.name for page in MEASURED if OF_THE_PAPER.match(page.parent.name)]
    assert sorted(name.split("_")[0] for name in names) == sorted(TABLES + FIGURES)
    without = [n for n in names if not (config_dir() / "experiment" / f"{n}.yaml").is_file()]
    assert not without
