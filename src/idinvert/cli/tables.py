"""``evaluate.py table=…``: evaluates what is missing, reuses what is there, never trains."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from idinvert.checkpoints.bundle import SHIPPED
from idinvert.cli.expected import expected_choices
from idinvert.cli.run_defaults import run_id, trained_runs, with_run
from idinvert.config.compose import compose_plain, given_keys
from idinvert.errors import ConfigError, IdinvertError
from idinvert.results.cells import evaluations, filled
from idinvert.results.parse import described
from idinvert.results.record import FILE, Record, read_records
from idinvert.results.render import page, write
from idinvert.results.select import failures, of_the_run
from idinvert.results.spec import Place

Evaluate = Callable[[dict[str, Any]], list[Record]]

OF_THE_COMMAND = (
    "system",
    "trainer",
    "logger",
    "n",
    "batch_size",
    "seed",
    "reference",
    "recompute",
    "verify",
)
"""Keys that all evaluations of a table take from the command that asks for it."""
WEIGHTS_AND_METRICS = ("metric", "perceptual", "attributes")
"""Keys that they take from there where they were given; else each run brings its own."""


def render_table(
    config: dict[str, Any],
    *,
    evaluate: Evaluate,
    given: Mapping[str, Sequence[str]],
    track: Callable[[Any, Sequence[Path]], None] | None = None,
) -> list[Record]:
    """Fills a table or a plot of curves, prints it and writes it in every format.

    Args:
        config: The resolved configuration as plain values, with a ``table``. With a ``run``, of
            the encoders only that one's records are shown.
        evaluate: Runs one evaluation and keeps its records, or gives those that are there.
        given: Keys that stand on the command line, as `given_keys` sorts them.
        track: Is shown what was filled, and its files.

    Returns:
        The records that were made on the way.
    """
    outputs = Path(config["system"]["outputs"])
    places = record_places(config["records"], outputs=outputs)
    scale = config["scale"]["name"]
    table = described(
        config["table"], scale=scale, expected=expected_choices, reference=config["reference"]
    )
    only = None if config["run"] is None else run_id(config["run"], outputs)
    made: list[Record] = []
    if config["evaluate_missing"]:
        known = _records(places, only)
        shown = filled(table, known)
        runs = [run for run in trained_runs(outputs) if only in (None, run.run)]
        for place in evaluations(shown, everything=config["recompute"]):
            found = _satisfy(place, runs, config, table.name, evaluate=evaluate, given=given)
            made += [record for record in found if record not in known]
    shown = filled(table, _records(places, only))
    print(page(shown))
    files = write(shown, outputs / "tables")
    for path in files:
        print(f"written: {path}")
    if track is not None:
        track(shown, files)
    return made


def record_places(more: str | None, *, outputs: Path) -> list[Path]:
    """Where a table's records lie: the user's own, and what ``records=`` names.

    Raises:
        ConfigError: There is nothing of that name.
    """
    own = outputs / FILE
    if more is None:
        return [own]
    if not Path(more).exists():
        raise ConfigError(
            f"records={more}: there is no such file or folder; expected a {FILE}, or a folder "
            "that holds one, such as experiments/table1_methods."
        )
    return [Path(more), own]


def _records(places: Sequence[Path], only: str | None) -> list[Record]:
    """Records to choose from; those of methods without an encoder belong to no run's encoder."""
    records = read_records(places)
    return [r for r in records if only in (None, r.run) or "encoder" not in r.choices]


def _satisfy(
    place: Place,
    runs: Sequence[Record],
    config: dict[str, Any],
    table: str,
    *,
    evaluate: Evaluate,
    given: Mapping[str, Sequence[str]],
) -> list[Record]:
    """Evaluates what a place lacks, where there is a run for it; the run with the most images."""
    clauses = of_the_run(place.where)
    fitting = [run for run in runs if not failures(run, clauses)]
    run = max(fitting, key=lambda run: run.nimg, default=None)
    if run is None:
        return []
    print(f"{table}: evaluating {place.label}, run {run.run}")
    try:
        return evaluate(_evaluation(config, place, run, given=given))
    except IdinvertError as error:
        print(f"  not done: {error}")
        return []


def _evaluation(
    config: dict[str, Any],
    place: Place,
    run: Record,
    *,
    given: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """The configuration of the evaluation that a table's row describes."""
    folder = str(run.extra["folder"])
    run_override = f"run={run.run}" if folder.startswith(SHIPPED) else f"run={folder}"
    overrides = [*place.evaluate, run_override]
    chosen = compose_plain("evaluate", overrides)
    handed_on = {key: given[key] for key in WEIGHTS_AND_METRICS if key in given}
    for key in (*OF_THE_COMMAND, *handed_on):
        chosen[key] = config[key]
    return with_run(chosen, given=given_keys(overrides) | handed_on)
