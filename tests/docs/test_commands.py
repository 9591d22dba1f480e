"""Every command on every page: known, checked as the programs check it, and run in a tiny form."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import BLOCK, REPOSITORY, Command, commands, pages
from tests.docs.rules import bare, rule_for
from tests.docs.world import World, base_run, furnish

PAGES = pages()
RUN_BY_TESTS_OF_THEIR_OWN = ("docs/extending.md",)


def named(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_run(tmp_path_factory.mktemp("docs"))


@pytest.fixture(scope="session")
def generators(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("generators")


@pytest.fixture(scope="module")
def done() -> set[tuple[str, ...]]:
    return set()


@pytest.fixture
def world(
    base: Path,
    generators: Path,
    done: set[tuple[str, ...]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    level = logging.getLogger("pytorch_lightning").level
    run = furnish(tmp_path, base)
    yield World(base=run.relative_to(tmp_path), patch=monkeypatch, done=done, generators=generators)
    logging.getLogger("pytorch_lightning").setLevel(level)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_is_known_and_passes_the_programs_own_checks(page: Path) -> None:
    found = list(commands(page))
    assert found or not BLOCK.search(page.read_text(encoding="utf-8")), "a page without commands"
    for command in found:
        if named(page) in RUN_BY_TESTS_OF_THEIR_OWN:
            rule_for(command)
            continue
        try:
            rule_for(command).check(command, bare(command))
        except SystemExit as error:
            pytest.fail(f"{command}\nis refused ({error})")
        except Exception as error:
            pytest.fail(f"{command}\n{type(error).__name__}: {error}")


def test_a_command_that_no_rule_knows_fails() -> None:
    with pytest.raises(AssertionError, match=r"docs/x\.md:3: .*\nno rule"):
        rule_for(Command("docs/x.md", 3, "curl https://example.org | bash"))


def test_a_mistyped_key_on_a_page_fails() -> None:
    command = Command("docs/x.md", 3, "python train.py encodr=base")
    with pytest.raises(Exception, match="Did you mean 'encoder'"):
        rule_for(command).check(command, bare(command))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "page", [page for page in PAGES if named(page) not in RUN_BY_TESTS_OF_THEIR_OWN], ids=named
)
def test_every_command_runs_in_a_tiny_form(page: Path, world: World) -> None:
    for command in commands(page):
        rule = rule_for(command)
        if rule.run is None:
            continue
        try:
            rule.run(command, bare(command), world)
        except Exception as error:
            raise AssertionError(f"{command}\n{type(error).__name__}: {error}") from error
