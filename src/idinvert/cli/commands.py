"""The two commands: check the command line, then let Hydra run one job or a sweep.

Nothing here imports torch before the command line is known, because shell completion calls this
program at each press of the tab key.
"""

import contextlib
import functools
import importlib
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import hydra
from dotenv import load_dotenv
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

import idinvert
from idinvert.cli.experiments import chosen_by_experiment, chosen_row
from idinvert.config.argv import check_words, for_hydra, for_shell
from idinvert.config.compose import (
    OWN,
    compose_with_hydra,
    config_dir,
    config_files,
    given_keys,
    key_of,
    own_config_dir,
    register,
    searchpath,
    take_own_config_dir,
    without_hydra,
)
from idinvert.config.instantiate import check_signatures
from idinvert.config.run_folder import require_folder
from idinvert.errors import ConfigError, IdinvertError, as_typed, exit_status

SWEEPS = ("-m", "--multirun")
SHOWS = ("-c", "--cfg", "-i", "--info")
"""Flags that print the configuration of a job and run nothing."""
FOLDERS = ("hydra.run.", "hydra.sweep.", "hydra.job.chdir", "hydra.output_subdir")
"""Hydra's keys for output folders, which this project does not use."""
LOCAL = "local"
"""A folder of the user's own groups; if it exists, it is used as ``--config-dir local``."""
COMPLETES = ("-sc", "--shell-completion")
EXPLAINS = ("-h", "--help", "--hydra-help", "--version", *COMPLETES)
"""Flags that need no job."""
HELP = {
    "train": """\
Trains an encoder for the images of a GAN, or a GAN, or a sweep of runs. A run's
id is a hash of its scientific configuration, so the same command finds its own
run and continues it.

  python train.py experiment=domain_guided
  python train.py encoder=resnet18 latent.offset=none seed=1
  python train.py experiment=gan generator=stylegan2 data=folder data.path=DIR
  python train.py -m experiment=table3_encoders
  python train.py run=RUN nimg=400_000
""",
    "evaluate": """\
Inverts and edits images, evaluates a run, or shows a table. Without run=RUN it
uses the networks that are shipped with this package.

  python evaluate.py task=invert images=FOLDER
  python evaluate.py run=RUN task=reconstruction inversion=in_domain
  python evaluate.py task=manipulation n=8
  python evaluate.py table=table1_methods
  python evaluate.py -m run=RUN inversion.lambda_dom=0,0.5,1,2,4
""",
}
CHOICES = "Choose from a group with GROUP=NAME. Set a key with KEY=VALUE. The groups:"
FLAGS = """\
  --cfg job            print every key with its value, and run nothing
  -m                   run a sweep: several values of a key, or an experiment
  --config-dir DIR     a folder with groups of your own
  --version, --hydra-help, -sc install=bash (completion)
To list the runs: python -m idinvert runs"""
OTHER_CONFIG = ("-cd", "-cn", "-cp", "--config-")
"""Prefixes of flags that choose another primary configuration, which only Hydra checks."""


def train() -> None:
    """Entry point of ``train.py`` and ``idinvert-train``."""
    _start("train")


def evaluate() -> None:
    """Entry point of ``evaluate.py`` and ``idinvert-evaluate``."""
    _start("evaluate")


def _start(name: str) -> None:
    load_dotenv(".env")  # variables that are already set take precedence
    if OWN not in os.environ and Path(LOCAL).is_dir():
        os.environ[OWN] = str(Path(LOCAL).resolve())
    flags = _flags(sys.argv[1:])
    if flags & set(COMPLETES):
        complete(name)
        return
    if flags & set(EXPLAINS):
        if status := exit_status(lambda: explain(name)):
            sys.exit(status)
        return
    run_app(name, functools.partial(_do, name))


def _do(name: str, config: dict[str, Any], *, given: dict[str, list[str]]) -> Any:
    """Runs the program; imports Lightning, which takes seconds."""
    return getattr(importlib.import_module(f"idinvert.cli.{name}"), name)(config, given=given)


