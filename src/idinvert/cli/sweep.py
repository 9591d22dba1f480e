"""Runs a planned sweep and ends it with its table, whatever happens on the way."""

import os
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.errors import HydraException

from idinvert.cli.launchers import SUBMITIT
from idinvert.cli.outcome import forget, kept
from idinvert.cli.plan import Plan
from idinvert.cli.sweep_table import gathered, printed, write
from idinvert.cli.trials import FILE, best_trial, finished, read_trials, to_go_on
from idinvert.cli.words import in_order, is_override
from idinvert.config.run_folder import locked
from idinvert.errors import ConfigError, IdinvertError

FULL_ERROR = "HYDRA_FULL_ERROR"
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


def run_sweep(plan: Plan, program: str, job: Callable[[], None]) -> None:
    """Runs the jobs of a sweep, prints and stores the table of how they ended.

    Args:
        plan: The sweep.
        program: ``"train"`` or ``"evaluate"``.
        job: Hydra's main function.

    Raises:
        SystemExit: 1 if any job is not done, 130 after Ctrl-C; nothing if all are.
        IdinvertError: The very same sweep is running already, or there is no room for it.
    """
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"system.outputs: {error}. Give a folder that can be written.") from error
    flags_first = sorted(sys.argv[1:], key=is_override)
    command = f"python {program}.py {shlex.join(flags_first)}"
    for_study = _study_words(plan)
    sys.argv[1:] = in_order(sys.argv[1:], [*plan.words, *for_study])
    trouble: str | None = None
    interrupted = False
    with locked(plan.folder):
        forget(plan.folder)
        try:
            if "hydra.sweeper.n_trials=0" not in for_study:
                with _hydras_errors_whole():
                    job()
        except KeyboardInterrupt:
            interrupted = True
        except SystemExit as error:
            trouble = None if error.code in (None, 0) else "the sweep ended early"
        except HydraException as error:
            trouble = str(error).splitlines()[0]
        except Exception as error:
            trouble = _explained(plan, error)
        report(plan, command, trouble=trouble, interrupted=interrupted)


def report(plan: Plan, command: str, *, trouble: str | None, interrupted: bool) -> None:
    """Prints and stores the table; ends the process where not all is done."""
    elsewhere = plan.launcher.kind in SUBMITIT and (interrupted or trouble is not None)
    outcomes = gathered(kept(plan.folder), plan.jobs, over=not elsewhere)
    best = _best(plan)
    print("\n" + printed(outcomes, best=best))
    paths = write(plan.folder, outcomes, command=command, best=best)
    print(f"written: {paths[0]}", flush=True)
    if trouble:
        print(f"error: {trouble}", file=sys.stderr)
    if interrupted:
        if elsewhere:
            print("Jobs that were handed to submitit may still be at work.")
        print(f"to go on: {command}", flush=True)
        sys.exit(INTERRUPTED)
    if trouble or not all(one.good for one in outcomes):
        sys.exit(1)


def _study_words(plan: Plan) -> list[str]:
    if "n_trials" not in plan.sweeper:
        return []
    trials = read_trials(plan.folder / FILE)
    done = sum(map(finished, trials))
    if done:
        print(f"{plan.name}: going on after {done} of {plan.sweeper['n_trials']} trials")
    return to_go_on(plan.sweeper, trials, name=plan.name)


def _best(plan: Plan) -> str | None:
    """What a search has found so far, earlier calls included."""
    direction = plan.sweeper.get("direction")
    if direction is None:
        return None
    trials = read_trials(plan.folder / FILE)
    best = best_trial(trials, direction=str(getattr(direction, "name", direction)))
    if best is None:
        return f"no best trial: none of {len(trials)} came to a figure"
    words = " ".join(f"{name}={value}" for name, value in best["params"].items())
    return f"best of {len(trials)} trials: {best['value']:.5g} with {words}"


def _explained(plan: Plan, error: Exception) -> str:
    """One line for what broke the launcher or the sweeper itself."""
    if isinstance(error, IdinvertError):
        return str(error)
    if isinstance(error, ValueError) and "No trials are completed" in str(error):
        return "no trial came to a figure"
    path: Path = plan.folder / "traceback.txt"
    path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]} ({path})"


@contextmanager
def _hydras_errors_whole() -> Iterator[None]:
    """Hydra hands its errors on, where it would print them and leave."""
    before = os.environ.get(FULL_ERROR)
    os.environ[FULL_ERROR] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[FULL_ERROR]
        else:
            os.environ[FULL_ERROR] = before
