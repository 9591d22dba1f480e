"""Tab completion in a real bash: the script that the pages install, asked as bash asks it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import REPOSITORY

RESNETS = ["encoder=resnet18", "encoder=resnet34", "encoder=resnet50"]
ASK = """
eval "$({install} -sc install=bash)"
complete -p {registered} > /dev/null || exit 3
COMP_LINE="{line}"; COMP_POINT=${{#COMP_LINE}}
words=($COMP_LINE); COMP_CWORD=$((${{#words[@]}} - 1))
hydra_bash_completion
echo "${{COMPREPLY[@]}}"
"""


def completed(line: str, cwd: Path, **environment: str) -> list[str]:
    """What bash offers at the end of a line that begins with a program's name."""
    script = line.startswith("python ")
    install = " ".join(line.split()[: 2 if script else 1])
    text = ASK.format(line=line, install=install, registered=line.split()[0])
    path = {"PATH": f"{cwd / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY / "src")}
    done = subprocess.run(
        ["bash", "--norc", "-c", text],
        cwd=cwd,
        env=os.environ | path | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture
def shell(tmp_path):
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
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes_groups_keys_and_ones_own_configurations(shell):
    assert completed("idinvert-train encoder=res", shell) == RESNETS
    assert "objective.lambda_adv=" in completed("idinvert-train objective.lambda_", shell)
    assert completed("python evaluate.py task=reco", shell) == ["task=reconstruction"]
    (shell / "my_conf" / "encoder").mkdir(parents=True)
    (shell / "my_conf" / "encoder" / "patches.yaml").write_text("_target_: x.Y\n")
    both = ["encoder=patches", "encoder=psp"]
    own = {"IDINVERT_CONFIG_DIR": str(shell / "my_conf")}
    assert sorted(completed("idinvert-train encoder=p", shell, **own)) == both
    assert sorted(completed("idinvert-train --config-dir my_conf encoder=p", shell)) == both


def test_completion_loads_no_networks():
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
    assert done.stdout.split() == RESNETS