def explain(config_name: str) -> None:
    """Prints ``--help`` and ``--version`` without torch; ``--hydra-help`` is left to Hydra."""
    if "--version" in sys.argv:
        print(f"idinvert {idinvert.__version__}")
    elif "--hydra-help" in sys.argv:
        run_app(config_name, lambda config, given: None)
    else:
        names = groups(config_name)
        listed = (f"  {name}={' | '.join(sorted(config_files(name)))}" for name in names)
        known = [textwrap.fill(line, 80, subsequent_indent="      ") for line in listed]
        print(as_typed("\n".join([HELP[config_name].rstrip(), "", CHOICES, *known, "", FLAGS])))


def groups(config_name: str) -> list[str]:
    """The Hydra groups that a user of a program chooses from."""
    files = {name: (config_dir() / f"{name}.yaml").read_text(encoding="utf-8") for name in HELP}
    own = files.pop(config_name)
    (other,) = files.values()
    found = sorted(path.name for path in config_dir().iterdir() if path.is_dir())
    of_other = [name for name in found if f"- {name}: " in other and f"- {name}: " not in own]
    return [name for name in found if name not in ("hydra", *of_other)]


def complete(config_name: str) -> None:
    """Prints what shell completion requests: the script to install, or the possible next words."""
    line = os.environ.get("COMP_LINE", "")
    last = line.rpartition(" ")[2]
    if last.startswith("run=") and any(word.startswith("query=") for word in sys.argv):
        from idinvert.cli.runs import offered

        print(" ".join(offered(line)))
        return
    register()
    with contextlib.suppress(ConfigError):  # a folder name that is only half typed
        take_own_config_dir(line.split())
    if own := own_config_dir():
        sys.argv += ["--config-dir", str(own)]
    _with_hydra(config_name, lambda config: None)()


def run_app(config_name: str, work: Callable[..., Any]) -> None:
    """Checks the command line, then lets Hydra run ``work`` once or as a sweep.

    Args:
        config_name: ``"train"`` or ``"evaluate"``.
        work: Takes the resolved configuration as plain values, and ``given``, see `given_keys`.
            Must be importable, since a launcher's processes call it too.

    Raises:
        SystemExit: 2 if the command is refused; after a sweep, see `cli.sweep.run_sweep`.
    """
    try:
        arguments = take_own_config_dir(sys.argv[1:])
        check_words(config_name, arguments)
        sweeps = bool(_flags(arguments) & set(SWEEPS))
        arguments = [for_hydra(word, sweep=sweeps) for word in arguments]
        arguments = in_order(arguments, [word for word in searchpath() if word not in arguments])
        sys.argv[1:] = arguments
        _require_own_folders(arguments)
        if any(flag in EXPLAINS or flag.startswith(OTHER_CONFIG) for flag in _flags(arguments)):
            job = _job_of_hydra(config_name, work)
        elif is_sweep(arguments):
            from idinvert.cli.sweep import run_sweep  # loads torch

            run_sweep(config_name, work, _with_hydra)
            return
        else:
            job = _single_job(config_name, work, arguments)
    except IdinvertError as error:
        _fail(error)
    register()
    _with_hydra(config_name, job)()


def _require_own_folders(arguments: Sequence[str]) -> None:
    """Refuses Hydra's folder keys, which have no effect or would change the run's folder.

    Raises:
        ConfigError: Names the key to use instead.
    """
    if "LOCAL_RANK" in os.environ:
        return  # Lightning gives the processes of other ranks a hydra.run.dir
    for word in filter(is_override, arguments):
        if key_of(word).startswith(FOLDERS):
            raise ConfigError(
                f"{word}: runs lie in <system.outputs>/<experiment>/<id>, so that the same command "
                "finds them again. Use system.outputs=FOLDER."
            )


