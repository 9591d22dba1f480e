"""The metrics of an evaluation by name: checked before any work, fed by batches."""

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from idinvert.data.convert import to_uint8
from idinvert.errors import ConfigError
from idinvert.metrics.fidelity import (
    INCEPTION_METRICS,
    inception_metrics,
    inception_weights,
    prc_weights,
    precision_recall,
)
from idinvert.metrics.frechet import extractor_distances
from idinvert.metrics.lpips_metric import LPIPS
from idinvert.metrics.mse import mse
from idinvert.metrics.protocol import protocol
from idinvert.metrics.psnr import psnr
from idinvert.metrics.running import RunningMean
from idinvert.metrics.ssim import ssim
from idinvert.metrics.swd import swd, swd_floor

PAIRED = {"mse": mse, "psnr": psnr, "ssim": ssim}
SETS = ("swd", *INCEPTION_METRICS, "prc")


class MetricSuite:
    """Any of the metrics of DESIGN §5 on pairs of outputs and targets.

    Args:
        names: of `mse psnr ssim lpips_<net> swd fid kid isc prc fd_<extractor> kd_<extractor>`.
        extractors: name to module with `embed`, for `fd_` and `kd_`; the protocol says the
            `weights_sha256` and `architecture` of one that was read from a file.
        inception_path: weights of FID, KID and Inception score.
        lpips_path: backbone of LPIPS (one `lpips_<net>` at a time where it is given).
        prc_vgg16_path: VGG16 of precision and recall.
        seed: of SWD's patches and directions.
        device: where LPIPS, SWD and Inception run; extractors run where they are.
        batch_size: images a batch in the set metrics.

    Raises:
        ConfigError: an unknown name (the nearest is named) or extractor, or a name twice.
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
        device: torch.device | str = "cpu",
        batch_size: int = 64,
    ) -> None:
        self.names = list(names)
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
        self.paired = {name: RunningMean(PAIRED[name]) for name in self.names if name in PAIRED}
        self._details: dict[str, str] = {"swd": f"seed {seed}"}
        for name in self.names:
            if name.startswith("lpips_"):
                network = LPIPS(net=name.removeprefix("lpips_"), path=lpips_path).to(self.device)
                self.paired[name] = RunningMean(network)
                self._details[name] = f"backbone sha256 {network.backbone_sha256[:16]}"
        for name, extractor in self.extractors.items():
            if said := _said_of(extractor):
                self._details |= {f"fd_{name}": said, f"kd_{name}": said}
        self.keeps_images = len(self.paired) < len(self.names)
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        for mean in self.paired.values():
            mean.reset()
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []
        self.n = 0

    def update(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Add a batch of pairs.

        Args:
            outputs: float `[b, 3, R, R]`; clamped by the metrics.
            targets: float `[b, 3, R, R]` in [-1, 1].

        Returns:
            paired metric to its values `[b]`, one an image.
        """
        outputs, targets = outputs.to(self.device), targets.to(self.device)
        if self.keeps_images:
            self._outputs.append(to_uint8(outputs).cpu())
            self._targets.append(to_uint8(targets).cpu())
        self.n += len(outputs)
        return {name: mean.update(outputs, targets).cpu() for name, mean in self.paired.items()}

    def compute(self) -> dict[str, float]:
        """All metrics over all images, as ordered; companions (`swd_16`, `kid_std`) come last."""
        values = {name: mean.compute() for name, mean in self.paired.items()}
        if self.keeps_images:
            outputs, targets = torch.cat(self._outputs), torch.cat(self._targets)
            values |= self._distances(outputs, targets)
        first = {name: values[name] for name in self.names if name in values}
        return first | values

    def protocol(self) -> dict[str, str]:
        """metric name to one line on how it is measured, for the record."""
        names = [*self.names, *(["swd_floor"] if "swd" in self.names else [])]
        return {name: protocol(name, detail=self._details.get(name, "")) for name in names}

    def _distances(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        values: dict[str, float] = {}
        if "swd" in self.names:
            options: dict[str, Any] = {"seed": self.seed, "batch_size": self.batch_size}
            options["device"] = self.device
            values |= swd(outputs, targets, **options)
            values["swd_floor"] = swd_floor(targets, **options)
        networks: dict[str, Any] = {"cuda": self.device.type == "cuda"}
        networks["batch_size"] = self.batch_size
        inception = [name for name in self.names if name in INCEPTION_METRICS]
        if inception:
            values |= inception_metrics(
                inception, outputs, targets, inception_path=self.inception_path, **networks
            )
        if "prc" in self.names:
            values |= precision_recall(outputs, targets, vgg16_path=self.prc_vgg16_path, **networks)
        for name, extractor in self.extractors.items():
            frechet, kernel = f"fd_{name}" in self.names, f"kd_{name}" in self.names
            if frechet or kernel:
                values |= extractor_distances(
                    outputs,
                    targets,
                    extractor=extractor,
                    name=name,
                    frechet=frechet,
                    kernel=kernel,
                    batch_size=self.batch_size,
                )
        return values

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
            near = difflib.get_close_matches(name, valid, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(
                f"metric.names: unknown metric {name!r}{hint} Valid: {', '.join(valid)}, "
                "fd_<extractor>, kd_<extractor>"
            )


def _said_of(extractor: nn.Module) -> str:
    """The file and the settings of an extractor, where it was read from a published one."""
    digest = getattr(extractor, "weights_sha256", None)
    if digest is None:
        return ""
    settings: Mapping[str, Any] = getattr(extractor, "architecture", {})
    words = [f"{name} {value}" for name, value in settings.items()]
    return ", ".join([f"weights sha256 {digest[:16]}", *words])
