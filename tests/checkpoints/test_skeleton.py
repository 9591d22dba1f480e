"""Networks built without memory have the shapes of real ones, and cost no compiler."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from idinvert.checkpoints.checkpoint import open_checkpoint
from idinvert.checkpoints.skeleton import without_memory
from tests.checkpoints.every_family import SAMPLES, write


@pytest.mark.parametrize("name", SAMPLES)
def test_shapes_are_those_of_the_real_network(name: str, tmp_path: Path) -> None:
    for network in open_checkpoint(write(name, tmp_path / "x")).networks.values():
        with without_memory():
            bare = type(network)(**network.architecture)
        real = network.state_dict()
        assert {key: value.shape for key, value in bare.state_dict().items()} == {
            key: value.shape for key, value in real.items()
        }
        assert all(value.is_meta for value in bare.state_dict().values())


def test_huge_sizes_cost_nothing() -> None:
    with without_memory():
        layer = nn.Linear(10**9, 10**9)
        drawn = torch.randn(10**9, 10**6, generator=torch.Generator()) / 3
    assert layer.weight.is_meta and drawn.shape == (10**9, 10**6)


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    with without_memory():
        nn.init.normal_(nn.Linear(3, 3).weight)
    assert torch.equal(torch.randn(3), expected)


def test_opening_loads_no_compiler() -> None:
    """Torch's compiler takes seconds to import; opening weights must not need it."""
    code = (
        "import sys; from idinvert.checkpoints import open_checkpoint;"
        "open_checkpoint('shipped:faces_mini');"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
