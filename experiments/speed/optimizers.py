"""How many evaluations an optimiser of codes needs to reach Adam's final loss.

    python experiments/speed/optimizers.py data=faces_mini
    python experiments/speed/optimizers.py data=towers_mini --record optimizers.jsonl

Inverts the first n test images with the paper's Adam (`--steps`, 100), and with each variant. An
evaluation is one forward and backward pass through G, F and E. Evaluations are compared, and the
FLOPs that torch counts, because seconds depend on other work on the machine. The lowest loss so far
of an image counts, as inversions keep their best iterate. The probes of lbfgs_gn (`curvature.py`),
256 evaluations of one image each, once per generator, do not count as evaluations of an image.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from bench import arguments, keep, prepare
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import idinvert
from idinvert.config.compose import compose_plain
from idinvert.config.instantiate import build
from idinvert.data.convert import to_float
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.networks import build_method
from idinvert.inversion.initialization import code_statistics
from idinvert.inversion.inversion import Inversion
from idinvert.inversion.optimizers import OPTIMIZERS
from idinvert.metrics.paired import ssim

LOOKS = (10, 20, 33, 50, 100)
WITHIN = 1.01  # "as good": at most one per cent above


@dataclass(frozen=True)
class Way:
    """One way to optimise: its settings below `inversion`."""

    name: str
    choices: dict[str, Any]


def ways(steps: int) -> list[Way]:
    """Returns the paper's Adam, then the variants compared with it, with at most half its steps."""
    half = steps // 2
    adam = [
        Way(f"adam lr={lr} {schedule}", {"steps": half, "lr": lr, "schedule": schedule})
        for lr, schedule in ((0.03, "constant"), (0.05, "cosine"))
    ]
    lbfgs = [
        Way(f"lbfgs lr={lr}", {"steps": half, "lr": lr, "optimizer": "lbfgs"})
        for lr in (0.003, 0.01, 0.03)
    ]
    native = [
        Way(f"lbfgs_gn steps={few}", {"steps": few, "optimizer": "lbfgs_gn"})
        for few in (steps // 6, steps // 3)
    ]
    return [Way("adam", {"steps": steps}), *adam, *lbfgs, *native]


def invert(
    setup: EvaluationContext, way: Way, images: Tensor, *, batch: int
) -> tuple[list[Inversion], float]:
    """Returns the inversions of all images, batch by batch, and their CPU seconds."""
    node = {**setup.config["inversion"], **way.choices}
    method = build_method(node, setup.config, encoder=setup.encoder, perceptual=setup.perceptual)
    ids, began = torch.arange(len(images), device=images.device), time.process_time()
    found = [
        method.invert(x, generator=setup.generator, ids=i)
        for x, i in zip(images.split(batch), ids.split(batch), strict=True)
    ]
    return found, time.process_time() - began


def figures(
    setup: EvaluationContext, found: list[Inversion], images: Tensor, goal: Tensor
) -> dict[str, Any]:
    """Returns the results of a way: losses, evaluations to the goal [N], image errors, codes."""
    least = torch.cat([f.losses for f in found], dim=1).cummin(0).values  # [steps + 1, N]
    steps = len(least) - 1
    codes, rebuilt = torch.cat([f.codes for f in found]), torch.cat([f.images for f in found])
    known = code_statistics(setup.generator)
    away = (codes.double().cpu() - known.mean).norm(dim=2) / known.deviation  # [N, L]
    return {
        "steps": steps,
        "loss_median_ratio": {k: _round((least[k] / goal).median()) for k in LOOKS if k <= steps},
        "loss_mean": {k: _round(least[k].mean()) for k in LOOKS if k <= steps},
        "evaluations_median": _evaluations(least, goal, 0.5),
        "evaluations_p90": _evaluations(least, goal, 0.9),
        "evaluations_within_1_percent_median": _evaluations(least, WITHIN * goal, 0.5),
        "evaluations_within_1_percent_p90": _evaluations(least, WITHIN * goal, 0.9),
        "failed": int(torch.cat([f.failed for f in found]).sum()),
        "mse": _round((rebuilt.clamp(-1, 1) - images).square().mean()),
        "ssim": _round(ssim(rebuilt, images).mean()),
        "native_radii_median": _round(away.mean(1).median()),
    }


def _evaluations(least: Tensor, goal: Tensor, share: float) -> int | None:
    """Returns the evaluations until a fraction of the images reaches its goal; None for never."""
    there = (least <= goal).double().mean(1) >= share
    return int(there.double().argmax()) + 1 if there.any() else None


def _round(value: Any) -> float:
    return float(f"{float(value):.5g}")


def flops_per_image(setup: EvaluationContext, images: Tensor) -> int:
    """Returns the FLOPs of one evaluation with its gradient: two steps minus one."""
    counts = []
    for steps in (1, 2):
        with FlopCounterMode(display=False) as counter:
            invert(setup, Way("", {"steps": steps}), images, batch=len(images))
        counts.append(counter.get_total_flops())
    return (counts[1] - counts[0]) // len(images)


def compare(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns one line per way."""
    config = compose_plain("evaluate", options.overrides)
    setup = EvaluationContext(config)
    for network in (setup.generator, *setup.inverter.networks):
        network.to(options.device)
    test = build(config["data"], key="data").test
    images = to_float(torch.stack([test[i]["image"] for i in range(options.n)])).to(options.device)
    facts = {
        "what": "evaluations to Adam's loss",
        "data": config["data"]["_target_"].rsplit(".", 1)[-1],
        "method": setup.method,
        "n": options.n,
        "seed": config["seed"],
        "gflops_per_evaluation": flops_per_image(setup, images[:4]) / 1e9,
        "version": idinvert.__version__,
    }
    lines, goal = [], torch.empty(0)
    for way in ways(options.steps):
        if way.name != "adam" and way.name.split()[0] not in options.only:
            continue
        found, seconds = invert(setup, way, images, batch=options.batch)
        if not len(goal):
            goal = torch.cat([f.losses for f in found], dim=1).amin(0)
        line = {"way": way.name, "choices": way.choices, "cpu_seconds": round(seconds, 1)}
        lines.append({**facts, **line, **figures(setup, found, images, goal)})
        print(_in_words(lines[-1]), flush=True)
    return lines


def _in_words(line: dict[str, Any]) -> str:
    return (
        f"{line['way']:24} evaluations to Adam's loss, half and 90 % of images: "
        f"{line['evaluations_median']}, {line['evaluations_p90']} (within 1 %: "
        f"{line['evaluations_within_1_percent_median']}, "
        f"{line['evaluations_within_1_percent_p90']}); ratio {line['loss_median_ratio']}, "
        f"SSIM {line['ssim']}, radii {line['native_radii_median']}, failed {line['failed']}"
    )


def main(given: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = arguments(__doc__, repeats=1)
    parser.add_argument("--n", type=int, default=64, help="test images")
    parser.add_argument("--batch", type=int, default=32, help="images together")
    parser.add_argument("--steps", type=int, default=100, help="of the Adam that sets the goal")
    parser.add_argument(
        "--only",
        nargs="+",
        default=list(OPTIMIZERS),
        choices=OPTIMIZERS,
        help="compare these with the paper's Adam",
    )
    options = parser.parse_args(given)
    prepare(options)
    for line in compare(options):
        keep(line, options)


if __name__ == "__main__":
    main()
