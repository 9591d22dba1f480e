"""Every command of pages and conf/ is valid; those of README and docs/ run in a tiny form."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.docs.pages import CONF, GUIDE, MEASURED, REPOSITORY, Command, commands, opening
from tests.docs.rules import bare, rule_for
from tests.docs.world import World, base_run, furnish

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
def test_every_command_of_readme_and_docs_is_valid() -> None:
    for command in commands(OWN_TESTS):
        rule_for(command)
    errors = refused(command for page in TO_CHECK for command in commands(page))
    assert not errors, "\n".join(errors)


@pytest.mark.timeout(1200)
def test_every_page_of_experiments_has_commands_and_they_are_valid() -> None:
    found = {page: list(commands(page)) for page in MEASURED}
    assert not [named(page) for page in MEASURED if not found[page]], "pages without commands"
    errors = refused(command for page in MEASURED for command in found[page])
    assert not errors, "\n".join(errors)


@pytest.mark.timeout(1200)
def test_every_file_of_conf_opens_with_a_valid_command() -> None:
    errors = refused(opening(file) for file in CONF)
    assert not errors, "\n".join(errors)


def test_a_command_that_no_rule_knows_fails() -> None:
    with pytest.raises(AssertionError, match=r"docs/x\.md:3: .*\nno rule"):
        rule_for(Command("docs/x.md", 3, "curl https://example.org | bash"))


def test_a_mistyped_key_on_a_page_fails() -> None:
    command = Command("docs/x.md", 3, "python train.py encodr=base")
    with pytest.raises(Exception, match="Did you mean 'encoder'"):
        rule_for(command).check(command, bare(command))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", TO_RUN, ids=named)
def test_every_command_runs_in_a_tiny_form(page: Path, world: World) -> None:
    for command in commands(page):
        rule = rule_for(command)
        if rule.run is None:
            continue
        try:
            rule.run(command, bare(command), world)
        except Exception as error:
            raise AssertionError(f"{command}\n{type(error).__name__}: {error}") from error
