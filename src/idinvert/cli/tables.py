"""``evaluate.py table=…``: runs missing evaluations, reuses existing records, never trains."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from idinvert.checkpoints.bundle import SHIPPED, open_network
from idinvert.cli import run_defaults, trained_gans
from idinvert.cli.assemble import choices_of
from idinvert.config.compose import compose_plain, config_dir, given_keys
from idinvert.config.instantiate import build
from idinvert.errors import ConfigError, IdinvertError, as_typed
from idinvert.evaluation import networks as wire
from idinvert.evaluation.networks import room_name
from idinvert.results.cells import FilledCurves, FilledTable, evaluations, filled, records_of
from idinvert.results.parse import described
from idinvert.results.record import FILE, Record, read_records
from idinvert.results.render import page, tell, write
from idinvert.results.select import leaves, of_the_run
from idinvert.results.spec import ANY, NO_CHOICES, Place

PLACEHOLDER = "FILE_OF_"
"""Prefix of a generator's file in commands at full scale: ``FILE_OF_stylegan_multi_w``."""

MEASURED = "experiments"
"""Folder of the records that come with this package, one folder per table."""
Shown = FilledTable | FilledCurves
LONG = 1000
"""Steps from which a quick trial (``n=32``) skips a row; its command is printed below the table."""
Evaluate = Callable[[dict[str, Any]], list[Record]]

