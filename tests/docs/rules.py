"""How each kind of command is tried; a command that no rule knows fails the tests."""

import argparse
import contextlib
import functools
import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from idinvert.checkpoints import __main__ as weights
from idinvert.checkpoints.fetch import all_entries
from idinvert.cli import runs
from idinvert.cli.commands import is_sweep
from idinvert.cli.evaluate import evaluate
from idinvert.cli.experiments import chosen_by_experiment, chosen_row, every_row
from idinvert.cli.train import train
from idinvert.config.compose import compose_plain, expand_sweep, given_keys
from idinvert.data import __main__ as data
from tests.docs.pages import REPOSITORY, Command
from tests.docs.shrink import for_hydra, in_miniature, overrides, tiny, two_jobs, value_of
from tests.docs.world import World
from tests.processes import Program, two_ranks

ENVIRONMENT = re.compile(r"^[A-Z][A-Z0-9_]*=\S*$")
SHELL = ("cat", "cd", "cp", "export", "grep", "head", "ls", "mkdir", "mv", "rm", "tail")
SECONDS = 1500
ONLY_STOPPED = re.compile(r"^(\d+) jobs?: \1 stopped$", re.MULTILINE)
CLUSTER = ("sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun")


@dataclass(frozen=True)
class Rule:
    """How a kind of command is tried.

    Attributes:
        name: Of the kind.
        fits: Whether a command, without what it sets in the environment, is of it.
        check: Looks at it without running it; fails with an error.
        run: Runs it in a tiny form; None where there is nothing to run.
    """

    name: str
    fits: Callable[[list[str]], bool]
    check: Callable[[Command, list[str]], None]
    run: Callable[[Command, list[str], World], None] | None = None


def bare(command: Command) -> list[str]:
    """The command's words without the environment it is given."""
    words = command.words
    while words and ENVIRONMENT.match(words[0]):
        words = words[1:]
    return words


def rule_for(command: Command) -> Rule:
    """The rule that knows a command.

    Raises:
        AssertionError: None does.
    """
    words = bare(command)
    for rule in RULES:
        if rule.fits(words):
            return rule
    raise AssertionError(
        f"{command}\nno rule of tests/docs/rules.py knows this command: write it as one that the "
        "tests can run, or give them a rule."
    )


def program_of(words: list[str]) -> str | None:
    """``"train"`` or ``"evaluate"``, whoever starts it."""
    for word in words[: None if words[0] in ("torchrun", "srun") else 2]:
        found = re.fullmatch(r"(?:\S*/)?(?:idinvert-)?(train|evaluate)(?:\.py)?", word)
        if found:
            return found[1]
    return None


def rows_of(program: str, words: list[str]) -> list[list[str]]:
    """The overrides of each job: one, or those of a sweep."""
    chosen = overrides(words)
    if "--cfg" in words or not is_sweep(words):
        return [chosen_row(program, chosen)]
    every = [*chosen, *every_row(program, chosen)]
    return [chosen_row(program, one) for one in expand_sweep(every)]


def check_program(command: Command, words: list[str]) -> None:
    program = program_of(words)
    assert program is not None
    for row in rows_of(program, words):
        composed(program, tuple(row))


@functools.cache
def composed(program: str, words: tuple[str, ...]) -> dict[str, Any]:
    """The checked configuration; what several pages say is composed once."""
    return compose_plain(program, list(words))


def run_program(command: Command, words: list[str], world: World) -> None:
    """Runs it in this process; what needs processes of its own gets them."""
    program = program_of(words)
    assert program is not None
    filled = in_miniature(world.filled(command, words))
    if "--cfg" in words:
        run_apart(program, [*overrides(filled), "--cfg", "job"])
        return
    several = is_sweep(words)
    apart = several or words[0] == "torchrun"
    rows = rows_of(program, two_jobs(filled) if several else filled)
    config = composed(program, tuple(rows[0]))
    chosen = two_jobs(overrides(filled)) if several else overrides(filled)
    small = tiny(program, chosen if apart else rows[0], config, ranks=apart)
    if several:
        small += for_hydra(filled, ranks="trainer=ddp_cpu" in small)
    if not world.new(program, small):
        return
    world.gans(composed(program, tuple(row)) for row in rows)
    if apart:
        run_apart(program, ["-m", *small] if several else small, ranks=not several)
        return
    world.before(table=value_of("table", small))
    given = given_keys([*small, *chosen_by_experiment(small)])
    if program == "train":
        world.trained(train(compose_plain("train", small), given=given))
    else:
        evaluate(compose_plain("evaluate", small), given=given)


