"""Directions: kept whole, and refused where they do not belong."""

import pytest
import torch
from safetensors.torch import save_file

from idinvert.editing import directions
from idinvert.errors import CheckpointError, ConfigError


def unit(rows, width, seed=0):
    v = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))
    return v / v.norm(dim=1, keepdim=True)


def test_round_trip(tmp_path):
    path = tmp_path / "new" / "directions.safetensors"
    age = directions.Direction("age", unit(1, 6), None, {"accuracy": [0.9], "generator": "abc"})
    pose = directions.Direction("pose", unit(4, 6, seed=1), (0, 1), {})
    directions.save_directions(path, [age, pose])
    found = directions.load_directions(path, num_layers=4, w_dim=6, generator="abc")
    assert sorted(found) == ["age", "pose"]
    assert torch.equal(found["pose"].vector, pose.vector) and found["pose"].layers == (0, 1)
    assert found["age"].layers is None and found["age"].provenance == age.provenance
    assert [p.name for p in path.parent.iterdir()] == ["directions.safetensors"]


def test_misfits_name_both_sides():
    wide, deep = directions.Direction("age", unit(1, 6)), directions.Direction("age", unit(3, 6))
    with pytest.raises(CheckpointError, match=r"\[1, 6\], but the generator's codes are \[4, 8\]"):
        directions.check_direction(wide, num_layers=4, w_dim=8)
    with pytest.raises(CheckpointError, match=r"\[3, 6\].*\[4, 6\]"):
        directions.check_direction(deep, num_layers=4, w_dim=6)
    with pytest.raises(CheckpointError, match=r"layers \[7\]"):
        directions.check_direction(
            directions.Direction("age", unit(1, 6), (0, 7)), num_layers=4, w_dim=6
        )
    other = directions.Direction("age", unit(1, 6), None, {"generator": "aaa"})
    with pytest.raises(CheckpointError, match="generator aaa, not for bbb"):
        directions.check_direction(other, num_layers=4, w_dim=6, generator="bbb")
    directions.check_direction(other, num_layers=4, w_dim=6, generator="aaa")


def test_not_unit_and_not_a_matrix_are_refused():
    with pytest.raises(ConfigError, match="expected unit vectors"):
        directions.Direction("age", 2 * unit(1, 6))
    with pytest.raises(ConfigError, match=r"expected \[L, w_dim\]"):
        directions.Direction("age", unit(1, 6)[0])


def test_bad_files(tmp_path):
    torn = tmp_path / "torn.safetensors"
    directions.save_directions(torn, [directions.Direction("age", unit(1, 6))])
    torn.write_bytes(torn.read_bytes()[:40])
    with pytest.raises(CheckpointError, match=r"torn\.safetensors"):
        directions.load_directions(torn)
    with pytest.raises(CheckpointError, match="missing"):
        directions.load_directions(tmp_path / "missing.safetensors")
    alien = tmp_path / "alien.safetensors"
    save_file({"age": unit(1, 6)}, alien)
    with pytest.raises(CheckpointError, match="format None"):
        directions.load_directions(alien)
    with pytest.raises(ConfigError, match="different names"):
        directions.save_directions(alien, [directions.Direction("age", unit(1, 6))] * 2)


def test_conditioned_is_gram_schmidt_per_layer():
    n, a, b = (directions.Direction(s, unit(3, 8, seed=i)) for i, s in enumerate("nab"))
    rest = directions.conditioned(n, [a, b])
    for k in range(3):
        v, p = n.vector[k].double(), a.vector[k].double()
        q = b.vector[k].double() - (b.vector[k].double() @ p) * p / (p @ p)
        v = v - (v @ p) * p / (p @ p) - (v @ q) * q / (q @ q)
        torch.testing.assert_close(rest.vector[k].double(), v / v.norm(), atol=1e-6, rtol=1e-6)
    assert rest.provenance["conditioned_on"] == ["a", "b"]
    with pytest.raises(ConfigError, match="nothing is left"):
        directions.conditioned(n, [n])
