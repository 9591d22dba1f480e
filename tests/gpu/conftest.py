"""Tests that need a GPU: left out elsewhere; what they measure can be kept as a record.

    python -m pytest tests/gpu                                  # on a machine with a GPU
    IDINVERT_GPU_RECORD=records.jsonl python -m pytest tests/gpu

A bound is on the difference over the size of the CPU's numbers.
"""

import json
import os
from pathlib import Path

import pytest
import torch

from idinvert import acceleration
from idinvert.training import attributes, gan

from .reference import DEVICE, run

HERE = Path(__file__).parent
TINY = (
    "scale.resolution=16",
    "scale.channels=[16,16,16]",
    "scale.w_dim=16",
    "scale.mapping_depth=2",
    "scale.encoder_channels=8",
    "scale.encoder_channels_max=16",
    "batch_size=4",
    "data.train=64",
    "data.test=8",
    "data.val=4",
    "nimg=8",
    "checkpoint.every_nimg=8",
    "logging.every_nimg=4",
    "logging.validate_every_nimg=1000000",
    "logging.panel_every_nimg=1000000",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves these tests out where there is no GPU."""
    if torch.cuda.is_available() or DEVICE == "cpu":
        return
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="needs a GPU that torch can use"))


@pytest.fixture(autouse=True)
def as_it_was():
    """No test leaves its arithmetic to the next."""
    yield
    acceleration.use_tf32(False)


@pytest.fixture
def measured(request):
    """Asserts that a figure is within its bound, and keeps both where a record is asked for."""

    def within(what, figure, *, bound):
        place = os.environ.get("IDINVERT_GPU_RECORD")
        if place:
            row = {
                "test": request.node.name,
                "what": what,
                "figure": figure,
                "bound": bound,
                "device": torch.cuda.get_device_name() if DEVICE == "cuda" else DEVICE,
                "torch": torch.__version__,
            }
            with open(place, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        assert bound is None or figure <= bound, f"{what}: {figure:.3g}, expected {bound:.3g}"

    return within


@pytest.fixture
def drawn_on_the_cpu(monkeypatch):
    """The same random numbers wherever training runs: a GPU's generator has others."""
    for module in (gan, attributes):
        stream = module.random_stream
        monkeypatch.setattr(
            module, "random_stream", lambda s=stream, **given: s(**(given | {"device": "cpu"}))
        )


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Overrides of a tiny run, and GANs and F of two steps on the CPU to stand on."""
    place = tmp_path_factory.mktemp("gpu")
    tiny = (*TINY, f"system.cache={place / 'cache'}")
    cpu = (*tiny, "trainer=cpu", f"system.outputs={place / 'world'}")
    stylegan = ("generator=stylegan", "discriminator=stylegan", "generator.multi_w=true")
    return {
        "tiny": tiny,
        "gan": run(["experiment=gan", *cpu]),
        "stylegan": run(["experiment=gan", *stylegan, *cpu]),
        "features": run(["experiment=attributes", "attributes.width=8", *cpu]),
    }
