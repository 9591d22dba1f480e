"""Interventions on units: set features to a value in a region, and find units that cause a class.

Source: Bau et al. 2019 (arXiv 1811.10597), Sec. 3.2 and 4.3; the walkthrough, part IV, 1.4, 1.5.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from idinvert.networks.generator import SynthesisState


def region_of(mask: Tensor, state: SynthesisState) -> Tensor:
    """Returns the share of each feature position that a mask covers.

    Args:
        mask: float [N or 1, 1, R, R], 0 to 1.
        state: the state with the features [N, U, h, w].

    Returns:
        [N or 1, 1, h, w].
    """
    height, width = state.features.shape[-2:]
    return adaptive_avg_pool2d(mask, (height, width)).to(state.features)


def forced(
    state: SynthesisState, *, alpha: Tensor, value: Tensor, region: Tensor
) -> SynthesisState:
    """Moves units towards a value in a region: r + α P (k − r); the rest does not change.

    Args:
        state: state of G, with features r [N, U, h, w].
        alpha: how far each unit is moved, [U] in [0, 1].
        value: k [U]; zeros ablate.
        region: P [N or 1, 1, h, w] in [0, 1].
    """
    mix = alpha.view(1, -1, 1, 1) * region
    moved = torch.lerp(state.features, value.view(1, -1, 1, 1).expand_as(state.features), mix)
    return state._replace(features=moved)


def only(units: Tensor, count: int) -> Tensor:
    """Returns α [count], which is 1 for the given units (int64) and 0 for the others."""
    return torch.zeros(count, device=units.device).index_fill(0, units, 1.0)


def class_share(logits: Tensor, place: int, region: Tensor) -> Tensor:
    """Returns a differentiable share of a class in a region: the mean of its probability there.

    Args:
        logits: output of a segmenter, [N, C, R, R].
        place: index of the class.
        region: float [N or 1, 1, R, R].

    Returns:
        [N], in [0, 1].
    """
    shown = logits.softmax(1)[:, place]  # [N, R, R]
    weight = region[:, 0].expand_as(shown)
    return (shown * weight).sum((1, 2)) / weight.sum((1, 2)).clamp(min=1e-8)


def causal_objective(
    alpha: Tensor,
    *,
    state: SynthesisState,
    value: Tensor,
    region: Tensor,
    score: Callable[[SynthesisState], Tensor],
    penalty: float,
) -> Tensor:
    """Returns the objective of α (ACE): −(E[s(inserted)] − E[s(ablated)]) + λ ‖α‖₂.

    Args:
        alpha: [U] in [0, 1].
        state: state of G for samples.
        value: k [U], the value of inserted units.
        region: P [N, 1, h, w].
        score: s, from a state to the share of the class in the region, [N].
        penalty: λ.

    Returns:
        A scalar.
    """
    inserted = score(forced(state, alpha=alpha, value=value, region=region))
    ablated = score(forced(state, alpha=alpha, value=torch.zeros_like(value), region=region))
    return ablated.mean() - inserted.mean() + penalty * torch.linalg.vector_norm(alpha)


def causal_units(
    start: Tensor,
    batches: Callable[[int], dict[str, Any]],
    *,
    value: Tensor,
    penalty: float,
    steps: int,
    lr: float,
) -> tuple[Tensor, Tensor]:
    """Learns how much each unit causes a class, by Adam with α clamped to [0, 1].

    Args:
        start: initial α, [U].
        batches: step index to the `state`, `region` and `score` of `causal_objective`.
        value: see `causal_objective`.
        penalty: λ.
        steps: number of steps.
        lr: learning rate of Adam.

    Returns:
        α [U], and how strongly each unit lowers the objective, averaged over steps: −∂/∂α, [U].

    Differs from the original: Adam instead of plain stochastic gradient descent.
    """
    alpha, pull = start.clone().requires_grad_(), torch.zeros_like(start)
    optimizer = torch.optim.Adam([alpha], lr=lr)
    for step in range(steps):
        batch = batches(step)
        with torch.enable_grad():
            loss = causal_objective(alpha, value=value, penalty=penalty, **batch)
            (alpha.grad,) = torch.autograd.grad(loss, alpha)
        pull -= alpha.grad / steps
        optimizer.step()
        with torch.no_grad():
            alpha.clamp_(0.0, 1.0)
    return alpha.detach(), pull
