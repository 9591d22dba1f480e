"""Directions found by SVM: the planted one, the maximum margin, and no nonsense."""

import inspect

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from idinvert.config.compose import compose_plain
from idinvert.editing.directions import conditioned
from idinvert.editing.svm import train_direction
from idinvert.errors import ConfigError


def test_the_share_of_the_samples_is_interfacegans():
    node = compose_plain("evaluate", ["task=directions"])["task"]
    default = inspect.signature(train_direction).parameters["fraction"].default
    assert node["fraction"] == default == 0.02


def planted(n=600, width=8, seed=0):
    rng = torch.Generator().manual_seed(seed)
    truth = torch.randn(width, generator=rng)
    truth /= truth.norm()
    codes = torch.randn(n, width, generator=rng)
    return codes, codes @ truth + 0.1 * torch.randn(n, generator=rng), truth


@pytest.mark.parametrize("solver", ["svc", "linear_svc"])
def test_finds_the_planted_direction_with_its_sign(solver):
    codes, scores, truth = planted()
    found = train_direction(codes, scores, name="x", fraction=0.2, solver=solver)
    assert found.vector.shape == (1, 8) and found.vector.norm().item() == pytest.approx(1, abs=1e-6)
    assert found.vector[0] @ truth > 0.97
    assert found.provenance["accuracy"][0] > 0.95
    opposite = train_direction(codes, -scores, name="x", fraction=0.2, solver=solver)
    assert opposite.vector[0] @ truth < -0.97


def test_is_the_soft_margin_optimum():
    """The primal ½‖v‖² + C Σ max(0, 1 − y(v·x + b)), solved by scipy on a few points."""
    codes, scores, _ = planted(n=60, width=3, seed=4)
    found = train_direction(codes, scores, name="x", fraction=0.5, holdout=0.0, cost=0.7)
    order = torch.argsort(scores)
    x = codes[order].double().numpy()
    y = np.repeat([-1.0, 1.0], 30)
    # As a smooth problem with slacks: variables v [3], b, ξ [60].
    objective = lambda p: 0.5 * p[:3] @ p[:3] + 0.7 * p[4:].sum()  # noqa: E731
    gradient = lambda p: np.concatenate([p[:3], [0], np.full(60, 0.7)])  # noqa: E731
    jacobian = np.concatenate([y[:, None] * x, y[:, None], np.eye(60)], axis=1)
    solved = minimize(
        objective, np.concatenate([np.zeros(4), np.ones(60)]), jac=gradient, method="SLSQP",
        constraints={"type": "ineq", "fun": lambda p: jacobian @ p - 1, "jac": lambda p: jacobian},
        bounds=[(None, None)] * 4 + [(0, None)] * 60, options={"maxiter": 500},
    )  # fmt: skip
    assert solved.success
    expected = torch.from_numpy(solved.x[:3] / np.linalg.norm(solved.x[:3])).float()
    torch.testing.assert_close(found.vector[0], expected, atol=2e-3, rtol=0)
    assert found.provenance["accuracy"] == [None]


def test_layers_are_found_independently():
    codes, scores, truth = planted()
    noise = torch.randn(600, 8, generator=torch.Generator().manual_seed(9))
    stack = torch.stack([codes, noise, 3 * codes], dim=1)  # [N, 3, w]
    found = train_direction(stack, scores, name="x", fraction=0.2, layers=(0, 2))
    alone = train_direction(codes, scores, name="x", fraction=0.2)
    assert torch.equal(found.vector[0], alone.vector[0]) and found.layers == (0, 2)
    assert found.vector[2] @ truth > 0.97
    low, chance, high = found.provenance["accuracy"]
    assert low > 0.95 and high > 0.95 and 0.2 < chance < 0.8


def test_the_same_seed_gives_the_same_direction():
    codes, scores, _ = planted()
    a, b = (train_direction(codes, scores, name="x", fraction=0.1, seed=3) for _ in range(2))
    assert torch.equal(a.vector, b.vector)


def test_scores_that_do_not_tell_groups_apart_are_refused():
    codes, scores, _ = planted()
    with pytest.raises(ConfigError, match=r"smaller task\.fraction"):
        train_direction(codes, (scores > 2).float(), name="glasses", fraction=0.5)
    with pytest.raises(ConfigError, match=r"0\.01 of 600 codes are 6"):
        train_direction(codes, scores, name="x", fraction=0.01)
    with pytest.raises(ConfigError, match=r"got codes \[600, 8\] and scores \[3\]"):
        train_direction(codes, scores[:3], name="x")
    with pytest.raises(ConfigError, match="not finite"):
        train_direction(codes * torch.nan, scores, name="x")


def test_recovers_planted_directions_in_w_and_layer_by_layer_in_w_plus():
    """Cosine above 0.95 in W from InterFaceGAN's 2 % ends, and in each of three layers of W+."""
    rng = torch.Generator().manual_seed(3)
    truth = torch.randn(3, 6, generator=rng)
    truth = truth / truth.norm(dim=1, keepdim=True)
    codes = torch.randn(6000, 3, 6, generator=rng)
    score = (codes * truth).sum((1, 2)) + 0.05 * torch.randn(6000, generator=rng)
    plus = train_direction(codes, score, name="x", fraction=0.1)
    assert plus.vector.shape == (3, 6)
    assert ((plus.vector * truth).sum(1) > 0.95).all()
    alone = codes[:, 0] @ truth[0] + 0.05 * torch.randn(6000, generator=rng)
    single = train_direction(codes[:, 0], alone, name="x", fraction=0.02)
    assert single.vector[0] @ truth[0] > 0.95


def test_a_condition_leaves_the_other_attribute_alone():
    """Two attributes that go together: the raw direction of one moves the other's score."""
    rng = torch.Generator().manual_seed(1)
    a, b = torch.eye(6)[0], torch.tensor([0.6, 0.8, 0, 0, 0, 0])
    codes = torch.randn(3000, 6, generator=rng)
    n_a, n_b = (
        train_direction(codes, codes @ n, name=name, fraction=0.1)
        for name, n in (("a", a), ("b", b))
    )
    kept = conditioned(n_a, [n_b])
    assert abs(n_a.vector[0] @ b) > 0.5 and abs(kept.vector[0] @ b) < 0.05
    assert kept.vector[0] @ a > 0.7
