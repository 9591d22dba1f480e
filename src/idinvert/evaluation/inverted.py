"""Inverted codes as the editing tasks read them: inverted once, whichever task comes first."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from idinvert.data.convert import to_uint8
from idinvert.evaluation.chunk_store import read_rows
from idinvert.evaluation.predict import Predictions, predict
from idinvert.evaluation.subject import Subject

Noise = list[Tensor] | None
"""The maps of a batch of images, each [m, 1, h, w]; None where G's own or none are used."""


@dataclass(frozen=True)
class Inverted:
    """The inversions of a data set, and the G that shows their edits.

    Attributes:
        found: the parts.
        codes: float32 [n, L, w_dim], on the CPU.
        generator: G in float32 on the device of `found`.
        plain_noise: "const" or "none", where no maps were kept.
    """

    found: Predictions
    codes: Tensor
    generator: Any
    plain_noise: str

    def __len__(self) -> int:
        return len(self.codes)

    def noise(self, index: Tensor) -> Noise:
        """The noise maps that the images `index` were inverted with, on the CPU; None for none."""
        maps: list[Tensor] = []
        while (rows := self._rows(f"noise.{len(maps)}", index)) is not None:
            maps.append(rows)
        return maps or None

    def images(self, index: Tensor) -> Tensor:
        """The reconstructions of the images `index`, uint8 [m, 3, R, R]."""
        rows = self._rows("images", index)
        assert rows is not None, "every part has its images"
        return rows

    @torch.no_grad()
    def synthesise(self, codes: Tensor, noise: Noise = None) -> Tensor:
        """G(codes) with the noise of the inversion.

        Args:
            codes: float [m, L, w_dim].
            noise: the images' maps.

        Returns:
            uint8 [m, 3, R, R], on the CPU.
        """
        device = self.found.device
        maps = self.plain_noise if noise is None else [one.to(device) for one in noise]
        return to_uint8(self.generator.synthesis(codes.to(device), noise=maps)).cpu()

    def _rows(self, name: str, index: Tensor) -> Tensor | None:
        places: dict[int, list[tuple[int, int]]] = {}
        for k, i in enumerate(index.tolist()):
            chunk = next(c for c, (_, last) in enumerate(self.found.chunks) if i < last)
            places.setdefault(chunk, []).append((k, i - self.found.chunks[chunk][0]))
        rows: list[Tensor] = [torch.empty(0)] * len(index)
        for chunk, wanted in places.items():
            found = read_rows(self.found.paths[chunk], name, [row for _, row in wanted])
            if found is None:
                return None
            for (k, _), row in zip(wanted, found, strict=True):
                rows[k] = row
        return torch.stack(rows)


def invert_subject(subject: Subject) -> Inverted | None:
    """Invert the subject's images, or read the inversions that are there.

    The paired metrics are measured along, so that task=reconstruction finds its figures too. Edits
    are shown in float32 whatever the precision of the inversion.

    Returns:
        The inversions on the first rank, None on the others.

    Raises:
        DataError: the split has fewer than n images.
        ConfigError: the folder holds the results of something else.
    """
    generator = copy.deepcopy(subject.generator)  # a Trainer may change its precision
    found = predict(
        inverter=subject.inverter,
        generator=subject.generator,
        dataset=subject.dataset,
        out=subject.inversions,
        identity=subject.identity,
        n=subject.n,
        batch_size=subject.batch_size,
        suite=subject.measures.paired_suite,
        values=subject.measures.paired_names,
        trainer=subject.trainer,
        num_workers=subject.num_workers,
        label=subject.name,
    )
    if found is None:
        return None
    return Inverted(
        found=found,
        codes=found.gather("codes"),
        generator=generator.to(found.device, torch.float32).eval(),
        plain_noise="none" if subject.inverter.settings.get("noise") == "none" else "const",
    )


def mixed(a: Noise, b: Noise, mix: Callable[[Tensor, Tensor], Tensor]) -> Noise:
    """The noise of an image that is made of two: map by map, where there are maps."""
    if a is None or b is None:
        return a
    return [mix(one, other) for one, other in zip(a, b, strict=True)]


def of_pair(weights: Sequence[float] | Tensor, like: Tensor) -> Tensor:
    """Weights [m] that broadcast over `like` [m, …]."""
    return torch.as_tensor(weights, dtype=like.dtype).view(-1, *[1] * (like.ndim - 1))
