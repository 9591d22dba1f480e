"""``python -m idinvert``: the programs of this package, and where to begin."""

import importlib
import sys

import idinvert
from idinvert.errors import as_typed

PROGRAMS = {
    "train": "idinvert.cli.commands",
    "evaluate": "idinvert.cli.commands",
    "runs": "idinvert.cli.runs",
    "data": "idinvert.data.__main__",
    "checkpoints": "idinvert.checkpoints.__main__",
}
OVERVIEW = """\
idinvert {version}: in-domain GAN inversion. Train an encoder for a GAN, invert
images with it, edit them, measure it, and make the paper's tables.

  python train.py            train an encoder, a GAN, or a sweep of them
  python evaluate.py         invert and edit images, evaluate a run, show a table
  python -m idinvert runs            list the runs: choices, state, last figure
  python -m idinvert data            prepare a data set, or look at one
  python -m idinvert checkpoints     inspect, convert, list and fetch checkpoints

To begin:
  python evaluate.py task=invert images=FOLDER
  python train.py experiment=domain_guided max_seconds=300
  python train.py --help
"""


def main() -> None:
    """Prints the overview, or starts the program that the first word names.

    Raises:
        SystemExit: As the program says; 2 for a word that names none.
    """
    words = sys.argv[1:]
    if words and words[0] in PROGRAMS:
        name = words[0]
        sys.argv = [f"idinvert-{name}", *words[1:]]
        module = importlib.import_module(PROGRAMS[name])
        if name in ("train", "evaluate"):
            getattr(module, name)()
            return
        sys.exit(module.main())
    if words[:1] == ["--version"]:
        print(f"idinvert {idinvert.__version__}")
        return
    print(as_typed(OVERVIEW.format(version=idinvert.__version__)), end="")
    if words and words[0] not in ("-h", "--help"):
        print(f"error: there is no program {words[0]}: {', '.join(PROGRAMS)}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
