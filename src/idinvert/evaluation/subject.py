"""What the tasks on inverted codes stand on: one method, one generator, one set of images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from idinvert.data.domain import Domain
from idinvert.errors import ConfigError
from idinvert.evaluation.chunks import limit
from idinvert.evaluation.measures import Measures
from idinvert.evaluation.origin import Origin, device_in_words
from idinvert.evaluation.reconstruction import identity_of
from idinvert.inversion.inversion import Inverter
from idinvert.tables.record import Record


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A method, the images it inverts, and how it is run.

    Attributes:
        inverter: the method.
        name: its name in records.
        generator: frozen G.
        domain: the images.
        measures: what to measure, and on which networks.
        origin: what records say besides.
        inversions: folder of the method's inversions of this split, which all tasks share; those
            of task=reconstruction are found there.
        split: "test", "val" or "train".
        n: images, the first of the split; None for all.
        batch_size: images worked on together; changes no result.
        trainer: keywords of `pytorch_lightning.Trainer`.
        num_workers: processes that read images.
    """

    inverter: Inverter
    name: str
    generator: Any
    domain: Domain
    measures: Measures
    origin: Origin
    inversions: Path
    split: str = "test"
    n: int | None = None
    batch_size: int = 16
    trainer: Mapping[str, Any] | None = None
    num_workers: int = 0

    @property
    def dataset(self) -> Dataset:
        """The split.

        Raises:
            ConfigError: there is no such split.
        """
        if self.split not in ("train", "val", "test"):
            raise ConfigError(f"split is {self.split!r}: expected train, val or test")
        return getattr(self.domain, self.split)

    @property
    def count(self) -> int:
        """How many images the task takes.

        Raises:
            DataError: the split has fewer than n.
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

    @property
    def identity(self) -> dict[str, Any]:
        """What the inversions depend on."""
        return identity_of(self.inverter, origin=self.origin, data=self.data, trainer=self.trainer)

    def record(
        self,
        task: str,
        *,
        n: int,
        device: torch.device,
        options: Mapping[str, Any],
        metrics: Mapping[str, float],
        protocol: Mapping[str, str],
        seconds: float,
        series: Mapping[str, Sequence[float]] | None = None,
    ) -> Record:
        """The record of a task.

        Args:
            task: its name.
            n: images measured.
            device: where the work was done.
            options: the task's own choices, JSON-able; they stand under `choices.task`.
            metrics: name to value.
            protocol: name to one line.
            seconds: that the task took, inversions included.
            series: name to a curve's numbers.
        """
        choices = self.origin.choices_with(self.name, self.inverter.settings)
        return Record(
            run=self.origin.run,
            task=task,
            choices={**choices, "task": dict(options)},
            metrics=dict(metrics),
            protocol=dict(protocol),
            n=n,
            nimg=self.origin.nimg,
            data=self.data,
            checkpoints=dict(self.origin.checkpoints),
            versions=dict(self.origin.versions),
            device=device_in_words(device),
            seconds=seconds,
            seed=self.origin.seed,
            command=self.origin.command,
            series=dict(series or {}),
        )
