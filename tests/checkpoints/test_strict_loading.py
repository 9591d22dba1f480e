"""Strict loading: complaints, conversions, and networks built without memory."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from idinvert.checkpoints.checkpoint import open_checkpoint
from idinvert.checkpoints.strict_loading import StrictStateDict, without_memory
from idinvert.errors import CheckpointError
from tests.checkpoints.every_family import SAMPLES, write


def state(**tensors) -> StrictStateDict:
    return StrictStateDict(tensors, what="f.pt, network G", key="generator.path")


def test_all_complaints_come_in_one_message():
    c = state(a=torch.zeros(2), b=torch.zeros(3), c=torch.zeros(4), d=5)
    assert torch.equal(c.take("a", shape=(2,)), torch.zeros(2))
    for name, shape in (("b", (4,)), ("gone", (7, 8)), ("d", (1,))):
        stand_in = c.take(name, shape=shape)
        assert stand_in.is_meta and stand_in.shape == shape
    with pytest.raises(CheckpointError) as caught:
        c.finish()
    assert str(caught.value) == (
        "f.pt, network G: tensors do not fit (missing: gone; extra: c; misshapen: b (3,) instead "
        "of (4,), d of type int instead of (1,)); change generator.path"
    )


@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(2, dtype=torch.float64),
        torch.zeros(2, dtype=torch.float16),
        torch.zeros(2, dtype=torch.bfloat16),
        np.zeros(2, dtype=">f4"),
        np.zeros(2, dtype=np.float16),
        torch.nn.Parameter(torch.zeros(2)),
    ],
)
def test_floats_of_any_precision_become_float32(value):
    found = state(a=value).take("a", shape=(2,))
    assert found.dtype == torch.float32 and not found.requires_grad and not found.is_meta


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (torch.zeros(2, dtype=torch.int64), "int64"),
        (torch.zeros(2, dtype=torch.complex64), "complex64"),
        (torch.zeros(2, dtype=torch.bool), "bool"),
        (np.zeros(2, dtype="U3"), "<U3"),
        (np.zeros(2, dtype=object), "object"),
        (torch.zeros(2, device="meta"), "(2,)"),
        (torch.zeros(2).to_sparse(), "(2,)"),
        ([0.0, 0.0], "list"),
    ],
)
def test_what_is_no_plain_tensor_of_floats_is_misshapen(value, word):
    c = state(a=value)
    c.take("a", shape=(2,))
    with pytest.raises(CheckpointError, match=r"misshapen: a .*instead of \(2,\)") as caught:
        c.finish()
    assert word in str(caught.value)


def test_a_constant_is_compared():
    c = state(a=torch.ones(2), b=torch.ones(2), c=torch.ones(3))
    c.constant("a", torch.ones(2))
    c.constant("b", torch.tensor([1.0, 2.0]))
    c.constant("c", torch.ones(2))
    c.constant("missed", torch.ones(2))
    with pytest.raises(CheckpointError, match=r"missing: missed; .*b has other.*c \(3,\) instead"):
        c.finish()


def test_nothing_left_is_no_complaint():
    c = state(a=torch.ones(2), b=3)
    c.drop(["b", "never there"])
    assert "a" in c and "b" not in c and c.names() == ["a"]
    c.take("a", shape=(2,))
    c.finish()


def test_shapes_are_read_before_the_tensors():
    c = state(a=torch.ones(2, 3), b=np.ones((4, 5)), c=3, d=torch.ones(0, 2))
    assert c.shape("a", ndim=2) == (2, 3) and c.shape("b", ndim=2) == (4, 5) and "a" in c
    for name, words in (("a", "expected 3 dim"), ("gone", "missing"), ("c", "int"), ("d", r"0, 2")):
        with pytest.raises(CheckpointError, match=words):
            c.shape(name, ndim=3 if name == "a" else 2)


def test_any_key_can_be_told():
    many = {f"k{i}": 0 for i in range(100)}
    c = StrictStateDict(
        {7: 1, ("a", "b"): 2, "new\nline": 3, "x" * 999: 4} | many, what="f", key="k"
    )
    with pytest.raises(CheckpointError) as caught:
        c.finish()
    message = str(caught.value)
    assert r"new\nline" in message and "\n" not in message
    assert "7, ('a', 'b')" in message and "and 44 more" in message and len(message) < 1000


@pytest.mark.parametrize("name", SAMPLES)
def test_shapes_are_those_of_the_real_network(name, tmp_path):
    for network in open_checkpoint(write(name, tmp_path / "x")).networks.values():
        with without_memory():
            bare = type(network)(**network.architecture)
        real = network.state_dict()
        assert {key: value.shape for key, value in bare.state_dict().items()} == {
            key: value.shape for key, value in real.items()
        }
        assert all(value.is_meta for value in bare.state_dict().values())


def test_huge_sizes_cost_nothing():
    with without_memory():
        layer = nn.Linear(10**9, 10**9)
        drawn = torch.randn(10**9, 10**6, generator=torch.Generator()) / 3
    assert layer.weight.is_meta and drawn.shape == (10**9, 10**6)


def test_the_global_generator_is_left_alone():
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    with without_memory():
        nn.init.normal_(nn.Linear(3, 3).weight)
    assert torch.equal(torch.randn(3), expected)


def test_opening_and_refusing_load_no_compiler():
    """Torch's compiler takes seconds to import; opening weights must not need it."""
    code = """
import sys
from torch import nn
from idinvert.checkpoints import open_checkpoint
from idinvert.checkpoints.strict_loading import StrictStateDict, load, shifted
open_checkpoint("shipped:faces_mini")
table = {"weight": shifted("w", 1), "bias": shifted("b", 1)}
try:
    load(lambda: nn.Linear(2, 2), table, StrictStateDict({}, what="f", key="k"))
except Exception as error:
    assert "missing: w, b" in str(error)
sys.exit("torch._dynamo" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
