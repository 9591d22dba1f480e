"""SeFa against NumPy's eigendecomposition of the raw state dict."""

import numpy as np
import pytest
import torch

from idinvert.editing.directions import load_directions, save_directions
from idinvert.editing.sefa import sefa
from idinvert.errors import ConfigError

# Where layer k's style weight stands in the state dict.
NAMES = {
    "stylegan": [f"synthesis.epilogues.{k}.affine.weight" for k in range(6)],
    "stylegan2": [f"synthesis.convs.{k}.affine.weight" for k in range(5)]
    + ["synthesis.to_rgb.2.affine.weight"],
}


@pytest.mark.parametrize("kind", ["stylegan", "stylegan2"])
@pytest.mark.parametrize("layers", [None, [0, 1], [2, 3, 4], [5]])
def test_equals_numpy(make, kind, layers):
    generator = make(kind)
    state = {name: value.numpy() for name, value in generator.state_dict().items()}
    found = sefa(generator, layers=layers, count=3)
    weight = np.concatenate([state[NAMES[kind][k]].T for k in layers or range(6)], axis=1)
    weight = weight / np.linalg.norm(weight, axis=0, keepdims=True)  # [w_dim, styles]
    values, vectors = np.linalg.eig(weight @ weight.T)
    order = np.argsort(values.real)[::-1]
    for rank in range(3):
        expected, own = vectors.real[:, order[rank]], found[rank].vector[0].double().numpy()
        assert abs(abs(expected @ own) - 1) < 1e-6
        assert own[np.abs(own).argmax()] > 0
        assert found[rank].provenance["eigenvalue"] == pytest.approx(values.real[order[rank]])
        assert found[rank].layers == (None if layers is None else tuple(layers))


def test_is_a_direction_like_any_other(make, tmp_path):
    generator = make()
    found = sefa(generator, layers=[0, 1], count=8, provenance={"generator": "abc"})
    path = tmp_path / "sefa.safetensors"
    save_directions(path, found)
    back = load_directions(path, num_layers=6, w_dim=8, generator="abc")
    assert list(back) == [f"sefa{k:02d}" for k in range(8)] and back["sefa03"].layers == (0, 1)
    gram = torch.cat([d.vector for d in found])
    torch.testing.assert_close(gram @ gram.t(), torch.eye(8), atol=1e-6, rtol=0)


def test_the_first_moves_the_styles_most(make):
    """A step along it changes the layers' styles more than a step along the others or any other."""
    generator = make("stylegan")
    rows = torch.cat([generator.synthesis.epilogues[k].affine.weight for k in (2, 3)])
    rows = rows / rows.norm(dim=1, keepdim=True)
    first, *rest = (rows @ d.vector[0].double() for d in sefa(generator, layers=[2, 3], count=8))
    assert all(first.norm() > other.norm() for other in rest)
    any_ = torch.randn(500, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    any_ = any_ / any_.norm(dim=1, keepdim=True)
    assert (rows @ any_.t()).norm(dim=0).max() < first.norm()


def test_refusals(make):
    with pytest.raises(ConfigError, match="0 to 5"):
        sefa(make(), layers=[6])
    with pytest.raises(ConfigError, match="expected 1 to 8"):
        sefa(make(), count=9)
    other = torch.nn.Module()
    other.num_layers, other.w_dim = 2, 4
    with pytest.raises(ConfigError, match="those of Module"):
        sefa(other, count=1)
