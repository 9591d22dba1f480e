"""Directions of other projects: each layout, its shape, its origin, its lengths."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from idinvert.editing.direction_files import LAYOUTS, open_directions
from idinvert.editing.directions import Direction, save_directions
from idinvert.errors import CheckpointError

L, W = 6, 16


def generator(name: str) -> Any:
    """A stand-in with the class name and the sizes that are read."""
    cls = type(name, (SimpleNamespace,), {})
    return cls(num_layers=L, w_dim=W)


ONE, TWO = generator("StyleGANGenerator"), generator("StyleGAN2Generator")


@pytest.fixture
def unit():
    rows = np.random.default_rng(0).normal(size=(L, W))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def boundary(tmp_path, unit):
    """A file as idinvert publishes them: a pickled dict in an .npy."""

    def write(layers=(0, 2), vector=None, name="age.npy"):
        content = {
            "boundary": unit[None].astype(np.float32) if vector is None else vector,
            "meta_data": {"manipulate_layers": layers},
        }
        if layers is None:
            content["meta_data"] = {}
        np.save(tmp_path / name, content, allow_pickle=True)  # type: ignore[arg-type]
        return tmp_path / name

    return write


def test_idinvert(boundary, unit):
    found = open_directions(boundary([2, 0]), generator=ONE)
    assert found.layout == "idinvert" and list(found.directions) == ["age"]
    direction = found.directions["age"]
    assert direction.layers == (0, 2)
    assert direction.vector.shape == (L, W) and direction.vector.dtype == torch.float32
    np.testing.assert_allclose(direction.vector.double().numpy(), unit, atol=1e-6)
    assert direction.provenance["file"] == "age.npy"
    assert "does not say which generator" in found.notes[0]


@pytest.mark.parametrize("layers", [np.array([1, 3]), (1, 3), [3, 1, 1]])
def test_idinvert_layers_of_any_sequence(boundary, layers):
    found = open_directions(boundary(layers), generator=ONE)
    assert found.directions["age"].layers == (1, 3)


def test_idinvert_without_layers_moves_all(boundary):
    assert open_directions(boundary(None), generator=ONE).directions["age"].layers is None


@pytest.mark.parametrize("layers", [[L], [-1], ["a"], [0.5], 3, [[1], [2, 3]], []])
def test_idinvert_layers_that_are_none(boundary, layers):
    with pytest.raises(CheckpointError, match=r"age\.npy.*task\.directions"):
        open_directions(boundary(layers), generator=ONE)


def test_idinvert_is_refused_for_stylegan2_unless_told(boundary):
    with pytest.raises(CheckpointError, match=r"published for stylegan, .*stylegan2") as caught:
        open_directions(boundary(), generator=TWO, origin_key="task.found_for")
    assert "task.found_for=stylegan2" in str(caught.value)
    found = open_directions(boundary(), generator=TWO, found_for="stylegan2")
    assert found.directions["age"].layers == (0, 2) and found.notes == []


def test_the_users_word_is_checked(boundary):
    with pytest.raises(CheckpointError, match="was found for stylegan2"):
        open_directions(boundary(), generator=ONE, found_for="stylegan2")
    with pytest.raises(CheckpointError, match="expected one of"):
        open_directions(boundary(), generator=ONE, found_for="stylegan3")


@pytest.mark.parametrize(
    ("name", "short", "noted"),
    [
        ("stylegan_ffhq_age_w_boundary.npy", "age", False),
        ("stylegan_ffhq_age_c_gender_w_boundary.npy", "age_c_gender", False),
        ("stylegan_celebahq_smile_boundary.npy", "smile", True),
        ("mine.npy", "mine", False),
    ],
)
def test_interfacegan(tmp_path, unit, name, short, noted):
    np.save(tmp_path / name, unit[:1])  # (1, w) float64
    found = open_directions(tmp_path / name, generator=ONE)
    assert found.layout == "interfacegan" and list(found.directions) == [short]
    direction = found.directions[short]
    assert direction.vector.shape == (1, W) and direction.layers is None
    np.testing.assert_allclose(direction.vector.double().numpy(), unit[:1], atol=1e-6)
    assert any("boundaries in Z" in note for note in found.notes) == noted
    with pytest.raises(CheckpointError, match="published for stylegan"):
        open_directions(tmp_path / name, generator=TWO)


@pytest.mark.parametrize("shape", [(W,), (1, W), (L, W), (1, L, W)])
@pytest.mark.parametrize("suffix", ["npy", "pt"])
def test_every_shape(tmp_path, unit, shape, suffix):
    array = unit[0] if len(shape) == 1 else unit[: shape[-2]].reshape(shape)
    path = tmp_path / f"smile.{suffix}"
    if suffix == "npy":
        np.save(path, array)
    else:
        torch.save(torch.tensor(array).float(), path)
    kind = ONE if suffix == "npy" else TWO
    vector = open_directions(path, generator=kind).directions["smile"].vector
    rows = L if L in shape else 1
    np.testing.assert_allclose(vector.double().numpy(), unit[:rows], atol=1e-6)


@pytest.mark.parametrize("shape", [(W + 1,), (2, W), (1, 2, W), (2, L, W), (W, 1), (0, W), ()])
def test_a_wrong_shape_says_both(tmp_path, shape):
    path = tmp_path / "x.npy"
    np.save(path, np.ones(shape))
    with pytest.raises(CheckpointError) as caught:
        open_directions(path, generator=ONE)
    assert str(shape) in str(caught.value) and f"[{L}, {W}]" in str(caught.value)


def test_tensors_of_e4e_and_pti_are_for_stylegan2(tmp_path, unit):
    path = tmp_path / "pose.pt"
    torch.save(torch.tensor(unit[:1]).float(), path)
    assert open_directions(path, generator=TWO).layout == "tensor"
    with pytest.raises(CheckpointError, match="published for stylegan2"):
        open_directions(path, generator=ONE)


def test_ganspace_npz(tmp_path, unit):
    path = tmp_path / "components"
    with open(path, "wb") as file:
        np.savez(
            file,
            act_comp=unit[:, None],
            lat_comp=2 * unit[:, None],
            lat_mean=np.zeros((1, W)),
            lat_stdev=np.arange(1.0, L + 1),
        )
    with pytest.raises(CheckpointError, match="does not say which generator"):
        open_directions(path, generator=TWO)
    found = open_directions(path, generator=TWO, found_for="stylegan2", components=3)
    assert found.layout == "ganspace" and list(found.directions) == ["pc0", "pc1", "pc2"]
    for k, direction in enumerate(found.directions.values()):
        np.testing.assert_allclose(direction.vector[0].double().numpy(), unit[k], atol=1e-6)
        assert direction.provenance["sigma"] == pytest.approx([2 * (k + 1.0)])


def test_ganspace_tensors(tmp_path, unit):
    path = tmp_path / "ffhq_pca.pt"
    comp = torch.tensor(unit[:, None]).float()
    torch.save({"mean": torch.zeros(1, W), "comp": comp, "std": torch.ones(L)}, path)
    found = open_directions(path, generator=TWO)
    assert found.layout == "ganspace_tensors" and len(found.directions) == L
    torch.save({"comp": comp.int()}, path)
    with pytest.raises(CheckpointError, match="components"):
        open_directions(path, generator=TWO)


def test_vectors_by_name(tmp_path, unit):
    path = tmp_path / "all.pt"
    torch.save({"age": torch.tensor(unit[0]), "pose": torch.tensor(unit[1:2])}, path)
    found = open_directions(path, generator=TWO, found_for="stylegan2")
    assert list(found.directions) == ["age", "pose"] and found.layout == "named"


def test_lengths_are_told(tmp_path, unit):
    path = tmp_path / "age.npy"
    np.save(path, 2.5 * unit)
    found = open_directions(path, generator=ONE)
    np.testing.assert_allclose(found.directions["age"].vector.numpy(), unit, atol=1e-6)
    assert any("length 2.5 " in note and "steps by 2.5" in note for note in found.notes)
    assert found.directions["age"].provenance["length"] == pytest.approx(2.5)


def test_rows_of_different_lengths_are_refused(tmp_path, unit):
    path = tmp_path / "age.npy"
    np.save(path, unit * np.linspace(0.5, 1.5, L)[:, None])
    with pytest.raises(CheckpointError, match=r"rows of length 0\.5 to 1\.5"):
        open_directions(path, generator=ONE)


def test_zero_rows_are_layers_that_stay(boundary, unit):
    vector = unit.copy()
    vector[3:] = 0
    found = open_directions(boundary(None, vector[None]), generator=ONE)
    assert found.directions["age"].layers == (0, 1, 2)
    assert any("[3, 4, 5] are zero" in note for note in found.notes)
    np.testing.assert_allclose(found.directions["age"].vector[:3].numpy(), unit[:3], atol=1e-6)
    found = open_directions(boundary([2, 3], vector[None]), generator=ONE)
    assert found.directions["age"].layers == (2,)
    with pytest.raises(CheckpointError, match="is zero"):
        open_directions(boundary(None, 0 * vector), generator=ONE)


def test_numbers_that_are_not_finite(boundary, unit):
    unit[1, 1] = np.nan
    with pytest.raises(CheckpointError, match="not finite"):
        open_directions(boundary(None, unit), generator=ONE)


@pytest.mark.parametrize(
    "content", [np.arange(W), {"boundary": "no"}, {"boundary": [1.0] * W}, {}, [1, 2], "x"]
)
def test_what_is_no_direction(tmp_path, content):
    path = tmp_path / "x.npy"
    np.save(path, content, allow_pickle=True)
    with pytest.raises(CheckpointError, match=r"x\.npy.*task\.directions"):
        open_directions(path, generator=ONE)


def test_ours(tmp_path, unit):
    path = tmp_path / "directions"
    vector = torch.tensor(unit).float()
    save_directions(path, [Direction("age", vector, (0, 1), {"generator": "abc"})])
    found = open_directions(path, generator=TWO, fingerprint="abc")
    assert found.layout == "native" and found.directions["age"].layers == (0, 1)
    with pytest.raises(CheckpointError, match="was found for generator abc"):
        open_directions(path, generator=TWO, fingerprint="def")


def test_a_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"absent.*task\.path"):
        open_directions(tmp_path / "absent", generator=ONE, key="task.path")


class Hostile:
    """Unpickled, it would write a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {MARK}",)


MARK = Path("hostile_direction_was_here")


def test_a_pickle_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", {"boundary": Hostile()}, allow_pickle=True)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="system"):
        open_directions("x.npy", generator=ONE)
    assert not MARK.exists()


def test_every_layout_is_explained():
    assert set(LAYOUTS.values()) == {"stylegan", "stylegan2", None}
