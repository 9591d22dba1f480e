"""Manipulation and interpolation, element by element."""

import pytest
import torch

from idinvert.editing import edits
from idinvert.editing.directions import Direction
from idinvert.errors import CheckpointError, ConfigError

RNG = torch.Generator().manual_seed(0)
CODES = torch.randn(3, 4, 5, generator=RNG, dtype=torch.float64)


def direction(rows, layers=None):
    v = torch.randn(rows, 5, generator=torch.Generator().manual_seed(rows))
    return Direction("age", v / v.norm(dim=1, keepdim=True), layers)


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize(("own", "given", "moved"), [
    (None, None, [0, 1, 2, 3]), ((0, 2), None, [0, 2]), ((0, 2), [3], [3]), (None, [], []),
])  # fmt: skip
def test_eq_5(rows, own, given, moved):
    alphas = [-3, 0.5, 2]
    n = direction(rows, own)
    edited = edits.manipulate(CODES, n, alphas, layers=given)
    assert edited.shape == (3, 3, 4, 5)
    for i in range(3):
        for s, alpha in enumerate(alphas):
            for k in range(4):
                step = alpha * n.vector[k if rows == 4 else 0].double() if k in moved else 0
                torch.testing.assert_close(edited[i, s, k], CODES[i, k] + step)


def test_manipulate_refuses_misfits():
    with pytest.raises(CheckpointError, match=r"\[1, 5\]"):
        edits.manipulate(CODES[..., :4], direction(1), [1.0])
    with pytest.raises(ConfigError, match="layers 0 to 3"):
        edits.manipulate(CODES, direction(1), [1.0], layers=[4])


def test_interpolation_is_linear_and_hits_its_ends():
    a, b = CODES, CODES.flip(0) + 1
    path = edits.interpolate(a, b, [0.0, 0.25, 1.0])
    assert torch.equal(path[:, 0], a) and torch.equal(path[:, 2], b)
    torch.testing.assert_close(path[:, 1], 0.75 * a + 0.25 * b)
    with pytest.raises(ConfigError, match="equal shapes"):
        edits.interpolate(a, b[:, :2], [0.5])


def test_five_inner_steps_are_sixths():
    assert edits.inner_steps(5) == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])


def test_sigma_is_a_unit_for_those_who_know_theirs():
    n = direction(4)
    with pytest.raises(ConfigError, match=r"unit=length"):
        edits.manipulate(CODES, n, [1.0], unit="sigma")
    sigmas = [0.5, 1.0, 2.0, 3.0]
    known = Direction("pc", n.vector, (1, 3), {"sigma": sigmas})
    moved = edits.manipulate(CODES, known, [2.0], unit="sigma")[:, 0]
    for k in range(4):
        step = 2 * sigmas[k] * n.vector[k].double() if k in (1, 3) else 0
        torch.testing.assert_close(moved[:, k], CODES[:, k] + step)
    with pytest.raises(ConfigError, match="4 rows and 2 sigmas"):
        edits.manipulate(
            CODES, Direction("pc", n.vector, None, {"sigma": [1, 2]}), [1.0], unit="sigma"
        )


def test_mixing_takes_the_upper_layers_from_the_style():
    content, style = CODES, CODES[:2] + 10
    mixed = edits.mix_styles(content, style, first=3)
    assert mixed.shape == (3, 2, 4, 5)
    for i in range(3):
        for j in range(2):
            assert torch.equal(mixed[i, j, :3], content[i, :3])
            assert torch.equal(mixed[i, j, 3:], style[j, 3:])
    assert torch.equal(edits.mix_styles(content, style, first=4)[:, 0], content)
    assert torch.equal(edits.mix_styles(content, style, first=0)[0], style)
    assert [edits.first_style_layer(n) for n in (14, 18, 8)] == [10, 13, 6]
    with pytest.raises(ConfigError, match="expected 0 to 4"):
        edits.mix_styles(content, style, first=5)
    with pytest.raises(ConfigError, match="same generator"):
        edits.mix_styles(content, style[:, :3])
