"""Which metrics an evaluation measures, and what they need; checked before any work."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from idinvert.data.content import content_hash
from idinvert.data.convert import to_float
from idinvert.errors import ConfigError
from idinvert.metrics.attributes import attribute_agreement, attribute_replicates
from idinvert.metrics.bootstrap import RESAMPLES, WORDS, interval
from idinvert.metrics.protocol import MetricValues, protocol
from idinvert.metrics.suite import MetricSuite
from idinvert.networks.attributes import AttributeNetwork

ALWAYS = ("mse", "psnr", "ssim")
SECONDS = "seconds_per_image"
ATTRIBUTES = "attributes"


@dataclass(frozen=True, kw_only=True)
class Measures:
    """The metrics asked for, by name, with the networks and files that they need.

    Attributes:
        names: of `idinvert.metrics.suite.MetricSuite`, and `seconds_per_image` and `attributes`
            (agreement and correlation of the attributes read from the outputs with the labels).
        extractors: name to module with `embed`, for `fd_<name>` and `kd_<name>`.
        attribute_network: with `names`, `kinds` and `predict`; for `attributes`.
        inception_path, lpips_path, prc_vgg16_path: local weights, see MetricSuite.
        seed: of SWD, and of the resamples of intervals.
        reference: which real images sets of outputs are compared with, see MetricSuite.
        speed_images: how many images `seconds_per_image` is the median of.
    """

    names: Sequence[str]
    extractors: Mapping[str, nn.Module] = field(default_factory=dict)
    attribute_network: AttributeNetwork | None = None
    inception_path: str | Path | None = None
    lpips_path: str | Path | None = None
    prc_vgg16_path: str | Path | None = None
    seed: int = 0
    reference: str = "disjoint"
    speed_images: int = 3

    @property
    def paired_names(self) -> list[str]:
        """Metrics of float pairs, measured while inverting: always the cheap three, and LPIPS."""
        return [*ALWAYS, *(name for name in self.names if name.startswith("lpips_"))]

    @property
    def paired_weights(self) -> dict[str, str]:
        """Content hashes of the weights that those were given; published ones are always the same.

        Raises:
            DataError: a file that is not there.
        """
        if self.lpips_path is None:
            return {}
        lpips = [name for name in self.paired_names if name not in ALWAYS]
        return {name: content_hash(self.lpips_path)[:16] for name in lpips}

    @property
    def set_names(self) -> list[str]:
        """Metrics of whole sets of uint8 images."""
        outside = {*self.paired_names, SECONDS, ATTRIBUTES}
        return [name for name in self.names if name not in outside]

    def check(self, *, labels: Sequence[str]) -> None:
        """Find out now what would fail after hours.

        Args:
            labels: the attributes that the data set is labelled with.

        Raises:
            ConfigError: an unknown metric or extractor, or `attributes` without a network that
                reads all the labels.
            MissingWeightsError: weights that are not on this machine.
        """
        known = [name for name in self.names if name not in (SECONDS, ATTRIBUTES)]
        MetricSuite(
            names=known, extractors=self.extractors, reference=self.reference, **self._paths
        )
        if ATTRIBUTES not in self.names:
            return
        if self.attribute_network is None:
            raise ConfigError(
                "metric.names asks for attributes, but there is no attribute network: set "
                "attributes, or leave this metric out"
            )
        try:
            require_labels_read(self.attribute_network, labels)
        except ConfigError as error:
            raise ConfigError(
                f"metric.names asks for attributes, but {error}, or leave this metric out"
            ) from error

    def paired_suite(self, device: torch.device) -> MetricSuite:
        """The suite of the paired metrics on a device."""
        return MetricSuite(
            names=self.paired_names, seed=self.seed, device=device, lpips_path=self.lpips_path
        )

    def set_suite(self, device: torch.device) -> MetricSuite:
        """The suite of the set metrics; moves the extractors to the device."""
        for extractor in self.extractors.values():
            extractor.to(device)
        return MetricSuite(
            names=self.set_names,
            extractors=self.extractors,
            seed=self.seed,
            reference=self.reference,
            device=device,
            **self._paths,
        )

    @property
    def _paths(self) -> dict[str, Any]:
        return {
            "inception_path": self.inception_path,
            "lpips_path": self.lpips_path,
            "prc_vgg16_path": self.prc_vgg16_path,
        }


def require_labels_read(network: AttributeNetwork, labels: Sequence[str]) -> None:
    """Refuse an attribute network that leaves some labels of the data unread.

    Means over attributes would silently be of fewer, and not comparable with other networks'.

    Raises:
        ConfigError: naming the labels that are missing; or the data has none.
    """
    if not labels:
        raise ConfigError("the data has no labels: choose labelled data, such as data=faces_mini")
    read = list(network.names)
    missing = [name for name in labels if name not in read]
    if missing:
        raise ConfigError(
            f"the attribute network does not read {', '.join(missing)} of the data's labels; it "
            f"reads {', '.join(read)}: give one trained on this data (attributes.path)"
        )


@torch.no_grad()
def measure_attributes(
    pairs: Iterable[tuple[Tensor, Tensor]],
    *,
    network: AttributeNetwork,
    labels: Sequence[str],
    device: torch.device,
    seed: int = 0,
) -> MetricValues:
    """Read the attributes of images and compare them with the labels of their inputs.

    Args:
        pairs: batches of outputs uint8 [n, 3, R, R] and labels float [n, A].
        network: the attribute network.
        labels: names of the A labels, all of which the network reads.
        device: where to compute.
        seed: of the resamples of intervals.

    Raises:
        ConfigError: the network does not read a label.
    """
    require_labels_read(network, labels)
    network.to(device).eval()
    ours = [list(network.names).index(name) for name in labels]
    read: list[Tensor] = []
    true: list[Tensor] = []
    for images, truth in pairs:
        read.append(network.predict(to_float(images.to(device))).cpu()[:, ours])
        true.append(truth)
    kinds = [network.kinds[k] for k in ours]
    sets = torch.cat(read), torch.cat(true)
    options: dict[str, Any] = {"kinds": kinds, "names": labels}
    spreads = attribute_replicates(*sets, **options, seed=seed)
    found, words = MetricValues(), WORDS.format(resamples=RESAMPLES)
    for name, value in attribute_agreement(*sets, **options).items():
        pair = interval(value, spreads[name])
        found.add(name, value, protocol(name, detail=words if pair else ""), pair)
    return found
