"""What a task of ``evaluate.py`` works with: its configuration, and what is opened from it."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from torch import nn
from torch.utils.data import Dataset

from idinvert.config.identity import digest_of, inversion_identity, mark_of
from idinvert.config.run_folder import find_run, is_first_process, locked
from idinvert.data.domain import Domain, ids_of
from idinvert.editing.directions import Direction
from idinvert.errors import ConfigError
from idinvert.evaluation import networks as wire
from idinvert.evaluation.chunk_store import limit, split_of
from idinvert.evaluation.measures import Measures
from idinvert.evaluation.provenance import Provenance, precision_in_words
from idinvert.inversion.inversion import Inverter
from idinvert.metrics.protocol import MetricValues
from idinvert.results.record import Record

Entry = Mapping[str, Any]
"""A method, section or generator that a task compares: a ``label`` and its overrides."""
TaskResult = tuple[Record | None, Path]
"""A record, where there is one, and the folder of its files."""
WITHOUT_ENCODER = {"label": "", "words": "inversion=free"}
"""Opens the generator and no trained encoder."""


class Entries(Protocol):
    """How the overrides of entries change a configuration; only ``cli`` can compose one."""

    def check_methods(self, methods: Sequence[Entry], *, key: str) -> None:
        """Refuses malformed entries, which stand at a key, before any work."""

    def changed(self, config: dict[str, Any], *entries: Entry) -> dict[str, Any]:
        """The configuration with the overrides of some entries, later ones over earlier."""


class EvaluationContext:
    """One method, one generator, one set of images, and what records say of them.

    Networks, images and method are opened when a task first asks for them, once each; whatever
    does not fit fails there, before anything is inverted.

    Args:
        config: The resolved configuration as plain values, with the values of its run.
        entries: Applies the overrides of a task's methods; of tasks that compare several.
        shown_tensors: How many images are also kept as tensors in ``shown.safetensors``.
        opened: Attributes that take the place of what the configuration would open.
    """

    def __init__(
        self, config: dict[str, Any], *, entries: Any = None, shown_tensors: int = 0, **opened: Any
    ) -> None:
        self.config, self.shown_tensors = config, shown_tensors
        self.entries: Entries = entries
        self.outputs = Path(config["system"]["outputs"])
        self.seed: int = config["seed"]
        self.split: str = config["split"]
        self.n: int | None = config["n"]
        """Images, the first of the split; None for all."""
        self.batch_size: int = config["batch_size"]
        """Images worked on together; changes results by rounding alone."""
        self.num_workers: int = config["system"]["num_workers"]
        self.recompute: bool = config["recompute"]
        self.trainer = {k: v for k, v in config["trainer"].items() if not k.startswith("_")}
        """Keywords of `pytorch_lightning.Trainer`."""
        self.first_process = is_first_process()
        self.results: list[TaskResult] = []
        """What was finished, for whoever shows it elsewhere."""
        self._contents = wire.Contents()
        vars(self).update(opened)

    def replaced(self, **changes: Any) -> "EvaluationContext":
        """The same, with other attributes; what is open stays open."""
        other = copy.copy(self)
        vars(other).update(changes)
        return other

    def variant(self, *entries: Entry, **values: Any) -> "EvaluationContext":
        """Another context: the configuration with the overrides of some entries.

        Args:
            entries: Later ones win over earlier ones.
            values: Top-level keys that are set besides.

        Raises:
            ConfigError: Overrides that the command line would refuse, or no run that fits.
        """
        config = self.entries.changed(self.config, *entries) | values
        return EvaluationContext(config, entries=self.entries, results=self.results)

    @property
    def checkpoints(self) -> dict[str, str]:
        """Role to content hash, of the networks that are open."""
        return self._contents.hashes

    @cached_property
    def generator(self) -> Any:
        """Frozen G."""
        return wire.loaded_generator(self.config["generator"], self._contents)

    @cached_property
    def encoder(self) -> nn.Module | None:
        """E; None for a method that takes none.

        Raises:
            ConfigError: It belongs to another generator, or the method takes one and there is none.
        """
        return self._encoder_and_header[0]

    @cached_property
    def perceptual(self) -> nn.Module | None:
        """F, or None without a perceptual term."""
        return wire.perceptual_network(self.config["perceptual"], self._contents)

    @cached_property
    def attributes(self) -> Any:
        """The attribute network, or None."""
        return wire.attribute_network(self.config["attributes"], self._contents)

    @property
    def needed_attributes(self) -> Any:
        """The attribute network of a task that cannot do without.

        Raises:
            ConfigError: There is none.
        """
        if self.attributes is None:
            raise ConfigError("this task needs an attribute network: attributes=shipped.")
        return self.attributes

    @cached_property
    def method(self) -> str:
        """The method's name in records and folders."""
        return wire.room_name(self.config["inversion"]["_target_"])

    @cached_property
    def inverter(self) -> Inverter:
        """The method, on its networks."""
        generator, encoder, perceptual = self.generator, self.encoder, self.perceptual
        if self.config["system"].get("compile"):
            wire.compile_inversion(generator, encoder, perceptual)
        return self.build_inverter()

    def build_inverter(self, **choices: Any) -> Inverter:
        """The method of the configuration, with some choices in place of its own."""
        node = {**self.config["inversion"], **choices}
        networks: dict[str, Any] = {"encoder": self.encoder, "perceptual": self.perceptual}
        return wire.build_method(node, self.config, **networks)

    def load_encoder(self) -> tuple[nn.Module, dict[str, Any]]:
        """The encoder of ``encoder.path`` whatever the generator; the provenance of its file."""
        return wire.load_encoder(self.config["encoder"] or {}, self._contents)

    @cached_property
    def _encoder_and_header(self) -> tuple[nn.Module | None, dict[str, Any]]:
        """E with its provenance; without E that of the generator."""
        generator, of_generator = self.generator, self._contents.hashes["generator"]
        if not wire.takes(self.config["inversion"], "encoder"):
            return None, wire.generator_provenance(self.config["generator"]["path"])
        if not self.config["encoder"] or self.config["encoder"].get("path") is None:
            raise ConfigError(
                f"inversion={self.method} takes an encoder: give the run=RUN of an encoder, or "
                "encoder.path=FILE, or choose a method without one (inversion=image2stylegan, "
                "projector or free)."
            )
        encoder, header = self.load_encoder()
        wire.require_fit(encoder, header, generator, fingerprint=of_generator)
        return encoder, header

    @cached_property
    def provenance(self) -> Provenance:
        """What records say of run, networks and program; opens every network."""
        encoder, header = self._encoder_and_header
        _ = self.perceptual, self.attributes
        hashes = self._contents.hashes
        role, choices = "encoder", {}
        if encoder is None:
            role, generator = "generator", wire.network_choices(self.generator)
            choices = {"scale": self.config["scale"]["name"], "generator": generator}
        return Provenance.of(header, checkpoints=hashes, role=role, choices=choices)

    @cached_property
    def trained_on(self) -> str | None:
        """Name of the data set that the networks were trained on, where it is known."""
        return self._encoder_and_header[1].get("data")

    # Images

    @cached_property
    def domain(self) -> Domain:
        """The images of ``data``.

        Raises:
            ConfigError: They are not of the generator's size, or ``images=`` was given.
        """
        domain = self.open_images()
        wire.require_resolution(data=domain.resolution, generator=self.generator.resolution)
        return domain

    def open_images(self) -> Domain:
        """The images of ``data``, whatever the generator.

        Raises:
            ConfigError: ``images=`` was given, which task=invert alone reads.
        """
        if self.config["images"] is not None:
            raise ConfigError(
                f"this task measures the images of data and does not read images="
                f"{self.config['images']}. Add task=invert, or set data=folder "
                f"data.path={self.config['images']}."
            )
        return wire.open_data(self.config["data"])

    @cached_property
    def dataset(self) -> Dataset:
        """The split.

        Raises:
            ConfigError: There is no such split.
        """
        return split_of(self.domain, self.split)

    @property
    def count(self) -> int:
        """How many images the task takes.

        Raises:
            DataError: The split has fewer than n.
        """
        return limit(self.dataset, self.n)

    @property
    def labels(self) -> list[str]:
        """Names of the attributes that the images are labelled with."""
        return [attribute.name for attribute in self.domain.attributes]

    @property
    def data(self) -> dict[str, Any]:
        """What a record says of the images."""
        return {
            "name": self.domain.name,
            "resolution": self.domain.resolution,
            "fingerprint": self.domain.fingerprint,
            "split": self.split,
        }

    # Metrics

    @cached_property
    def measures(self) -> Measures:
        """The metrics of the configuration, with their networks."""
        metric, perceptual, attributes = self.config["metric"], self.perceptual, self.attributes
        return Measures(
            names=metric["names"],
            extractors=wire.extractors(self.config, perceptual=perceptual, attributes=attributes),
            attribute_network=attributes,
            inception_path=metric["inception_path"],
            lpips_path=metric["lpips_path"],
            prc_vgg16_path=metric.get("prc_vgg16_path"),  # older runs have no such key
            seed=self.seed,
            reference=self.config["reference"],
        )

    # Identity, folders, records

    @property
    def identity(self) -> dict[str, Any]:
        """What the inversions depend on."""
        return inversion_identity(
            settings=self.inverter.settings,
            checkpoints=self.provenance.checkpoints,
            data=self.data,
            ids=ids_of(self.dataset),
            precision=precision_in_words(self.trainer),
            weights=self.measures.paired_weights,
        )

    @property
    def run_folder(self) -> Path:
        """Where the evaluations of this run lie."""
        return self.outputs / "evaluations" / self.provenance.run

    def training_run(self) -> Path:
        """The folder of ``run=RUN``.

        Raises:
            ConfigError: There is no such run.
        """
        return find_run(self.config["run"], outputs=self.outputs)

    @cached_property
    def inversions(self) -> Path:
        """Folder of the method's inversions of this split, which all tasks share."""
        mark = mark_of(self.identity, {})
        name = f"reconstruction-{self.domain.name}-{self.split}-{mark}"
        return self.run_folder / name / self.method

    def folder(self, task: str, **options: Any) -> Path:
        """The folder of a task's results.

        Args:
            task: The task's name.
            options: What makes the results besides the inversions, JSON-able: other options,
                another folder.
        """
        mark = mark_of(self.identity, options)
        return self.run_folder / f"{task}-{self.domain.name}-{self.split}-{self.method}-{mark}"

    @contextmanager
    def locked(self, out: Path, *others: Path) -> Iterator[Path]:
        """Keeps other processes out of a task's folder and out of those it reads meanwhile."""
        with ExitStack() as held:
            for folder in dict.fromkeys((*sorted(others), out)):
                held.enter_context(locked(folder))
            yield out

    @contextmanager
    def task_folder(self, task: str, **options: Any) -> Iterator[Path]:
        """`folder`, locked together with the inversions that the task reads."""
        with self.locked(self.folder(task, **options), self.inversions.parent) as out:
            yield out

    def record(
        self,
        task: str,
        *,
        n: int,
        device: str,
        measured: MetricValues,
        seconds: float,
        options: Mapping[str, Any] | None = None,
        series: Mapping[str, Sequence[float]] | None = None,
        directions: Mapping[str, Direction] | None = None,
    ) -> Record:
        """The record of a task.

        Args:
            task: Its name.
            n: Images measured.
            device: Where the work was done, in words.
            measured: What was measured.
            seconds: That the task took, inversions included.
            options: The task's own choices, JSON-able; they stand under ``choices.task``.
            series: Name to a curve's numbers.
            directions: That it used, by name; their hash stands among the checkpoints.
        """
        provenance = self.provenance
        inversion = {"name": self.method, **self.inverter.settings}
        choices = {**provenance.choices, "inversion": inversion}
        checkpoints = dict(provenance.checkpoints)
        if directions is not None:
            contents = {name: direction.content for name, direction in directions.items()}
            checkpoints["directions"] = digest_of(contents)[:16]
        return Record(
            run=provenance.run,
            task=task,
            choices=choices if options is None else {**choices, "task": dict(options)},
            metrics=measured.metrics,
            protocol=measured.protocol,
            intervals=measured.intervals,
            reference=self.measures.reference if measured.of_sets else "",
            n=n,
            nimg=provenance.nimg,
            data=self.data,
            checkpoints=checkpoints,
            versions=dict(provenance.versions),
            device=device,
            batch_size=self.batch_size,
            seconds=seconds,
            seed=provenance.seed,
            command=provenance.command,
            series=dict(series or {}),
        )

    def finish(
        self, records: Iterable[Record], out: Path, *, pictures: bool = True
    ) -> list[Record]:
        """Prints what was measured and where it and its pictures lie."""
        records = list(records)
        for record in records:
            self.results.append((record, out))
            name = record.data["name"]
            print(f"{record.task}: {record.n} images of {name}, run {record.run}: {out}")
            for metric, value in record.metrics.items():
                print(f"  {metric:24s} {value:.5g}")
        if pictures and records:
            for path in sorted([*out.glob("*.png"), *out.glob("*.pdf")]):
                print(f"look at {path}")
        return records
