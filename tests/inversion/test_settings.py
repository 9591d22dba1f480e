"""A method's settings tell apart whatever gives another result: they name what is kept of it.

Walks the keys of every file of ``conf/inversion``; a method or key that comes later is tried too.
"""

import copy
import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from PIL import Image

from idinvert.config.compose import compose_plain, config_dir
from idinvert.evaluation.networks import build_method
from idinvert.inversion.inversion import BATCHES, in_turns

FILES = sorted((config_dir() / "inversion").glob("*.yaml"))
SHORT = {"steps": 3, "samples": 50, "lambda_vgg": 0.2, "codes": 2}


@pytest.fixture(scope="module")
def mask(tmp_path_factory):
    path = tmp_path_factory.mktemp("mask") / "mask.png"
    image = Image.new("L", (8, 8))
    image.paste(255, (2, 3, 6, 7))
    image.save(path)
    return str(path)


def alternatives(value: Any, line: str, mask: str) -> Iterator[Any]:
    """Values that may stand in the place of one: of its type, or as the line's comment names."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield value + 1
        yield value / 2
    elif isinstance(value, list):
        yield [value[0] / 2, *value[1:]]
    else:
        yield from (word for word in re.findall(r"\w+", line.split("#")[1]) if word != value)
        yield from (mask, 1, [3, 4])


def bases(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """As it is, with what is drawn, and with what ends early."""
    short = {key: value for key, value in SHORT.items() if key in node}
    node = {**node, **short, **({"layer": 1} if node.get("layer") else {})}
    yield node
    yield {**node, "noise": "random"}
    if "early_stop" in node:
        yield {**node, "early_stop": 1, "early_stop_gain": 0.9, "lr": 0.05}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_another_result_has_other_settings(path, world, mask):
    config = compose_plain("evaluate", [f"inversion={path.stem}"])
    node = config["inversion"]
    lines = {line.split(":")[0]: line for line in path.read_text().splitlines() if ":" in line}

    def run(node):
        networks = {"encoder": world.encoder, "perceptual": world.features}
        inverter = build_method(copy.deepcopy(node), config, **networks)
        found = inverter.invert(
            world.images[:2], generator=world.generator, ids=torch.tensor([3, 8])
        )
        return inverter.settings, [found.codes, found.images, found.losses, found.best_step]

    for base in bases(node):
        settings, result = run(base)
        for key, value in base.items():
            if key == "_target_":
                continue
            tried = 0
            for other in alternatives(value, lines[key], mask):
                try:
                    theirs, outcome = run({**base, key: other})
                except Exception:
                    continue  # no value for this key
                tried += 1
                same = all(map(torch.equal, result, outcome))
                assert theirs != settings or same, f"inversion.{key}={other} stands nowhere"
            assert tried, f"no other value of inversion.{key} was found to try"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_images_that_wait_are_inverted_alike(path, world):
    """Two at once, each new one with the targets, features, masks and draws of its own."""
    config = compose_plain("evaluate", [f"inversion={path.stem}"])
    networks = {"encoder": world.encoder, "perceptual": world.features}
    apart = path.stem == "encoder"
    for node, gain in itertools.product(bases(config["inversion"]), (0.1, 0.2)):
        if "early_stop" not in node:
            continue
        node |= {"steps": 9, "early_stop": 2, "early_stop_gain": gain, "lr": 0.05}
        whole, turns = (build_method(dict(node), config, **networks) for _ in range(2))
        assert in_turns(turns, slots=2) == BATCHES
        given = dict(generator=world.generator, ids=torch.arange(6))
        if path.stem == "diffusion":
            given["masks"] = (torch.arange(6) + 8).view(6, 1, 1, 1) > torch.arange(64).view(
                8, 8
            ) / 4
        one, other = (method.invert(world.images, **given) for method in (whole, turns))
        steps = (one.losses[1:] != one.losses[:-1]).sum(0).tolist()
        apart = apart or len(set(steps)) > 1
        for name, value in vars(one).items():
            if name != "seconds":
                near = dict(rtol=1e-8, atol=1e-12)
                torch.testing.assert_close(getattr(other, name), value, **near)
    assert apart, "the images always stop together"
