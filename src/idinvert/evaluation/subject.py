"""What the tasks on inverted codes stand on: one method, one generator, one set of images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from idinvert.config.identity import digest_of, inversion_identity, mark_of
from idinvert.data.domain import Domain, ids_of
from idinvert.editing.directions import Direction
from idinvert.errors import ConfigError
from idinvert.evaluation.chunk_store import limit
from idinvert.evaluation.measures import Measures
from idinvert.evaluation.pairs import partners
from idinvert.evaluation.provenance import Provenance, precision_in_words
from idinvert.evaluation.reference import compared
from idinvert.inversion.inversion import Inverter
from idinvert.metrics.figures import Figures
from idinvert.results.record import Record


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
        batch_size: images worked on together; changes results by rounding alone.
        trainer: keywords of `pytorch_lightning.Trainer`.
        num_workers: processes that read images.
    """

    inverter: Inverter
    name: str
    generator: Any
    domain: Domain
    measures: Measures
    origin: Provenance
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
    def reals(self) -> dict[str, Any]:
        """What `measure_sets` asks for, besides outputs."""
        return {
            "dataset": self.dataset,
            "measures": self.measures,
            "num_workers": self.num_workers,
        }

    @property
    def compared(self) -> int:
        """How many outputs are compared with real images as a set; see `reference.compared`."""
        there = len(self.dataset)  # type: ignore[arg-type]
        return compared(self.count, there=there, reference=self.measures.reference)[0]

    @property
    def within(self) -> dict[str, int]:
        """What outputs made with `partners` depend on, besides seed and count."""
        return {} if self.compared == self.count else {"compared": self.compared}

    def partners(self, *, seed: int) -> Tensor:
        """Another image for each of the first n, int64 [n]; see `pairs.partners`.

        Those whose outputs are compared have their partners among themselves, so that no output is
        made of an image that it is compared with.
        """
        m = self.compared
        return torch.cat([partners(m, seed=seed), torch.arange(m, self.count) % m])

    @property
    def identity(self) -> dict[str, Any]:
        """What the inversions depend on."""
        return inversion_identity(
            checkpoints=self.origin.checkpoints,
            settings=self.inverter.settings,
            data=self.data,
            ids=ids_of(self.dataset),
            precision=precision_in_words(self.trainer),
            weights=self.measures.paired_weights,
        )

    def mark(self, **options: Any) -> str:
        """Eight hex digits for a folder of inversions, or of what a task makes of them.

        Args:
            options: what makes the task's results besides, JSON-able.
        """
        return mark_of(self.identity, options)

    def record(
        self,
        task: str,
        *,
        n: int,
        device: str,
        options: Mapping[str, Any],
        figures: Figures,
        seconds: float,
        series: Mapping[str, Sequence[float]] | None = None,
        directions: Mapping[str, Direction] | None = None,
    ) -> Record:
        """The record of a task.

        Args:
            task: its name.
            n: images measured.
            device: where the work was done, in words.
            options: the task's own choices, JSON-able; they stand under `choices.task`.
            figures: what was measured.
            seconds: that the task took, inversions included.
            series: name to a curve's numbers.
            directions: that it used, by name; their hash stands among the checkpoints.
        """
        choices = self.origin.choices_with(self.name, self.inverter.settings)
        checkpoints = dict(self.origin.checkpoints)
        if directions is not None:
            contents = {name: direction.content for name, direction in directions.items()}
            checkpoints["directions"] = digest_of(contents)[:16]
        return Record(
            run=self.origin.run,
            task=task,
            choices={**choices, "task": dict(options)},
            metrics=figures.metrics,
            protocol=figures.protocol,
            intervals=figures.intervals,
            reference=self.measures.reference if figures.of_sets else "",
            n=n,
            nimg=self.origin.nimg,
            data=self.data,
            checkpoints=checkpoints,
            versions=dict(self.origin.versions),
            device=device,
            batch_size=self.batch_size,
            seconds=seconds,
            seed=self.origin.seed,
            command=self.origin.command,
            series=dict(series or {}),
        )
