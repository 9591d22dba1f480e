"""The pages are true: links lead somewhere, messages are the program's, the site builds."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import GUIDE, MEASURED, REPOSITORY

PAGES = [*GUIDE, *MEASURED, REPOSITORY / "CHANGELOG.md", *(REPOSITORY / ".github").rglob("*.md")]
SOURCE = REPOSITORY / "src" / "idinvert"
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(#[^)]*)?\)")
NAMED = re.compile(r"`([\w/{},]+/[\w{},]+\.py)`")
QUOTED = re.compile(r"^> (.+)$", re.MULTILINE)
JOINED = re.compile(r'"\s*\n\s*f?"')
SHORTEST = 6
"""Characters of a part between two ``…`` that is looked for."""


def named(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {"#" + re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in headings}


def test_links_lead_somewhere():
    found = []
    for page in PAGES:
        for place, anchor in LINK.findall(page.read_text(encoding="utf-8")):
            target = (page.parent / place).resolve() if place else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                found.append(f"{named(page)}: {place}{anchor}")
    assert not found, "\n".join(found)


def test_paths_exist():
    """Files and folders of the project that a page of docs/ names in code: `inversion/loop.py`."""
    found = []
    for page in GUIDE:
        for name in NAMED.findall(page.read_text(encoding="utf-8")):
            folder, braces, rest = re.fullmatch(r"([^{]*)(?:{(.*)})?(.*)", name).groups()  # type: ignore[union-attr]
            for middle in (braces or "").split(","):
                path = folder + middle + rest
                if not any((root / path).exists() for root in (SOURCE, SOURCE.parent, REPOSITORY)):
                    found.append(f"{named(page)}: {path}")
    assert not found, "\n".join(found)


def test_messages_in_troubleshooting_are_those_of_the_program():
    source = JOINED.sub("", "\n".join(p.read_text() for p in SOURCE.rglob("*.py")))
    source = re.sub(r"\{[^{}]*\}", "…", source)
    quoted = QUOTED.findall((REPOSITORY / "docs" / "troubleshooting.md").read_text())
    assert len(quoted) > 10
    for message in quoted:
        parts = [part.strip(" .:;'?(") for part in re.split(r"…|(?<=[.?;]) ", message)]
        parts = [part for part in parts if len(part) >= SHORTEST]
        assert parts, f"nothing of {message!r} can be looked for"
        for part in parts:
            assert part in source, f"no message of the program says {part!r}"


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    config = REPOSITORY / "docs" / "site" / "mkdocs.yml"
    words = ["build", "--strict", "--config-file", config, "--site-dir", tmp_path]
    command = [sys.executable, "-m", "mkdocs", *map(str, words)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    for page in GUIDE:
        path = tmp_path / page.relative_to(REPOSITORY).with_suffix("")
        index = path.parent if page.name == "README.md" else path
        assert (index / "index.html").is_file(), page
