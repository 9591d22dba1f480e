"""``task=out_of_domain``: images of another domain through a run's networks (Sec. 7, Fig. 15)."""

from contextlib import ExitStack
from typing import Any

from idinvert.cli.setup import open_setup
from idinvert.cli.tasks.methods import changed, check_methods
from idinvert.cli.tasks.opening import finished, subject_of, task_folder
from idinvert.config.run_folder import locked
from idinvert.evaluation.open_data import open_data
from idinvert.evaluation.out_of_domain import Entrant, out_of_domain
from idinvert.results.record import Record


def invert_foreign(
    *, config: dict[str, Any], methods: list[dict[str, Any]], own: str | None, shown: int
) -> list[Record]:
    """Inverts the images of ``data`` by several methods, whatever the run was trained on."""
    check_methods(methods, key="task.methods")
    data = config["data"]
    domain = open_data(data)
    home = None
    if own is not None:
        check_methods([{"label": "own", "words": own}], key="task.own")
        home = open_data(changed(config, {"words": own})["data"])
    setups = [open_setup(changed(config, method) | {"data": data}) for method in methods]
    entrants = [
        Entrant(method["label"], subject_of(setup, domain=domain), setup.trained_on)
        for method, setup in zip(methods, setups, strict=True)
    ]
    options = {
        "methods": [[entrant.label, entrant.subject.identity] for entrant in entrants],
        "n": config["n"],
        "own": home and home.fingerprint,
    }
    first = entrants[0].subject.inversions.parent
    others = {entrant.subject.inversions.parent for entrant in entrants} - {first}
    with ExitStack() as held:
        out = held.enter_context(
            task_folder(setups[0], entrants[0].subject, "out_of_domain", **options)
        )
        for folder in sorted(others):
            held.enter_context(locked(folder))
        return finished(out_of_domain(entrants, out=out, own=home, shown=shown), out)
