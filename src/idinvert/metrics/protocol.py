"""Values of metrics, each with a one-line protocol as stored in records, and a 95 % interval.

Intervals are bootstrapped: images are drawn with replacement.
"""

import hashlib
import importlib.metadata
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from idinvert.errors import ConfigError

RESAMPLES = 200
Z = 1.959964
"""Number of standard deviations of a normal distribution that contain 95 %."""
WORDS = "95 % interval: ±1.96 standard deviations of {resamples} bootstrap resamples of the images"

Interval = tuple[float, float]


def resampled(n: int, *, seed: int, name: str, resamples: int = RESAMPLES) -> Tensor:
    """Draw image indices with replacement, n of n; the result depends only on the arguments.

    Args:
        n: number of images.
        seed: seed of the evaluation.
        name: name of the set: sets of one size are drawn independently unless they share a name.
        resamples: B.

    Returns:
        int64 [B, n]: indices.
    """
    digest = hashlib.sha256(f"bootstrap/{seed}/{n}/{name}".encode()).digest()
    rng = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
    return torch.randint(0, n, (resamples, n), generator=rng)


def counts_of(places: Tensor) -> Tensor:
    """Count how often each image was drawn: int64 [B, n] to float64 [B, n]."""
    ones = torch.ones_like(places, dtype=torch.float64)
    return torch.zeros_like(ones).scatter_add_(1, places, ones)


def interval(value: float, replicates: Tensor) -> Interval | None:
    """Return the 95 % interval around a value, from the spread of its replicates.

    A distance between resampled sets is larger than between the sets themselves, because resamples
    repeat images. So the replicates give only the width; the interval is centred on the value.

    Args:
        value: value of the metric.
        replicates: float [B]; those that are not finite are left out.

    Returns:
        Low and high; None for a value that is not finite, or with fewer than two replicates.
    """
    kept = replicates[replicates.isfinite()].double()
    if not math.isfinite(value) or len(kept) < 2:
        return None
    half = Z * kept.std().item()
    return value - half, value + half


def mean_interval(values: Tensor, *, seed: int) -> Interval | None:
    """Return the interval of a mean over images, from their values [N]."""
    values = values.double().cpu()
    if len(values) < 2:
        return None
    counts = counts_of(resampled(len(values), seed=seed, name="images"))
    return interval(values.mean().item(), counts @ values / len(values))


_FIDELITY = "torch-fidelity {torch-fidelity}"
_KERNEL = "unbiased MMD2, cubic kernel"
_EXACT = {
    "mse": "mean over pixels and channels in [-1, 1], mean over images; outputs clamped",
    "psnr": "10 log10(4 / mse) per image in dB, mean over images; outputs clamped",
    "ssim": "Gaussian 11x11 sigma 1.5, images in [0, 1], data_range 1, windows inside the image, "
    "mean over channels, pixels and images; outputs clamped",
    "swd": "PGGAN protocol: Laplacian pyramid to 16 px, 128 7x7 patches a level and image, "
    "4x128 directions, x1e3, mean of levels; uint8",
    "fid": f"{_FIDELITY}, inception-v3-compat 2048, both sets n images, uint8",
    "kid": f"{_FIDELITY}, inception-v3-compat 2048, {_KERNEL}, 100 subsets of min(1000, n), uint8",
    "isc": f"{_FIDELITY}, inception-v3-compat, 10 splits, of the outputs, uint8",
    "prc": f"{_FIDELITY}, VGG16 fc2_relu, 3 nearest neighbours, both sets n images, uint8",
    "agreement": "mean over the binary attributes of the share of images that agree",
    "correlation": "mean over the continuous attributes of the Pearson correlation",
    "seconds_per_image": "batch 1, warm, synchronised, median",
}
_PATTERNS = {
    r"swd_\d+": "swd of this level of the pyramid",
    r"lpips_(?P<net>alex|vgg|squeeze)": "lpips {lpips} version 0.1, {net} backbone, "
    "float in [-1, 1]; outputs clamped",
    r"fd_(?P<extractor>\w+)": "Frechet distance (not FID) on the {extractor} features, "
    f"{_FIDELITY}, both sets n images, uint8",
    r"kd_(?P<extractor>\w+)": "kernel distance (not KID) on the {extractor} features, "
    f"{_KERNEL} over all pairs, both sets n images, uint8",
    r"agreement_(?P<attribute>\w+)": "share of images whose predicted {attribute} is the label, "
    "threshold 0.5",
    r"correlation_(?P<attribute>\w+)": "Pearson correlation of predicted and labelled {attribute}",
}


