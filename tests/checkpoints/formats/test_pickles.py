"""Raw pickles: NVlabs' persistent modules, TensorFlow networks, arrays in every protocol."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from idinvert.checkpoints.formats.archive import Stored, flat_tensors
from idinvert.checkpoints.formats.read import read_archive
from idinvert.errors import CheckpointError
from tests.checkpoints.hostile.foreign import (
    nvlabs_pickle,
    pickled,
    tensorflow_pickle,
    tiny_generator,
)

KEY = "generator.path"


def read(raw: bytes, tmp_path: Path) -> Any:
    path = tmp_path / "file.pkl"
    path.write_bytes(raw)
    archive = read_archive(path, key=KEY)
    assert archive.kind == "pickle"
    return archive.content


@pytest.mark.parametrize("protocol", range(6))
def test_nvlabs_modules(protocol, tmp_path):
    found = read(nvlabs_pickle(protocol=protocol), tmp_path)
    assert found["training_set_kwargs"]["resolution"] == 8 and found["D"] is None
    generator, expected = found["G_ema"], tiny_generator(1)
    assert (generator.module, generator.name) == ("torch_utils.persistence", "Generator")
    assert generator.arguments == (4, 0, 4, 8, 3)
    assert generator.keywords == {"mapping_kwargs": {"num_layers": 1}}
    layer = generator.state["_modules"]["mapping"].state["_modules"]["fc0"]
    assert layer.keywords == {"activation": "lrelu"} and layer.state["weight_gain"] == 0.005
    assert type(layer.state["weight_gain"]) is float
    assert "_init_args" not in generator.state and "module_src" not in generator.state
    tensors, state = flat_tensors(generator), expected.state_dict()
    assert list(tensors) == list(state)  # without the buffer that is not persistent
    assert all(torch.equal(tensors[name], state[name]) for name in state)


@pytest.mark.parametrize(("protocol", "python2"), [(2, False), (4, False), (5, False), (2, True)])
def test_tensorflow_networks(protocol, python2, tmp_path):
    found = read(tensorflow_pickle(4, protocol=protocol, python2=python2), tmp_path)
    assert type(found) is tuple and len(found) == 4
    expected = np.random.default_rng(0)
    for index, network in enumerate(found):
        assert (network.module, network.name) == ("dnnlib.tflib.network", "Network")
        assert network.state["name"] == f"net{index}" and network.state["version"] == 3
        assert network.state["static_kwargs"]["resolution"] == 8
        assert "build_module_src" not in network.state
        variables = dict(network.state["variables"])
        assert variables["lod"] == 0.0
        const = expected.standard_normal((1, 4, 4, 4)).astype(np.float32)
        assert np.array_equal(variables["4x4/Const/const"], const)
        assert variables["4x4/Const/const"].dtype == np.float32
        assert np.array_equal(variables["4x4/Conv/bias"], np.zeros(400))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("code", ["<f4", ">f4", "<f8", "<f2", ">i8", "<i4", "|u1", "|b1", "<c8"])
def test_arrays(code, protocol, tmp_path):
    base = np.arange(-4, 8).reshape(3, 4).astype(code)
    for expected in (base, np.asfortranarray(base), base[:, ::2], base[:0], base[0, 0]):
        found = read(pickle.dumps([expected], protocol), tmp_path)[0]
        if expected.ndim:
            assert found.dtype == base.dtype.newbyteorder("=") and found.flags.writeable
            assert found.dtype.isnative
        assert np.array_equal(found, expected)


def test_arrays_by_the_names_of_numpy_2(tmp_path):
    expected = np.arange(6.0).reshape(2, 3)
    old = pickle.dumps([expected, np.float32(2)], 3).replace(b"numpy._core.", b"numpy.core.")
    new = old.replace(b"numpy.core.", b"numpy._core.")
    for raw in (old, new):
        array, number = read(raw, tmp_path)
        assert np.array_equal(array, expected) and number == 2.0


def test_objects_in_arrays_are_plain(tmp_path):
    content = np.array([[1, "a"], [None, np.ones(2)]], dtype=object)
    found = read(pickle.dumps([content], 4), tmp_path)[0]
    assert found[0] == [1, "a"] and found[1][0] is None and np.array_equal(found[1][1], np.ones(2))
    with pytest.raises(CheckpointError, match="structured"):
        read(pickle.dumps([np.zeros(2, dtype=[("a", "f4")])], 4), tmp_path)


def test_what_is_shared_stays_shared(tmp_path):
    tensor, inner = torch.ones(3), {"a": 1}
    found = read(pickle.dumps([tensor, tensor, inner, inner], 4), tmp_path)
    assert found[0] is found[1] and found[2] is found[3]


def test_stored_objects_round_trip(tmp_path):
    module = Stored("torch_utils.persistence", "Layer", (1,), {"b": [2]}, {"x": torch.ones(2)})
    network = Stored("dnnlib.tflib.network", "Network", state={"name": "G"})
    found = read(pickled({"m": module, "n": [network]}), tmp_path)
    assert (found["m"].arguments, found["m"].keywords) == ((1,), {"b": [2]})
    assert torch.equal(found["m"].state["x"], torch.ones(2))
    assert found["n"][0] == network


def stored(**groups: Any) -> Stored:
    return Stored("torch_utils.persistence", "Layer", state={f"_{k}": v for k, v in groups.items()})


def test_flat_tensors_names_what_is_wrong():
    good = stored(parameters={"w": torch.ones(1), "b": None}, modules={"x": None})
    assert list(flat_tensors(good)) == ["w"]
    for bad, words in (
        (stored(parameters={"w": 3}), "expected a tensor at 'w', got int"),
        (stored(modules={"x": stored(buffers={"f": "y"})}), "expected a tensor at 'x.f', got str"),
        (stored(modules={"x": 3}), r"expected a stored torch module at 'x\.', got int"),
        (stored(parameters=[1]), "expected names to values in _parameters"),
        (stored(parameters={1: torch.ones(1)}), "expected names to values"),
        (stored(non_persistent_buffers_set=1.0), "expected a set of buffer names"),
        (Stored("a", "B", state=3), "expected a stored torch module at 'the top', got B"),
    ):
        with pytest.raises(CheckpointError, match=words):
            flat_tensors(bad)
    bad = stored()
    for _ in range(70):
        bad = stored(modules={"x": bad})
    with pytest.raises(CheckpointError, match="expected a stored torch module"):
        flat_tensors(bad)