def _single_job(
    config_name: str, work: Callable[..., Any], arguments: list[str]
) -> Callable[[DictConfig], Any]:
    """Composes and checks the configuration of a command without ``-m``; returns its job."""
    typed = without_hydra([word for word in arguments if is_override(word)])
    words = chosen_row(config_name, typed)
    folder = _folder_of_run(words)
    config, _ = compose_with_hydra(config_name, [*folder, *words])
    if not _flags(arguments) & set(SHOWS):
        check_signatures(config)
        require_folder(config["system"]["outputs"])
    given = given_keys([*words, *chosen_by_experiment(words)])
    row = [word for word in words if not word.startswith("row=")]
    if words is not typed:
        if _flags(arguments) & set(SHOWS):
            # Hydra composes and prints the configuration itself: give it the row, not the sweep.
            sys.argv[1:] = in_order([*row, *(w for w in arguments if not is_override(w))])
        else:
            print(as_typed(f"python {config_name}.py {for_shell(row)}"), flush=True)

    argv = list(sys.argv)
    if folder:
        sys.argv[1:] = in_order(sys.argv[1:], folder)  # Hydra composes again, from sys.argv

    def job(composed: DictConfig) -> Any:
        if words is not typed:  # the command in records and weights, which other ranks run too
            sys.argv = [argv[0], *row]
        else:
            sys.argv = argv
        try:
            return _guarded(config_name, work, config, given)
        finally:
            sys.argv = argv

    return job


def _folder_of_run(words: Sequence[str]) -> list[str]:
    """The override that selects the group with ``data.path``, for ``run=RUN data.path=NEW``."""
    given = given_keys(words)
    moved = "run" in given and "data.path" in given.get("data", ()) and "data" not in given["data"]
    return ["data=folder"] if moved else []


def _job_of_hydra(config_name: str, work: Callable[..., Any]) -> Callable[[DictConfig], Any]:
    """A job that checks its configuration when Hydra calls it (``--config-name``)."""

    def job(config: DictConfig) -> Any:
        plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        try:
            check_signatures(plain)
        except IdinvertError as error:
            _fail(error)
        return _guarded(config_name, work, plain, given_keys(HydraConfig.get().overrides.task))

    return job


def _guarded(
    config_name: str, work: Callable[..., Any], config: dict[str, Any], given: dict[str, list[str]]
) -> Any:
    """Runs the work; an expected error is printed in one line."""
    from idinvert.cli.devices import prepare_process
    from idinvert.cli.exit_handling import end_as_the_run, ends_in_words

    prepare_process()
    with ends_in_words(config_name):
        result = work(config, given=given)
    if isinstance(result, Path):
        end_as_the_run(result)
    return result


def _with_hydra(config_name: str, job: Callable[[DictConfig], Any]) -> Callable[[], None]:
    main = hydra.main(config_path=str(config_dir()), config_name=config_name, version_base="1.3")
    return main(job)


def _fail(error: IdinvertError) -> NoReturn:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)


def is_override(word: str) -> bool:
    """Whether a word is an override (``key=value``, ``~key``), not a flag or a flag's value."""
    return word[:1] == "~" or (word[:1] != "-" and "=" in word)


def is_sweep(arguments: Sequence[str]) -> bool:
    """Whether a command line starts a sweep.

    Raises:
        ConfigError: It also has a flag that prints the configuration; a sweep has several.
    """
    flags = _flags(arguments)
    if not flags & set(SWEEPS) or flags & set(EXPLAINS):
        return False
    if shown := flags & set(SHOWS):
        raise ConfigError(
            f"{min(shown)} shows one job, -m starts many: leave out -m, and show one job of a "
            "sweep with experiment=NAME row=0."
        )
    return True


def in_order(arguments: Sequence[str], more: Sequence[str] = ()) -> list[str]:
    """Reorders a command line: overrides first, then ``more``, then flags with their values.

    The user may type any order. Hydra's parser accepts overrides in one place only (after
    ``a=1 -m`` it does not know ``b=2``), and reads an override after ``--info`` as that flag's
    value.
    """
    overrides = [word for word in arguments if is_override(word)]
    flags = [word for word in arguments if not is_override(word)]
    return [*overrides, *more, *flags]


def _flags(arguments: Sequence[str]) -> set[str]:
    return {word.split("=", 1)[0] for word in arguments if word[:1] == "-"}