def protocol(name: str, *, detail: str = "") -> str:
    """Describe in one line how the metric `name` is measured.

    Args:
        name: name as in a record, for example `swd`, `fd_attributes`.
        detail: anything else that affects the value, for example a weights file's sha256; appended.

    Raises:
        ConfigError: there is no such metric.
    """
    base = re.sub(r"^(.*)_floor$|^(kid|isc)_std$", lambda found: found[1] or found[2], name)
    base = "prc" if base.startswith("prc_") else base
    text, values = _EXACT.get(base), {}
    for pattern, candidate in _PATTERNS.items():
        if text is None and (match := re.fullmatch(pattern, base)):
            text, values = candidate, match.groupdict()
    if text is None:
        raise ConfigError(
            f"no protocol for metric {name!r}; known: "
            f"{', '.join([*_EXACT, 'lpips_*', 'fd_*', 'kd_*'])}"
        )
    for package in ("torch-fidelity", "lpips"):
        if f"{{{package}}}" in text:
            values[package] = importlib.metadata.version(package)
    text = re.sub(r"\{([\w-]+)\}", lambda found: values[found[1]], text)
    if name.endswith("_floor"):
        text = f"{base} of two disjoint sets of real images: {text}"
    elif base != name and name.endswith("_std"):
        text = f"standard deviation of {base}: {text}"
    return f"{text}; {detail}" if detail else text


@dataclass
class MetricValues:
    """Values of metrics by name; `a | b` merges two, where b takes precedence.

    Attributes:
        metrics: name to value.
        protocol: name to one line that describes how the value was measured.
        intervals: name to the low and high end of the 95 % interval, if there is one.
        of_sets: whether there are distances between sets among them.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    protocol: dict[str, str] = field(default_factory=dict)
    intervals: dict[str, Interval] = field(default_factory=dict)
    of_sets: bool = False

    def __or__(self, other: "MetricValues") -> "MetricValues":
        return MetricValues(
            self.metrics | other.metrics,
            self.protocol | other.protocol,
            self.intervals | other.intervals,
            self.of_sets or other.of_sets,
        )

    def add(self, name: str, value: float, text: str, pair: Interval | None = None) -> None:
        """Add one value."""
        self.metrics[name], self.protocol[name] = value, text
        if pair is not None:
            self.intervals[name] = pair

    def add_mean(self, name: str, values: Tensor, *, seed: int, text: str | None = None) -> None:
        """Add the mean over images of values [N], with its interval.

        Args:
            name: name of the metric.
            values: one value per image.
            seed: seed of the resamples.
            text: its protocol; None for the protocol of the metric with this name.
        """
        pair = mean_interval(values, seed=seed)
        words = protocol(name) if text is None else text
        if pair is not None:
            words += f"; {WORDS.format(resamples=RESAMPLES)}"
        self.add(name, values.double().mean().item(), words, pair)

    def add_quantile(
        self, name: str, values: Tensor, share: float, *, seed: int, text: str
    ) -> None:
        """Add a quantile of the values of all images, with its interval; NaN is left out.

        Args:
            name: name of the metric.
            values: [N], or [N, S] with S values per image.
            share: 0.5 for the median.
            seed: seed of the resamples of images.
            text: its protocol.
        """
        value, pair = values.flatten().nanquantile(share).item(), None
        if len(values) > 1:
            drawn = values[resampled(len(values), seed=seed, name="images")].flatten(1)
            pair = interval(value, drawn.nanquantile(share, dim=1))
        text += f"; {WORDS.format(resamples=RESAMPLES)}" if pair else ""
        self.add(name, value, text, pair)

    def with_detail(self, detail: str) -> "MetricValues":
        """Return the same values with `detail` appended to every protocol."""
        words = {name: f"{text}; {detail}" for name, text in self.protocol.items()}
        return replace(self, protocol=words)

    def renamed(self, prefix: str, texts: Mapping[str, str]) -> "MetricValues":
        """Return the same values under `<prefix><name>`, with other protocols."""
        return MetricValues(
            {f"{prefix}{name}": value for name, value in self.metrics.items()},
            {f"{prefix}{name}": text for name, text in texts.items()},
            {f"{prefix}{name}": pair for name, pair in self.intervals.items()},
            self.of_sets,
        )
