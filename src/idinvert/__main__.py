"""``python -m idinvert``: starts the programs of this package, or prints an overview.

Slow imports are inside `start`, where Ctrl-C is handled.
"""

import os
import signal
import sys
from typing import Any

import idinvert

PROGRAMS = {
    "train": "idinvert.cli.commands:train",
    "evaluate": "idinvert.cli.commands:evaluate",
    "runs": "idinvert.cli.runs:main",
    "data": "idinvert.data.__main__:main",
    "checkpoints": "idinvert.checkpoints.__main__:main",
}
"""Name to function, which is imported when the program starts."""
STARTED = "IDINVERT_PROGRAM"
"""Environment variable with the program, for ranks that Lightning starts without its name."""
OVERVIEW = """\
idinvert {version}: in-domain GAN inversion. Train an encoder for a GAN, invert
images with it, edit them, and reproduce the tables of the paper.

  python train.py            train an encoder, a GAN, or a sweep of them
  python evaluate.py         invert and edit images, evaluate a run, show a table
  python -m idinvert runs            list the runs: choices, state, last metric
  python -m idinvert data            prepare or inspect a data set
  python -m idinvert checkpoints     inspect, convert, list and fetch checkpoints

First commands:
  python evaluate.py task=invert images=FOLDER
  python train.py experiment=domain_guided max_seconds=300
  python train.py --help
"""


def start(name: str) -> None:
    """Runs one of `PROGRAMS`.

    Raises:
        SystemExit: The program's exit status.
    """
    caught: list[int] = []

    def stop(number: int, frame: Any) -> None:
        caught.append(number)
        raise KeyboardInterrupt

    hears = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if hears:  # false if Ctrl-C is ignored, as in a shell's background job
        signal.signal(signal.SIGINT, stop)
    try:
        import pkgutil

        from idinvert.errors import exit_status

        status = exit_status(lambda: pkgutil.resolve_name(PROGRAMS[name])())
    except BaseException as error:
        if not caught and not isinstance(error, KeyboardInterrupt):
            raise
        # Any error: a module that is interrupted during its import may raise another one.
        print("\nstopped; give the same command again to continue", file=sys.stderr)
        status = 130
    finally:
        if hears:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(status)


train, evaluate, runs, data, checkpoints = (lambda name=name: start(name) for name in PROGRAMS)
"""The console scripts."""


def main() -> None:
    """Prints the overview, or starts the program that the first word names.

    Raises:
        SystemExit: The program's exit status; 2 for an unknown program.
    """
    words = sys.argv[1:]
    if "LOCAL_RANK" in os.environ and STARTED in os.environ and words[:1] != [os.environ[STARTED]]:
        words = [os.environ[STARTED], *words]
    if words and words[0] in PROGRAMS:
        name = os.environ[STARTED] = words[0]
        # The console script of the program; Lightning starts further ranks with it.
        sys.argv = [os.path.join(os.path.dirname(sys.argv[0]), f"idinvert-{name}"), *words[1:]]
        start(name)
    if words[:1] == ["--version"]:
        print(f"idinvert {idinvert.__version__}")
        return
    from idinvert.errors import as_typed

    print(as_typed(OVERVIEW.format(version=idinvert.__version__)), end="")
    if words and words[0] not in ("-h", "--help"):
        print(f"error: there is no program {words[0]}: {', '.join(PROGRAMS)}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
