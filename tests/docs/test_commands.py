"""Every command of pages and conf/ is valid; those of README and docs/ run in a tiny form."""

import logging
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.docs.pages import CONF, GUIDE, MEASURED, REPOSITORY, Command, commands, opening
from tests.docs.rules import bare, rule_for
from tests.docs.world import World, base_run, furnish

TABLES = [f"table{k}" for k in range(1, 8)]
FIGURES = [f"fig{k:02}" for k in (2, 3, 4, 5, 6, 8, 9, 10, 11, *range(13, 21))]
"""Those of the paper that show results; the others explain."""
OWN_TESTS = REPOSITORY / "docs" / "extending.md"
"""A page whose commands need the files that it tells to write: test_extending.py runs them."""
TO_CHECK = [page for page in GUIDE if page != OWN_TESTS]
TO_RUN = [
    page
    for page in TO_CHECK
    if page.parent.name not in ("decisions", "models") and any(commands(page))
]


def named(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


@pytest.fixture(scope="module")
def of_all_pages(tmp_path_factory):
    """A run of one step, the GANs that pages ask for, and the commands that have been run."""
    base = base_run(tmp_path_factory.mktemp("docs"))
    return {"base": base, "generators": tmp_path_factory.mktemp("generators"), "done": set()}


@pytest.fixture
def world(of_all_pages, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    level = logging.getLogger("pytorch_lightning").level
    base = furnish(tmp_path, of_all_pages["base"]).relative_to(tmp_path)
    yield World(**of_all_pages | {"base": base}, patch=monkeypatch)
    logging.getLogger("pytorch_lightning").setLevel(level)


def refused(found: Iterable[Command]) -> list[str]:
    """The commands that no rule knows or that the programs refuse, each with the reason."""
    errors = []
    for command in found:
        try:
            rule_for(command).check(command, bare(command))
        except (Exception, SystemExit) as error:
            errors.append(f"{command}\n    {type(error).__name__}: {error}")
    return errors


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", ["README and docs", "experiments", "conf"])
def test_every_command_is_valid(kind):
    for command in commands(OWN_TESTS):
        rule_for(command)
    assert not [named(page) for page in MEASURED if not any(commands(page))], "without commands"
    pages = TO_CHECK if kind == "README and docs" else MEASURED
    found = (command for page in pages for command in commands(page))
    errors = refused(map(opening, CONF) if kind == "conf" else found)
    assert not errors, "\n".join(errors)


def test_every_table_and_figure_of_the_paper_has_a_page_and_an_experiment():
    names = [page.parent.name for page in MEASURED]
    names = [name for name in names if re.match(r"(table|fig)\d+_", name)]
    assert sorted(name.split("_")[0] for name in names) == sorted(TABLES + FIGURES)
    known = {file.stem for file in CONF if file.parent.name == "experiment"}
    assert set(names) <= known


def test_a_command_that_no_rule_knows_fails():
    with pytest.raises(AssertionError, match=r"docs/x\.md:3: .*\nno rule"):
        rule_for(Command("docs/x.md", 3, "curl https://example.org | bash"))


def test_a_mistyped_key_on_a_page_fails():
    command = Command("docs/x.md", 3, "python train.py encodr=base")
    with pytest.raises(Exception, match="Did you mean 'encoder'"):
        rule_for(command).check(command, bare(command))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.xdist_group("pages")  # what two pages say is run once
@pytest.mark.parametrize("page", TO_RUN, ids=named)
def test_every_command_runs_in_a_tiny_form(page, world):
    for command in commands(page):
        rule = rule_for(command)
        if rule.run is None:
            continue
        try:
            rule.run(command, bare(command), world)
        except Exception as error:
            raise AssertionError(f"{command}\n{type(error).__name__}: {error}") from error
