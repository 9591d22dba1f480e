"""How long each metric takes on n pairs of images.

    python experiments/speed/metrics.py --pairs 500
    python experiments/speed/metrics.py metric=full metric.inception_path=FILE scale=full

Metrics whose networks are not available are left out, with the reason in their line.
"""

from collections.abc import Callable
from typing import Any

import torch
from bench import Variant, arguments, prepare, report, side_by_side, timed
from torch import Tensor, nn

from idinvert.config.compose import compose_plain
from idinvert.evaluation import networks as wire
from idinvert.metrics.suite import MetricSuite

NOT_A_SUITES = ("attributes", "seconds_per_image")
"""Entries of ``metric.names`` that are measured elsewhere."""


def measuring(
    name: str, outputs: Tensor, targets: Tensor, *, metric: dict[str, Any], network: nn.Module
) -> Callable[[], list[tuple[float, float]]]:
    """Returns one turn: the metric of all pairs, in batches of 50."""
    extractors = {"attributes": network} if name.endswith("_attributes") else {}

    def measure() -> None:
        suite = MetricSuite(
            names=[name],
            extractors=extractors,
            inception_path=metric["inception_path"],
            lpips_path=metric["lpips_path"],
            device=outputs.device,
        )
        for some, theirs in zip(outputs.split(50), targets.split(50), strict=True):
            suite.update(some, theirs)
        suite.values()

    return lambda: [timed(measure, outputs.device.type)]


def main() -> None:
    """Entry point."""
    parser = arguments(__doc__, repeats=3)
    parser.add_argument("--pairs", type=int, default=500, help="pairs of images")
    options = parser.parse_args()
    prepare(options)
    config = compose_plain("evaluate", options.overrides)
    network = wire.reader(config["attributes"], {}, key="attributes")
    side = config["data"]["resolution"]
    rng = torch.Generator().manual_seed(0)
    targets = torch.rand(options.pairs, 3, side, side, generator=rng) * 2 - 1
    outputs = (targets + 0.1 * torch.randn(targets.shape, generator=rng)).clamp(-1, 1)
    targets, outputs = targets.to(options.device), outputs.to(options.device)
    network = network.to(options.device)
    names = [name for name in config["metric"]["names"] if name not in NOT_A_SUITES]
    variants = [
        Variant(
            name,
            options.pairs,
            measuring(name, outputs, targets, metric=config["metric"], network=network),
        )
        for name in names
    ]
    found = side_by_side(variants, repeats=options.repeats, device=options.device)
    report(found, options)


if __name__ == "__main__":
    main()
