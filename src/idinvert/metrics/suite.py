"""The metrics of an evaluation, selected by name, validated before any work, updated by batches."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from idinvert.data.convert import to_uint8
from idinvert.errors import ConfigError, DataError
from idinvert.metrics.distance import Distance
from idinvert.metrics.fidelity import (
    INCEPTION_METRICS,
    InceptionDistance,
    PrecisionRecall,
    inception_weights,
    prc_weights,
)
from idinvert.metrics.frechet import ExtractorDistance
from idinvert.metrics.lpips_metric import LPIPS
from idinvert.metrics.paired import mse, psnr, ssim
from idinvert.metrics.protocol import WORDS, MetricValues, interval, protocol
from idinvert.metrics.swd import SlicedWasserstein

PAIRED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": mse, "psnr": psnr, "ssim": ssim}
SETS = ("swd", *INCEPTION_METRICS, "prc")
OF_TASKS = ("attributes", "seconds_per_image", "code_distance", "code_error", "editability")
"""Metrics computed by the tasks themselves; listed in the error for an unknown name."""
REFERENCES = {
    "disjoint": "{m} outputs against {m} other real images: those behind the first {m} of the "
    "split, of which no output was made (reference=disjoint)",
    "same": "{m} outputs against the first {m} real images of the split, which they were made of "
    "where they are reconstructions (reference=same)",
}
"""Real images that a set of outputs is compared with."""
NO_FLOOR = "no floor: the split has fewer than {twice} images"


class MetricSuite:
    """Computes any of the metrics of DESIGN §5 on pairs of outputs and targets.

    Args:
        names: from `mse psnr ssim lpips_<net> swd fid kid isc prc fd_<extractor> kd_<extractor>`.
        extractors: name to module with `embed`, for `fd_` and `kd_`; for a module read from a
            file, the protocol contains its `weights_sha256` and `architecture`.
        inception_path: weights of FID, KID and Inception score.
        lpips_path: backbone of LPIPS (only one `lpips_<net>` at a time if it is given).
        prc_vgg16_path: VGG16 of precision and recall.
        seed: seed of SWD's patches and directions, and of the resamples of intervals.
        reference: real images that the set of outputs is compared with: `same`, the targets; or
            `disjoint`, those that `refer` adds.
        device: device of LPIPS, SWD and Inception; extractors run on their own device.
        batch_size: images per batch in the set metrics.

    Raises:
        ConfigError: a name or extractor is unknown (the nearest is named), or a name is repeated.
        MissingWeightsError: weights are not on this machine; raised here, before any work.
    """

    def __init__(
        self,
        *,
        names: Sequence[str],
        extractors: Mapping[str, nn.Module] | None = None,
        inception_path: str | Path | None = None,
        lpips_path: str | Path | None = None,
        prc_vgg16_path: str | Path | None = None,
        seed: int = 0,
        reference: str = "same",
        device: torch.device | str = "cpu",
        batch_size: int = 64,
    ) -> None:
        if reference not in REFERENCES:
            raise ConfigError(f"reference is {reference!r}: expected {' or '.join(REFERENCES)}")
        self.names, self.reference = list(names), reference
        self.extractors = dict(extractors or {})
        self.seed, self.device, self.batch_size = seed, torch.device(device), batch_size
        self.inception_path, self.prc_vgg16_path = inception_path, prc_vgg16_path
        for name in self.names:
            self._check(name)
        if len(set(self.names)) < len(self.names):
            raise ConfigError(f"metric.names lists a metric twice: {self.names}")
        if set(self.names) & set(INCEPTION_METRICS):
            inception_weights(inception_path)
        if "prc" in self.names:
            prc_weights(prc_vgg16_path)
        self.paired = {name: PAIRED[name] for name in self.names if name in PAIRED}
        self._details: dict[str, str] = {"swd": f"seed {seed}"}
        for name in self.names:
            if name.startswith("lpips_"):
                lpips = LPIPS(net=name.removeprefix("lpips_"), path=lpips_path).to(self.device)
                self.paired[name] = lpips
                self._details[name] = f"backbone sha256 {lpips.backbone_sha256[:16]}"
        for name, network in self.extractors.items():
            if said := _said_of(network):
                self._details |= {f"fd_{name}": said, f"kd_{name}": said}
        self.keeps_images = len(self.paired) < len(self.names)
        self.reset()

    def reset(self) -> None:
        """Discard all images."""
        self._values: dict[str, list[Tensor]] = {name: [] for name in self.paired}
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._others: list[Tensor] = []
        self.n = 0

    def update(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Add a batch of pairs.

        Args:
            outputs: float `[b, 3, R, R]`; clamped by the metrics.
            targets: float `[b, 3, R, R]` in [-1, 1].

        Returns:
            name of each paired metric to its values `[b]`, one per image.
        """
        outputs, targets = outputs.to(self.device), targets.to(self.device)
        if self.keeps_images:
            self._outputs.append(to_uint8(outputs).cpu())
            self._targets.append(to_uint8(targets).cpu())
        self.n += len(outputs)
        found = {name: metric(outputs, targets).cpu() for name, metric in self.paired.items()}
        for name, values in found.items():
            self._values[name].append(values.detach().double())
        return found

    def refer(self, images: Tensor) -> None:
        """Add real images uint8 `[b, 3, R, R]` from which no output is made, at most as many as
        outputs. They are the reference if it is disjoint, and one side of the floor.
        """
        self._others.append(images.cpu())

    def values(self) -> MetricValues:
        """Return all metrics over all images in the order of `names`, then derived values: levels
        of SWD (`swd_16`), spreads (`kid_std`), floors (`swd_floor`).

        Raises:
            DataError: the reference is disjoint and there are no other images, or there are more
                of them than outputs.
        """
        found = MetricValues()
        for name, batches in self._values.items():
            values = torch.cat(batches) if batches else torch.empty(0, dtype=torch.float64)
            found.add_mean(name, values, seed=self.seed, text=self._text(name))
        if self.keeps_images:
            found = found | self._distances()
        order = [*(name for name in self.names if name in found.metrics), *found.metrics]
        found.metrics = {name: found.metrics[name] for name in order}
        return found

    def _distances(self) -> MetricValues:
        outputs, targets = torch.cat(self._outputs), torch.cat(self._targets)
        others = torch.cat(self._others) if self._others else targets[:0]
        m = len(others) if self.reference == "disjoint" else len(targets)
        if not 0 < m <= len(targets) or len(others) > len(targets):
            raise DataError(
                f"reference={self.reference}: {len(outputs)} outputs and {len(others)} other real "
                "images do not fit; expected as many others as outputs, or fewer"
            )
        disjoint = self.reference == "disjoint"
        reals, paired = (others, False) if disjoint else (targets, True)
        has_floor = len(others) == m  # the floor compares two disjoint sets of m images
        detail = REFERENCES[self.reference].format(m=m)
        detail += "" if has_floor else f"; {NO_FLOOR.format(twice=2 * m)}"
        found = MetricValues(of_sets=True)
        for family in self._families():
            x, y = family.embed(outputs[:m]), family.embed(reals)
            values = family.values(x, y)
            spreads = family.replicates(x, y, paired=paired)
            for name, value in values.items():
                pair = interval(value, spreads[name]) if name in spreads else None
                how = WORDS.format(resamples=len(spreads[name])) if pair else "no interval"
                found.add(name, value, self._text(name, f"{detail}; {how}"), pair)
            floors = family.floors.intersection(values) if has_floor else set()
            if floors:
                own = family.embed(targets[:m]) if disjoint else y
                floor = family.values(own, y if disjoint else family.embed(others))
                for name in sorted(floors):
                    text = self._text(f"{name}_floor", f"{m} images each")
                    found.add(f"{name}_floor", floor[name], text)
        return found

    def _families(self) -> list[Distance]:
        seeded: dict[str, Any] = {"seed": self.seed, "batch_size": self.batch_size}
        cuda = self.device.type == "cuda"
        families: list[Distance] = []
        if "swd" in self.names:
            families.append(SlicedWasserstein(device=self.device, **seeded))
        if named := [name for name in self.names if name in INCEPTION_METRICS]:
            families.append(InceptionDistance(named, path=self.inception_path, cuda=cuda, **seeded))
        if "prc" in self.names:
            batch_size = self.batch_size
            families.append(
                PrecisionRecall(path=self.prc_vgg16_path, cuda=cuda, batch_size=batch_size)
            )
        for name, network in self.extractors.items():
            wanted = {"frechet": f"fd_{name}" in self.names, "kernel": f"kd_{name}" in self.names}
            if any(wanted.values()):
                families.append(ExtractorDistance(network, name=name, **wanted, **seeded))
        return families

    def _text(self, name: str, more: str = "") -> str:
        known = self._details.get(name.removesuffix("_floor"), "")
        return protocol(name, detail="; ".join(filter(None, (known, more))))

    def _check(self, name: str) -> None:
        if match := re.fullmatch(r"[fk]d_(\w+)", name):
            if match[1] not in self.extractors:
                known = ", ".join(self.extractors) or "none"
                raise ConfigError(
                    f"metric {name!r}: no feature extractor {match[1]!r}; at hand: {known}"
                )
            return
        valid = [*PAIRED, "lpips_alex", "lpips_vgg", "lpips_squeeze", *SETS]
        if name not in valid:
            valid += OF_TASKS
            near = difflib.get_close_matches(name, valid, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(
                f"metric.names: unknown metric {name!r}{hint} Valid: {', '.join(valid)}, "
                "fd_<extractor>, kd_<extractor>"
            )


def _said_of(extractor: nn.Module) -> str:
    """Describe the file and settings of an extractor if it was read from a published file."""
    digest = getattr(extractor, "weights_sha256", None)
    if digest is None:
        return ""
    settings: Mapping[str, Any] = getattr(extractor, "architecture", {})
    words = [f"{name} {value}" for name, value in settings.items()]
    return ", ".join([f"weights sha256 {digest[:16]}", *words])
