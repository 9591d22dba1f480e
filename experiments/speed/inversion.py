"""How long one optimisation step of an inversion takes, at several batch sizes.

    python experiments/speed/inversion.py inversion=in_domain
    python experiments/speed/inversion.py inversion=image2stylegan --batch 1,8,50

A step is one evaluation of the objective with its gradient; the final evaluation, without one,
counts half. A method without ``steps`` (inversion=encoder) is timed as a whole.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from bench import Variant, arguments, numbers, prepare, report, side_by_side, timed
from shares import shares

from idinvert.config.compose import compose_plain
from idinvert.evaluation.context import EvaluationContext


def open_on(
    overrides: Sequence[str], *, device: str, steps: int
) -> tuple[EvaluationContext, float]:
    """Returns the evaluation's networks on a device, and the number of steps of one inversion."""
    config = compose_plain("evaluate", list(overrides))
    counted = "steps" in config["inversion"]
    if counted:
        config["inversion"]["steps"] = steps
    setup = EvaluationContext(config)
    for network in (setup.generator, *setup.inverter.networks):
        network.to(device)
    return setup, steps + 0.5 if counted else 1.0


def inversion_of(
    setup: EvaluationContext, images: torch.Tensor, *, worth: float, device: str
) -> Callable[[], list[tuple[float, float]]]:
    """Returns one turn: the whole inversion of a batch, in seconds per step."""
    ids = torch.arange(len(images), device=images.device)

    def turn() -> list[tuple[float, float]]:
        wall, cpu = timed(
            lambda: setup.inverter.invert(images, generator=setup.generator, ids=ids), device
        )
        return [(wall / worth, cpu / worth)]

    return turn


def networks_of(setup: EvaluationContext) -> dict[str, Any]:
    """Returns the networks that are used, by letter."""
    named = {"E": setup.encoder, "G": setup.generator, "F": setup.perceptual}
    return {letter: network for letter, network in named.items() if network is not None}


def main() -> None:
    """Entry point."""
    parser = arguments(__doc__, repeats=5)
    parser.add_argument("--steps", type=int, default=2, help="optimisation steps of one turn")
    parser.add_argument("--batch", type=numbers, default=[1, 8, 50], help="images together")
    options = parser.parse_args()
    prepare(options)
    setup, worth = open_on(options.overrides, device=options.device, steps=options.steps)
    rng = torch.Generator().manual_seed(0)
    side = setup.generator.resolution
    variants = []
    for count in options.batch:
        images = torch.rand(count, 3, side, side, generator=rng) * 2 - 1
        turn = inversion_of(setup, images.to(options.device), worth=worth, device=options.device)
        variants.append(Variant(f"batch {count}", count, turn))
    found = side_by_side(variants, repeats=options.repeats, device=options.device)
    whose = shares(variants[-1].steps, networks_of(setup), device=options.device)
    report(found, options, shares=whose, method=setup.method)
    print(f"share of {setup.method} at batch {options.batch[-1]}: {whose}")


if __name__ == "__main__":
    main()