OF_THE_COMMAND = (
    "classes",
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
"""Keys that all evaluations of a table take from the table's command."""
WEIGHTS_AND_METRICS = ("metric", "perceptual", "attributes")
"""Keys that they take from the command if it sets them, and from the run otherwise."""


def render_table(
    config: dict[str, Any],
    *,
    evaluate: Evaluate,
    given: Mapping[str, Sequence[str]],
    track: Callable[[Any, Sequence[Path]], None],
) -> list[Record]:
    """Fills a table or figure, prints it and writes it in every format.

    Args:
        config: The resolved configuration as plain values, with a ``table``. With a ``run``, only
            that encoder's records are shown, beside those of methods without an encoder.
        evaluate: Runs one evaluation and stores its records, or returns existing ones.
        given: Keys that the command line sets, see `given_keys`.
        track: Called with the filled table or figure and its files.

    Returns:
        The new records.
    """
    outputs = Path(config["system"]["outputs"])
    places = record_places(config["records"], outputs=outputs)
    scale = config["scale"]["name"]
    table = described(
        config["table"], scale=scale, expected=expected_choices, reference=config["reference"]
    )
    table = replace(table, classes=config["classes"])
    only = None if config["run"] is None else run_defaults.run_id(config["run"], outputs)
    made: list[Record] = []
    if config["evaluate_missing"]:
        known = _records(places, only)
        shown = filled(table, known)
        runs = [run for run in run_defaults.trained_runs(outputs) if only in (None, run.run)]
        for place, done in evaluations(shown):
            todo = _not_done(place, runs, frozenset() if config["recompute"] else done)
            if todo and _is_look(config, given) and (steps := _steps(place)) >= LONG:
                print(f"{table.name}: {place.label} takes {steps:,} steps: not started for a look")
                continue
            for run in todo:
                print(f"{table.name}: evaluating {place.label}, run {run.run}")
                try:
                    found = evaluate(_evaluation(config, place, run, given=given))
                except IdinvertError as error:
                    print(f"  not done: {error}")
                    continue
                made += [record for record in found if record not in known]
    records = _records(places, only)
    shown = filled(table, records)
    if not (config["evaluate_missing"] or config["records"] or only or records_of(shown)):
        known = records_of(filled(table, read_records(config_dir().parent / MEASURED / table.name)))
        if known:
            shown = filled(replace(table, notes=[*table.notes, whose(known)]), known)
    shown = with_training(shown, outputs)
    tell(page(shown))
    files = write(shown, outputs / "tables")
    for path in files:
        print(f"written: {path}")
    track(shown, files)
    return made


def whose(records: Sequence[Record]) -> str:
    """A note that all shown records come with this package, and none is the user's."""
    facts: dict[str, set[Any]] = {
        "data": {record.data.get("name") for record in records},
        "n": {record.n for record in records},
        "seed": {record.seed for record in records},
        "device": {record.device or "not recorded" for record in records},
    }
    told = "; ".join(f"{key} {', '.join(sorted(map(str, of)))}" for key, of in facts.items())
    return f"No record of yours stands here yet: all numbers come with idinvert ({told})."


def _not_done(
    place: Place, runs: Sequence[Record], done: frozenset[int | None]
) -> Sequence[Record]:
    """The runs whose evaluation a place lacks: one per trained seed, with the most images seen."""
    fitting = run_defaults.one_a_seed(runs, of_the_run(place.where))
    if any(path.startswith("choices.encoder") for path in place.where):
        return [run for run in fitting if run.seed not in done]
    return [] if done else fitting[:1]  # a method without encoder: any fitting run is enough


def _is_look(config: dict[str, Any], given: Mapping[str, Sequence[str]]) -> bool:
    """Whether the command is a quick trial: fewer images than the scale's, without recompute."""
    few = config["n"] is not None and config["n"] < config["scale"]["n_test"]
    return "n" in given and few and not config["recompute"]


def _steps(place: Place) -> int:
    """The optimisation steps in a row's overrides; 0 if there are none."""
    named = [word.partition("=")[2] for word in place.evaluate if "inversion.steps=" in word]
    return int(float(named[-1])) if named else 0


def with_training(shown: Shown, outputs: Path) -> Shown:
    """Makes the commands of empty cells runnable: with available runs, or training (GAN first).

    Args:
        shown: The table or figure; its reasons may name runs from another machine.
        outputs: The folder of this machine's runs; shipped runs are available too.
    """
    runs = list(run_defaults.trained_runs(outputs))
    here = {run.run for run in runs}

    @functools.cache
    def gan(*train: str) -> tuple[str, ...]:
        config = _composed("train", train)
        try:
            trained_gans.with_trained_generator({**config, "system": {"outputs": outputs}})
        except ConfigError:
            kind = config["generator"]["path"].removeprefix(trained_gans.TRAINED)
            return (as_typed(trained_gans.gan_command(kind, config)),)
        return ()

    def mended(cell: Any) -> Any:
        missing = cell.missing
        if missing is None or not missing.commands or missing.run in here:
            return cell
        run = run_defaults.best_fitting(runs, of_the_run(cell.place.where))
        if run is not None:
            told = replace(missing, commands=cell.place.commands(run.run), run=run.run)
        else:
            first = () if cell.place.method.train is None else gan(*cell.place.train)
            told = replace(missing, commands=(*first, *cell.place.commands()), run=None)
        return replace(cell, missing=told)

    if isinstance(shown, FilledTable):
        return replace(shown, cells=[mended(cell) for cell in shown.cells])
    curves = [replace(c, cells=[mended(cell) for cell in c.cells]) for c in shown.curves]
    return replace(shown, curves=curves)


def record_places(more: str | None, *, outputs: Path) -> list[Path]:
    """The paths of a table's records: ``records=`` if given, and the user's own.

    Raises:
        ConfigError: The path does not exist.
    """
    own = outputs / FILE
    if more is None:
        return [own]
    if not Path(more).exists() and (config_dir().parent / more).exists():
        more = str(config_dir().parent / more)  # the committed records, also in the wheel
    if not Path(more).exists():
        raise ConfigError(
            f"records={more}: there is no such file or folder; expected a {FILE}, or a folder "
            "that holds one, such as experiments/table1_methods."
        )
    return [Path(more), own]


def _records(places: Sequence[Path], only: str | None) -> list[Record]:
    """Reads the records; `only` keeps those of one run and those of methods without an encoder."""
    records = read_records(places)
    return [r for r in records if only in (None, r.run) or "encoder" not in r.choices]


def _evaluation(
    config: dict[str, Any],
    place: Place,
    run: Record,
    *,
    given: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """Composes the configuration of the evaluation that a place describes."""
    overrides = [*place.evaluate, run_defaults.word_for(run)]
    chosen = compose_plain("evaluate", overrides)
    handed_on = {key: given[key] for key in WEIGHTS_AND_METRICS if key in given}
    for key in (*OF_THE_COMMAND, *handed_on):
        chosen[key] = config[key]
    return run_defaults.with_run(chosen, given=given_keys(overrides) | handed_on)


def expected_choices(train: Sequence[str], evaluate: Sequence[str]) -> dict[str, Any]:
    """The choices in the records of a training and an evaluation, by dotted path.

    They are computed from the composed configurations by the functions that write records, so that
    a key added to a configuration is compared automatically.

    Args:
        train: Overrides of the training of the row's encoder, including
            ``generator.path=trained:KIND``, ``shipped:NAME`` or ``FILE_OF_KIND``.
        evaluate: Overrides of its evaluation.
    """
    words, kind = _of_choices(train)
    return _expected(tuple(words), kind, tuple(_of_choices(evaluate)[0]))


OF_TRAINING = ("objective", "batch_size", "precision", "discriminator", "augment")
"""Choices of a GAN's training."""


class _AnyF(nn.Module):
    """A placeholder for F, sufficient to construct any method."""

    def taps(self, images: Tensor) -> list[Tensor]:
        """Has the signature of F's layers."""
        return [images]


@functools.lru_cache(maxsize=512)
def _expected(train: tuple[str, ...], kind: str, evaluate: tuple[str, ...]) -> dict[str, Any]:
    config, encoder, choices = _trained(train, kind)
    asked = {**_composed("evaluate", evaluate), "perceptual": config["perceptual"]}
    inverter = wire.build_method(asked["inversion"], asked, encoder=encoder, perceptual=_AnyF())
    alone = not wire.takes(asked["inversion"], "encoder")
    if alone:  # its record belongs to the generator's run, whose training no row describes
        choices = {key: choices[key] for key in ("scale", "generator")}
    inversion = {"name": room_name(asked["inversion"]["_target_"]), **inverter.settings}
    task = {key: value for key, value in asked["task"].items() if not key.startswith("_")}
    found = leaves({**choices, "inversion": inversion, "task": task}, "choices")
    return found | ({f"choices.{key}": ANY for key in OF_TRAINING} if alone else {})


@functools.lru_cache(maxsize=64)
def _trained(words: tuple[str, ...], kind: str) -> tuple[dict[str, Any], Any, dict[str, Any]]:
    """Returns the configuration of a training, its E without weights, and the run's choices."""
    config = _composed("train", words)
    generator = _generator(kind, tuple(w for w in words if w.partition("=")[0].startswith("scale")))
    encoder: Any = wire.fresh_encoder(config["encoder"], config["latent"], generator=generator)
    # E is cached without weights; building it on `torch.device("meta")` costs more in imports.
    return config, encoder.to("meta"), choices_of(config, generator=generator, encoder=encoder)


@functools.lru_cache(maxsize=16)
def _generator(kind: str, scale: tuple[str, ...]) -> Any:
    """A generator like the one that ``experiment=gan`` trains for a kind, or a shipped one."""
    if kind.startswith(SHIPPED):
        return open_network(kind, role="generator", key="generator.path")
    architecture, multi_w = kind.split("_")[0], trained_gans.KINDS[kind][1]
    words = (f"generator={architecture}", f"generator.multi_w={multi_w}", *scale)
    config = _composed("train", ("experiment=gan", *words))
    return build(config["generator"], key="generator")


@functools.lru_cache(maxsize=256)
def _composed(name: str, words: tuple[str, ...]) -> dict[str, Any]:
    return compose_plain(name, list(words))


def _of_choices(overrides: Sequence[str]) -> tuple[list[str], str]:
    """Returns the overrides that set choices, and the generator's kind or ``shipped:NAME``."""
    words, kind = [], ""
    for word in overrides:
        key, given, value = word.partition("=")
        if key == "generator.path":
            kind = value.removeprefix(trained_gans.TRAINED).removeprefix(PLACEHOLDER)
        elif given and key.split(".")[0] not in NO_CHOICES and word != "generator=checkpoint":
            words.append(word)
    return words, kind