def run_apart(program: str, words: list[str], *, ranks: bool = False) -> None:
    """``python train.py words`` as one process, or as two ranks of torchrun.

    A sweep whose jobs all stop at `max_seconds` exits with 1, for they have not trained to their
    end; its table says so, and nothing else.
    """
    processes = [Program(program, words, env=env) for env in (two_ranks() if ranks else [{}])]
    for process in processes:
        output, _ = process.communicate(timeout=SECONDS)
        only_stopped = process.returncode == 1 and ONLY_STOPPED.search(output)
        assert process.returncode == 0 or only_stopped, output[-6000:]


def check_module(command: Command, words: list[str]) -> None:
    module = data if words[2] == "idinvert.data" else weights
    given = _parsed(module, words[3:])
    if words[3] == "fetch" and given.name.islower():  # and no placeholder
        assert given.name in set(all_entries()), command


def run_module(command: Command, words: list[str], world: World) -> None:
    module = data if words[2] == "idinvert.data" else weights
    if "fetch" in words or "lmdb" in command.text or "--only" in words:
        return
    filled = world.filled(command, words[3:])
    if "--resolution" in filled:
        filled[filled.index("--resolution") + 1] = "64"
    if not world.new(words[2], filled):
        return
    assert module.main(filled) == 0, command


def check_make(command: Command, words: list[str]) -> None:
    targets = re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    for word in words[1:]:
        assert word in targets or "=" in word, f"{command}: make knows {targets}"


def check_install(command: Command, words: list[str]) -> None:
    known = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    for extra in re.findall(r"\[([\w,]+)\]", command.text):
        for name in extra.split(","):
            assert name in known["optional-dependencies"], f"{command}: no extra {name}"


def check_wandb(command: Command, words: list[str]) -> None:
    from wandb.cli.cli import cli  # a second of imports that the other rules do not need

    assert words[1] in cli.commands, f"{command}: wandb has no {words[1]}"
    for word in words[2:]:
        assert not word.endswith(".yaml") or (REPOSITORY / word).is_file(), f"{command}: no {word}"


def check_files(command: Command, words: list[str]) -> None:
    named = [word for word in words if word.endswith((".py", ".ipynb"))]
    assert named and all((REPOSITORY / word).is_file() for word in named), command


def check_shell(command: Command, words: list[str]) -> None:
    assert subprocess.run(["bash", "-n", "-c", command.text]).returncode == 0, command


def run_shell(command: Command, words: list[str], world: World) -> None:
    if words[0] in ("cd", "export"):
        return
    text = shlex.join(world.filled(command, words)).replace("'>>'", ">>").replace("'|'", "|")
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{command}\n{done.stderr}"


def check_completion(command: Command, words: list[str]) -> None:
    assert re.search(r"(train|evaluate)(\.py)? -sc install=(bash|zsh|fish)", command.text), command


def _parsed(module: ModuleType, words: list[str]) -> argparse.Namespace:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        return module._parser().parse_args(words)


def _first(*names: str) -> Callable[[list[str]], bool]:
    return lambda words: bool(words) and Path(words[0]).name in names


def _modules(words: list[str]) -> bool:
    return words[:2] == ["python", "-m"] and words[2] in ("idinvert.data", "idinvert.checkpoints")


def _runs(words: list[str]) -> bool:
    return words[:4] == ["python", "-m", "idinvert", "runs"] or words[:1] == ["idinvert-runs"]


def check_runs(command: Command, words: list[str]) -> None:
    _parsed(runs, words[1:] if words[0] == "idinvert-runs" else words[4:])


def _benchmarks(words: list[str]) -> bool:
    return words[0] == "python" and words[1].startswith("experiments/speed/")


RULES = (
    Rule("train or evaluate", lambda words: bool(program_of(words)), check_program, run_program),
    Rule("a cluster's", _first(*CLUSTER), lambda command, words: None),
    Rule("data or weights", _modules, check_module, run_module),
    Rule("runs", _runs, check_runs),
    Rule("benchmark", _benchmarks, check_files),
    Rule("make", _first("make"), check_make),
    Rule("install", lambda words: "install" in words[1:3] and "pip" in words[:3], check_install),
    Rule("W&B", _first("wandb"), check_wandb),
    Rule("completion", _first("eval"), check_completion),
    Rule("notebook", _first("jupyter"), check_files),
    Rule("shell", _first(*SHELL), check_shell, run_shell),
)
