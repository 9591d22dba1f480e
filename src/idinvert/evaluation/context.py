"""The context of a task of ``evaluate.py``: its configuration, networks, images and metrics."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from idinvert.acceleration import accelerate_networks
from idinvert.config.identity import digest_of, inversion_identity, mark_of
from idinvert.config.run_folder import find_run, is_first_process, locked
from idinvert.data.content import content_hash
from idinvert.data.domain import Domain, ids_of
from idinvert.editing.directions import Direction
from idinvert.errors import ConfigError
from idinvert.evaluation import networks as wire
from idinvert.evaluation.chunk_store import split_of
from idinvert.evaluation.default_metrics import ALWAYS, ELSEWHERE, count_of, not_measured
from idinvert.evaluation.provenance import command, versions
from idinvert.inversion.inversion import Inverter
from idinvert.metrics.protocol import MetricValues
from idinvert.metrics.suite import MetricSuite
from idinvert.results.record import Record

Entry = Mapping[str, Any]
"""A method, section or generator that a task compares: a ``label`` and its overrides."""
TaskResult = tuple[Record | None, Path]
"""A record, if there is one, and the folder of its files."""
WITHOUT_ENCODER = {"label": "", "words": "inversion=free"}
"""Opens the generator without a trained encoder."""
WEIGHTS = ("inception_path", "lpips_path", "prc_vgg16_path")
"""Keys of ``metric`` with paths of weights; older runs do not have all of them."""


class EvaluationContext:
    """One method, one generator, one set of images, and how records describe them.

    Networks, images and method are opened once, when a task first uses them. Incompatible ones
    raise an error at that point, before anything is inverted.

    Args:
        config: The resolved configuration as plain values, with the values of its run.
        entries: The module `cli.run_defaults`, for tasks that compare several methods: it checks
            their overrides and applies them to a configuration.
        shown_tensors: How many images are also kept as tensors in ``shown.safetensors``.
        opened: Attributes that replace what the configuration would open.
    """

    def __init__(
        self, config: dict[str, Any], *, entries: Any = None, shown_tensors: int = 0, **opened: Any
    ) -> None:
        self.config, self.shown_tensors = config, shown_tensors
        self.entries = entries
        self.outputs = Path(config["system"]["outputs"])
        self.seed: int = config["seed"]
        self.split: str = config["split"]
        self.n: int | None = config["n"]
        """Number of images, from the start of the split; None for all."""
        self.fits_memory: bool = config["batch_size"] == "auto"
        """Whether an inversion on a GPU measures how many images fit into its memory."""
        size = config["scale"]["inversion_batch_size"] if self.fits_memory else config["batch_size"]
        self.batch_size: int = size
        """Images processed together; affects results by rounding alone."""
        self.num_workers: int = config["system"]["num_workers"]
        self.recompute: bool = config["recompute"]
        self.trainer = {k: v for k, v in config["trainer"].items() if not k.startswith("_")}
        """Keywords of `pytorch_lightning.Trainer`."""
        self.first_process = is_first_process()
        self.results: list[TaskResult] = []
        """Finished results, for example to report them to W&B."""
        self.reference: str = config["reference"]
        """The real images that sets of outputs are compared with: disjoint or same."""
        self.checkpoints: wire.Hashes = {}
        """Role to content hash of the open networks; `provenance` opens all."""
        self.contents: Sequence[str] = ()
        """Hashes of the pixels of `images=`, by which results of other sets can be reused."""
        vars(self).update(opened)

    def replaced(self, **changes: Any) -> "EvaluationContext":
        """Returns a copy with other attributes; what is open stays open."""
        other = copy.copy(self)
        vars(other).update(changes)
        return other

    def variant(self, *entries: Entry, **values: Any) -> "EvaluationContext":
        """Returns another context: the configuration with the overrides of some entries.

        Args:
            entries: Later ones override earlier ones.
            values: Top-level keys to set as well.

        Raises:
            ConfigError: Overrides that the command line would refuse, or no matching run.
        """
        config = self.entries.changed(self.config, *entries) | values
        return EvaluationContext(config, entries=self.entries, results=self.results)

    @cached_property
    def generator(self) -> Any:
        """Frozen G."""
        return wire.loaded_generator(self.config["generator"], self.checkpoints)

    @cached_property
    def encoder(self) -> nn.Module | None:
        """E; None for a method without encoder; see `networks.fitting_encoder`."""
        return self._encoder_and_header[0]

    @cached_property
    def perceptual(self) -> nn.Module | None:
        """F, or None without a perceptual term."""
        return wire.perceptual_network(self.config["perceptual"], self.checkpoints)

    @cached_property
    def attributes(self) -> Any:
        """The attribute network, or None."""
        return wire.reader(self.config["attributes"], self.checkpoints, key="attributes")

    @property
    def needed_attributes(self) -> Any:
        """The attribute network, for tasks that require it.

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
        """The method with its networks."""
        accelerate_networks(self.config["system"], self.generator, self.encoder, self.perceptual)
        return self.build_inverter()

    def build_inverter(self, **choices: Any) -> Inverter:
        """Builds the method of the configuration, with some settings replaced."""
        known: dict[str, Any] = {"encoder": self.encoder, "perceptual": self.perceptual}
        method = wire.build_method({**self.config["inversion"], **choices}, self.config, **known)
        return wire.with_fitting_f(method, self.generator)

    @cached_property
    def _encoder_and_header(self) -> tuple[nn.Module | None, dict[str, Any]]:
        return wire.fitting_encoder(self.config, self.generator, self.checkpoints)

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """The training of the weights, as their file describes it; opens every network.

        It describes the encoder's training, or the generator's if no encoder is used: at least
        ``run``, ``choices``, ``nimg`` and ``seed``. The run id of weights from another program is
        their content hash.
        """
        encoder, header = self._encoder_and_header
        _ = self.perceptual, self.attributes
        unknown: dict[str, Any] = {"run": self.checkpoints.get("encoder"), "choices": {}}
        if encoder is None:
            generator = wire.network_choices(self.generator)
            choices = {"scale": self.config["scale"]["name"], "generator": generator}
            unknown = {"run": self.checkpoints["generator"], "choices": choices}
        return {**unknown, "nimg": 0, "seed": 0, **header}

    # Images

    @cached_property
    def domain(self) -> Domain:
        """The images of ``data``.

        Raises:
            ConfigError: They are not of the generator's size.
        """
        domain = self.open_images()
        wire.require_resolution(data=domain.resolution, generator=self.generator.resolution)
        return domain

    def open_images(self) -> Domain:
        """The images of ``data``, not checked against the generator.

        Raises:
            IdinvertError: They cannot be opened.
        """
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
        """How many images the task uses.

        Raises:
            DataError: The split has fewer than n, and n was set by the user.
        """
        return count_of(self.dataset, self)

    @property
    def labels(self) -> list[str]:
        """Names of the attributes that the images are labelled with."""
        return [attribute.name for attribute in self.domain.attributes]

    @property
    def data(self) -> dict[str, Any]:
        """The description of the images in records."""
        known = ("name", "resolution", "fingerprint")
        return {key: getattr(self.domain, key) for key in known} | {"split": self.split}

    # Metrics

    @cached_property
    def metric_names(self) -> Sequence[str]:
        """The metrics to measure: the requested ones, or the usual ones that the data allows."""
        return [name for name in self.config["metric"]["names"] if name not in self.not_measured]

    @cached_property
    def not_measured(self) -> dict[str, str]:
        """Usual metrics that this data does not allow, and why; see `not_measured`."""
        return not_measured(self)

    @property
    def paired_names(self) -> list[str]:
        """Metrics of float pairs, measured while inverting: `ALWAYS`, and LPIPS if requested."""
        return [*ALWAYS, *(name for name in self.metric_names if name.startswith("lpips_"))]

    @property
    def set_names(self) -> list[str]:
        """Metrics of whole sets of uint8 images."""
        outside = {*self.paired_names, *ELSEWHERE}
        return [name for name in self.metric_names if name not in outside]

    @cached_property
    def extractors(self) -> dict[str, nn.Module]:
        """Name to module with `embed`, for ``fd_<name>`` and ``kd_<name>``."""
        return wire.extractors(self.config, self.perceptual, self.attributes)

    def suite(self, names: Sequence[str], device: torch.device | str = "cpu") -> MetricSuite:
        """Returns metrics by name, with the networks and files that they need.

        Raises:
            ConfigError: An unknown metric or extractor.
            MissingWeightsError: Weights are not on this machine.
        """
        sets = bool(set(names) - set(self.paired_names))
        return MetricSuite(
            names=names,
            extractors=wire.of_size(self.extractors, names, self.generator) if sets else {},
            seed=self.seed,
            reference=self.reference,
            device=device,
            **{key: self.config["metric"].get(key) for key in WEIGHTS},
        )

    # Identity, folders, records

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that the inversions depend on."""
        _ = self.provenance
        precision = str(self.trainer.get("precision") or "32-true")
        if torch.get_float32_matmul_precision() != "highest":  # a GPU may use TF32
            precision += ", tf32"
        lpips = [name for name in self.paired_names if name not in ALWAYS]
        path = self.config["metric"].get("lpips_path") if lpips else None
        return inversion_identity(
            settings=self.inverter.settings,
            checkpoints=self.checkpoints,
            data=self.data,
            ids=ids_of(self.dataset),
            precision=precision,
            weights={} if path is None else dict.fromkeys(lpips, content_hash(path)[:16]),
        )

    @property
    def run_folder(self) -> Path:
        """Folder of the evaluations of this run."""
        return self.outputs / "evaluations" / self.provenance["run"]

    def training_run(self) -> Path:
        """Returns the folder of ``run=RUN``.

        Raises:
            ConfigError: There is no such run.
        """
        return find_run(self.config["run"], outputs=self.outputs)

    @cached_property
    def inversions(self) -> Path:
        """Folder of the method's inversions of this split, which all tasks share."""
        name = f"reconstruction-{self.domain.name}-{self.split}-{mark_of(self.identity, {})}"
        return self.run_folder / name / self.method

    def folder(self, task: str, **options: Any) -> Path:
        """Returns the folder of a task's results.

        Args:
            task: The task's name.
            options: What determines the results besides the inversions, JSON-able: other options
                give another folder.
        """
        mark = mark_of(self.identity, options)
        return self.run_folder / f"{task}-{self.domain.name}-{self.split}-{self.method}-{mark}"

    @contextmanager
    def locked(self, out: Path, *others: Path) -> Iterator[Path]:
        """Locks a task's folder and the folders it reads against other processes."""
        with ExitStack() as held:
            for folder in dict.fromkeys((*sorted(others), out)):
                held.enter_context(locked(folder))
            yield out

    def task_folder(self, task: str, **options: Any) -> AbstractContextManager[Path]:
        """`folder`, locked together with the inversions that the task reads."""
        return self.locked(self.folder(task, **options), self.inversions.parent)

    def record(
        self,
        task: str,
        measured: MetricValues,
        *,
        n: int,
        device: str,
        seconds: float,
        batch_size: int | None = None,
        options: Mapping[str, Any] | None = None,
        series: Mapping[str, Sequence[float]] | None = None,
        directions: Mapping[str, Direction] | None = None,
    ) -> Record:
        """Returns the record of a task.

        Args:
            task: Its name.
            measured: Metrics, protocols, intervals.
            n: Number of images.
            device: Description of the device.
            seconds: Duration of the task, including inversions.
            batch_size: Images processed together; None for the context's.
            options: The task's own settings, JSON-able; stored under ``choices.task``.
            series: Name to the values of a curve.
            directions: Directions that it used, by name; their hash is stored in ``checkpoints``.
        """
        provenance = self.provenance
        by = {"name": self.method, **self.inverter.settings}
        chosen = {} if options is None else {"task": dict(options)}
        checkpoints, made_by = dict(self.checkpoints), versions()
        if "commit" in provenance:  # runs with the same id may differ by rounding
            made_by["trained_by"] = str(provenance["commit"])
        if directions is not None:
            contents = {name: direction.content for name, direction in directions.items()}
            checkpoints["directions"] = digest_of(contents)[:16]
        return Record(
            run=provenance["run"],
            task=task,
            choices={**provenance["choices"], "inversion": by, **chosen},
            metrics=measured.metrics,
            protocol=measured.protocol,
            intervals=measured.intervals,
            reference=self.reference if measured.of_sets else "",
            n=n,
            nimg=provenance["nimg"],
            data=self.data,
            checkpoints=checkpoints,
            versions=made_by,
            device=device,
            batch_size=batch_size or self.batch_size,
            seconds=seconds,
            seed=provenance["seed"],
            command=command(),
            series=dict(series or {}),
        )

    def finish(self, records: list[Record], out: Path, *, pictures: bool = True) -> list[Record]:
        """Adds records to `results`, prints their metrics, folder and figures, and returns them."""
        for record in records:
            self.results.append((record, out))
            name, plural = record.data["name"], "s" * (record.n != 1)
            print(f"{record.task}: {record.n} image{plural} of {name}, run {record.run}: {out}")
            lacks = [key for key, how in record.protocol.items() if how.startswith("not measured")]
            for metric in [key for key in record.metrics if key not in lacks]:
                print(f"  {metric:24s} {record.metrics[metric]:.5g}")
            if lacks:
                print(f"  not measured: {', '.join(lacks)} (the record says why)")
        if pictures and records:
            for path in sorted([*out.glob("*.png"), *out.glob("*.pdf")]):
                print(f"look at {path}")
        return records
