"""Task: edit directions of a generator; other tasks open them here."""

from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Gt, Le

from idinvert.annotations import Count, Name, PositiveInt
from idinvert.checkpoints.bundle import sibling
from idinvert.editing.direction_files import open_directions as open_file
from idinvert.editing.directions import Direction, conditioned, save_directions
from idinvert.editing.ganspace import ganspace
from idinvert.editing.sefa import sefa
from idinvert.editing.svm import scored_codes, train_direction
from idinvert.errors import CheckpointError, ConfigError, nearest
from idinvert.evaluation import networks as wire
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.provenance import command, commit
from idinvert.results.record import Record

METHODS = ("svm", "sefa", "ganspace")


def train_directions(
    context: EvaluationContext,
    *,
    method: Literal["svm", "sefa", "ganspace"],
    names: list[Name] | None,
    samples: PositiveInt,
    fraction: Annotated[float, Gt(0), Le(0.5)],
    layerwise: bool,
    conditions: dict[str, list[str]],
    count: PositiveInt,
    layers: list[Count] | None,
) -> list[Record]:
    """Finds edit directions of a generator and stores them in one file (Sec. 4.3).

    Args:
        context: G, the attribute network, and the seed of the sampled codes.
        method: ``svm`` (InterFaceGAN, one direction per attribute), ``sefa`` or ``ganspace``.
        names: The attributes; ``None`` for all that the attribute network reads. For ``svm`` only.
        samples: Number of sampled codes; for ``svm`` and ``ganspace``.
        fraction: Share of the samples taken from each end of the scores; for ``svm`` only.
        layerwise: Whether a single-w generator also gets one normal per layer; for ``svm`` only.
        conditions: Attribute to the attributes that should not change while it is edited; for
            ``svm`` only.
        count: Number of directions of ``sefa`` and ``ganspace``.
        layers: The layers that the directions move; ``None`` for all.

    Raises:
        ConfigError: No attribute network, or one that does not read a name.
    """
    if method not in METHODS:
        raise ConfigError(f"task.method={method} is unknown; it takes {', '.join(METHODS)}.")
    network = None
    if method == "svm":
        network = context.needed_attributes
        wire.require_reads(network, context.generator.resolution, key="attributes.path")
        names = list(network.names) if names is None else names
        for name in [*names, *conditions, *(c for kept in conditions.values() for c in kept)]:
            known = list(network.names) if name in names else names
            if name not in known:
                hint = f"{nearest(name, known)} task.names=null takes all that is read."
                raise ConfigError(f"task.names: {name} is not read. {hint}")
    generator, hashes, seed = context.generator, context.checkpoints, context.seed
    facts = {
        "generator": hashes["generator"],
        "command": command(),
        "commit": commit(),
        "seed": seed,
    }
    chosen = None if layers is None else tuple(layers)
    if network is not None and names is not None:
        facts["attributes"] = hashes["attributes"]
        codes, scores = scored_codes(generator, network, n=samples, seed=seed, mixing=layerwise)
        found = {
            name: train_direction(
                codes,
                scores[:, network.names.index(name)],
                name=name,
                fraction=fraction,
                seed=seed,
                layers=chosen,
                provenance=facts,
            )
            for name in names
        }
        found |= {
            name: conditioned(found[name], [found[kept] for kept in others])
            for name, others in conditions.items()
        }
        directions = list(found.values())
    elif method == "sefa":
        directions = sefa(generator, layers=layers, count=count, provenance=facts)
    else:
        directions = ganspace(
            generator,
            samples=samples,
            count=count,
            seed=seed,
            layers=chosen,
            provenance=facts,
        )
    folder = context.outputs / "evaluations" / hashes["generator"]
    path = folder / ("directions.safetensors" if method == "svm" else f"{method}.safetensors")
    save_directions(path, directions)
    print(f"{len(directions)} directions: {path}")
    for direction in directions:
        print(f"  {direction.name:24s} {_merit(direction)}")
    return []


def _merit(direction: Direction) -> str:
    """Describes the quality or size of a direction in one line."""
    facts = direction.provenance
    if "accuracy" in facts:
        known = [value for value in facts["accuracy"] if value is not None]
        return f"held-out accuracy {min(known):.3f}" if known else "no images held out"
    if "share" in facts:
        return f"{100 * facts['share']:.1f} % of the variance"
    return f"eigenvalue {facts['eigenvalue']:.4g}"


def open_directions(
    context: EvaluationContext,
    *,
    path: str | None,
    names: list[Name] | None,
    found_for: str | None = None,
) -> dict[str, Direction]:
    """Returns the edit directions of a context's generator.

    Args:
        context: G, and the configuration that determines where directions are searched.
        path: A file of directions, of this or another project; ``None`` for those of
            ``task=directions``, or those that come with the generator; ``"sefa"`` or
            ``"ganspace"`` for those of ``task=directions task.method=…``.
        names: Which of them, in this order; ``None`` for all.
        found_for: ``"stylegan"`` or ``"stylegan2"``, for files that do not say.

    Raises:
        CheckpointError: They cannot be read, or belong to another generator.
        ConfigError: There are none, or none of a name.
    """
    generator, fingerprint = context.generator, context.checkpoints["generator"]
    opened = open_file(
        directions_file(context.config, path, generator=fingerprint),
        generator=generator,
        fingerprint=fingerprint,
        found_for=found_for,
        key="task.directions",
        origin_key="task.found_for",
    )
    for note in opened.notes:
        print(f"note: {note}")
    found = opened.directions
    if names is None:
        return found
    for name in names:
        if name not in found:
            raise ConfigError(f"there is no direction {name}. " + nearest(name, list(found)))
    return {name: found[name] for name in names}


def directions_file(config: dict[str, Any], path: str | None, *, generator: str) -> Path:
    """Returns the file that ``task.directions`` refers to.

    Args:
        config: The configuration of the command.
        path: As in `open_directions`.
        generator: The generator's content hash.

    Raises:
        ConfigError: There is no such file.
    """
    if path is not None and path not in METHODS:
        return Path(path).expanduser()
    folder = Path(config["system"]["outputs"]) / "evaluations" / generator
    name = "directions" if path in (None, "svm") else path
    trained = folder / f"{name}.safetensors"
    if trained.is_file():
        return trained
    if name != "directions":
        raise ConfigError(
            f"{trained} does not exist. Make it with python evaluate.py task=directions "
            f"task.method={name} generator=checkpoint "
            f"generator.path={config['generator']['path']}"
        )
    given = config["generator"]["path"]
    try:
        beside = sibling(given, role="directions", of="generator", key="generator.path")
    except CheckpointError:
        beside = None
    if beside is None:
        raise ConfigError(
            f"there are no edit directions for generator.path={given}. Train them with python "
            f"evaluate.py task=directions generator=checkpoint generator.path={given}, or give a "
            "file with task.directions=FILE."
        )
    return beside
