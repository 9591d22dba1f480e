"""What early stopping saves, with and without replacing stopped images by waiting ones.

    python experiments/speed/early_stop.py inversion.early_stop=10
    python experiments/speed/early_stop.py inversion.early_stop=10 inversion.steps=1_000

Inverts `--batches` batches of test images in three ways, alternately. "stopped ones leave": a batch
is inverted alone, and images that have stopped are not computed any more. "to the last": a batch
continues until its last image has stopped, and all its images are computed until then. "others
enter": all batches are given at once, and waiting images replace those that have stopped.
Evaluations are images that pass through G; all but the final one of an image have a gradient.
"""

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from bench import arguments, keep, prepare, timed
from torch import Tensor

import idinvert
from idinvert.config.compose import compose_plain
from idinvert.config.instantiate import build
from idinvert.data.convert import to_float
from idinvert.evaluation.context import EvaluationContext
from idinvert.inversion.inversion import Inversion

TO_THE_LAST = "to the last"


def ways(
    setup: EvaluationContext, images: Tensor, *, batch: int
) -> dict[str, Callable[[], list[Inversion]]]:
    """Returns the three ways, by name."""
    ids = torch.arange(len(images), device=images.device)
    together = setup.build_inverter()
    together.slots = batch
    pairs = list(zip(images.split(batch), ids.split(batch), strict=True))

    stops: list[int] = []  # number of steps after which all images of each batch have stopped

    def alone() -> list[Inversion]:
        stops.clear()
        found = []
        for x, i in pairs:
            invert = partial(together.invert, x, generator=setup.generator, ids=i)
            sizes, one = passes(invert, setup.generator)
            stops.append(len(sizes) - 1)
            found.append(one)
        return found

    def to_the_last() -> list[Inversion]:
        found = []
        for (x, i), steps in zip(pairs, stops, strict=True):
            method = setup.build_inverter(early_stop=None, steps=steps)
            found.append(method.invert(x, generator=setup.generator, ids=i))
        return found

    def enter() -> list[Inversion]:
        return [together.invert(images, generator=setup.generator, ids=ids)]

    return {"stopped ones leave": alone, TO_THE_LAST: to_the_last, "others enter": enter}


def passes(work: Callable[[], Any], generator: torch.nn.Module) -> tuple[list[int], Any]:
    """Returns the number of images in each pass through G, and the result of the work."""
    sizes: list[int] = []
    hook = generator.synthesis.register_forward_pre_hook(
        lambda module, given: sizes.append(len(given[0]))
    )
    found = work()
    hook.remove()
    return sizes, found


def measure(
    work: Callable[[], list[Inversion]], setup: EvaluationContext, device: str
) -> dict[str, float]:
    """Runs one turn: evaluations, seconds, and the mean loss of the kept iterates."""
    results: list[tuple[list[int], list[Inversion]]] = []
    wall, cpu = timed(lambda: results.append(passes(work, setup.generator)), device)
    ((sizes, found),) = results
    least = torch.cat([each.losses.amin(0) for each in found]).mean()
    return {
        "evaluations": sum(sizes),
        "passes": len(sizes),
        "seconds": round(wall, 2),
        "cpu_seconds": round(cpu, 2),
        "loss_mean": float(f"{least:.5g}"),
    }


def main(given: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = arguments(__doc__, repeats=1)
    parser.add_argument("--batch", type=int, default=16, help="images optimised together")
    parser.add_argument("--batches", type=int, default=4, help="of test images")
    options = parser.parse_args(given)
    prepare(options)
    config = compose_plain("evaluate", options.overrides)
    setup = EvaluationContext(config)
    for network in (setup.generator, *setup.inverter.networks):
        network.to(options.device)
    count = options.batch * options.batches
    test = build(config["data"], key="data").test
    images = to_float(torch.stack([test[i]["image"] for i in range(count)])).to(options.device)
    several = ways(setup, images, batch=options.batch)
    setup.build_inverter(steps=1).invert(images[: options.batch], generator=setup.generator)
    facts = {"what": "early stop", "method": setup.method, "batch": options.batch, "n": count}
    facts |= {"seed": config["seed"], "version": idinvert.__version__}
    turns = [
        {name: measure(work, setup, options.device) for name, work in several.items()}
        for _ in range(options.repeats)
    ]
    for name in several:
        line: dict[str, Any] = min((turn[name] for turn in turns), key=lambda m: m["cpu_seconds"])
        if name == TO_THE_LAST:  # here images continue to move after they have stopped
            del line["loss_mean"]
        for key in ("evaluations", "cpu_seconds"):
            pairs = [turn[name][key] / turn[TO_THE_LAST][key] for turn in turns]
            line[f"{key}_ratio"] = round(statistics.median(pairs), 3)
        keep({**facts, "way": name, **line}, options)
        print(f"{name:20} {line}", flush=True)


if __name__ == "__main__":
    main()
