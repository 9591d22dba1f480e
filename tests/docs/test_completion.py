"""Tab completion in a real bash: the script that the pages install, asked as bash asks it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import REPOSITORY

BASH = shutil.which("bash")
ASK = """
eval "$({install} -sc install=bash)"
complete -p {registered} > /dev/null || exit 3
COMP_LINE="{line}"; COMP_POINT=${{#COMP_LINE}}
words=($COMP_LINE); COMP_CWORD=$((${{#words[@]}} - 1))
hydra_bash_completion
echo "${{COMPREPLY[@]}}"
"""


def completed(line: str, *, install: str, registered: str, cwd: Path, **environment: str) -> str:
    """What bash offers at the end of a line."""
    assert BASH is not None
    text = ASK.format(line=line, install=install, registered=registered)
    done = subprocess.run(
        [BASH, "--norc", "-c", text],
        cwd=cwd,
        env=os.environ
        | {"PATH": f"{cwd / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY / "src")}
        | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def shell(tmp_path: Path) -> Path:
    """A folder like a checkout, whose ``python`` is this one, with the installed commands."""
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"  # a link would be the interpreter without its packages
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    for name in ("train", "evaluate"):
        shutil.copy(REPOSITORY / f"{name}.py", tmp_path)
        command = tmp_path / "bin" / f"idinvert-{name}"
        call = f"from idinvert.cli.commands import {name}; {name}()"
        command.write_text(f"#!{sys.executable}\n{call}\n")
        command.chmod(0o755)
    return tmp_path


@pytest.mark.slow
@pytest.mark.skipif(BASH is None, reason="no bash")
def test_the_installed_command_completes_groups_and_keys(shell: Path) -> None:
    def offered(line: str) -> str:
        return completed(line, install="idinvert-train", registered="idinvert-train", cwd=shell)

    assert offered("idinvert-train encoder=res").split() == [
        "encoder=resnet18",
        "encoder=resnet34",
        "encoder=resnet50",
    ]
    assert "objective.lambda_adv=" in offered("idinvert-train objective.lambda_").split()


@pytest.mark.slow
@pytest.mark.skipif(BASH is None, reason="no bash")
def test_python_and_the_script_complete_as_well(shell: Path) -> None:
    asked = {"install": "python evaluate.py", "registered": "python", "cwd": shell}
    found = completed("python evaluate.py task=reco", **asked)  # type: ignore[arg-type]
    assert found.split() == ["task=reconstruction"]


@pytest.mark.slow
@pytest.mark.skipif(BASH is None, reason="no bash")
def test_ones_own_configurations_complete(shell: Path) -> None:
    (shell / "my_conf" / "encoder").mkdir(parents=True)
    (shell / "my_conf" / "encoder" / "patches.yaml").write_text("_target_: x.Y\n")
    asked = {"install": "idinvert-train", "registered": "idinvert-train", "cwd": shell}
    own = {"IDINVERT_CONFIG_DIR": str(shell / "my_conf")}
    for line, environment in (
        ("idinvert-train encoder=p", own),
        ("idinvert-train --config-dir my_conf encoder=p", {}),
    ):
        found = completed(line, **asked, **environment)  # type: ignore[arg-type]
        assert sorted(found.split()) == ["encoder=patches", "encoder=psp"]


def test_completion_loads_no_networks() -> None:
    """A shell asks at each press of the tab key: what takes seconds to load is not loaded."""
    line = "python train.py encoder=res"
    program = (
        "import sys; sys.argv = ['train.py', '-sc', 'query=bash'];"
        "from idinvert.cli.commands import train; train();"
        "assert not {'torch', 'pytorch_lightning', 'wandb'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"COMP_LINE": line, "COMP_POINT": str(len(line))},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["encoder=resnet18", "encoder=resnet34", "encoder=resnet50"]
