"""The documentation site builds without a warning from the pages as they are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import GUIDE, REPOSITORY


@pytest.mark.slow
def test_the_site_builds(tmp_path: Path) -> None:
    config = REPOSITORY / "docs" / "site" / "mkdocs.yml"
    words = ["build", "--strict", "--config-file", config, "--site-dir", tmp_path / "site"]
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", *words],
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    for page in GUIDE:
        path = tmp_path / "site" / page.relative_to(REPOSITORY).with_suffix("")
        index = path.parent if page.name == "README.md" else path
        assert (index / "index.html").is_file(), page
