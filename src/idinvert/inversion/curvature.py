"""The curvature of an objective at native codes: one estimate for all images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from idinvert.inversion.initialization import codes_in, mapped

Response = tuple[Tensor, float]
"""A tensor [N, ...] and the weight of the mean square of its difference from the target."""
Responses = Callable[[Tensor, Tensor], Sequence[Response]]
"""Called with (images, variable): every tensor that the objective compares, with its weight."""

PROBES = 256
DAMPING = 3.0
BATCH = 32


@dataclass(frozen=True)
class Preconditioner:
    """An estimate of the inverse Hessian, (2A + 2μ)⁻¹ for A of low rank.

    Attributes:
        probes: V, [P, D]; A = VᵀV / P.
        solved: (VVᵀ + Pμ)⁻¹ V, [P, D].
        damping: μ, [].
    """

    probes: Tensor
    solved: Tensor
    damping: Tensor

    def __call__(self, gradient: Tensor) -> Tensor:
        """Multiply it with gradients [N, D], by Woodbury's identity."""
        seen = (gradient @ self.probes.T) @ self.solved
        return (gradient - seen) / (2 * self.damping)


def preconditioner(
    *,
    generator: Any,
    space: str,
    responses: Responses,
    noise: str,
    like: Tensor,
    probes: int = PROBES,
) -> Preconditioner:
    """Return the damped inverse of the mean Gauss-Newton matrix at native codes of a space.

    The objective is a sum of mean squares, so its Hessian is about 2·JᵀJ, with J the Jacobian of
    the weighted responses. Each probe is Jᵀu at a code M(z) for a random u: the mean of their outer
    products is the mean of JᵀJ. Probes longer than the median are shortened to it, so that a few
    codes with extreme gradients do not dominate. z and u are drawn from a fixed seed.

    Args:
        generator: frozen G.
        space: "w_plus", "w" or "z".
        responses: what the objective compares.
        noise: the noise of G: "const" or "none".
        like: a tensor with the device and dtype of the result.
        probes: number of probes; each costs one evaluation of the objective.
    """
    rng = torch.Generator().manual_seed(0)
    rows = []
    for first in range(0, probes, BATCH):
        z = torch.randn(min(BATCH, probes - first), generator.z_dim, generator=rng)
        moving = native(z.to(like), space=space, generator=generator)
        w = codes_in(space, moving, generator=generator)
        images = generator.synthesis(w, noise=noise)
        rows.append(_probe(responses(images, moving), moving, rng=rng))
    return _inverse(torch.cat(rows))


@torch.no_grad()
def native(z: Tensor, *, space: str, generator: Any) -> Tensor:
    """Return the code of z [N, z_dim] in a space, as a leaf that requires gradients."""
    if space != "z":
        z = mapped(generator, z)[:, : 1 if space == "w" else None].to(z)
    return z.clone().requires_grad_()


def _probe(found: Sequence[Response], moving: Tensor, *, rng: torch.Generator) -> Tensor:
    """Return Jᵀu for each image: [N, D]."""
    total = moving.new_zeros(())
    for tensor, weight in found:
        u = torch.randn(tensor.shape, generator=rng).to(tensor)
        total = total + (weight / tensor[0].numel()) ** 0.5 * (tensor * u).sum()
    return torch.autograd.grad(total, moving)[0].flatten(1)


def _inverse(probes: Tensor) -> Preconditioner:
    """Return (2A + 2μ)⁻¹ from probes [P, D], with μ a multiple of A's mean eigenvalue."""
    norms = probes.norm(dim=1, keepdim=True)
    v = (probes * (norms.median() / norms).clamp(max=1)).double()
    count, numbers = v.shape
    damping = DAMPING * v.square().sum() / (count * numbers)
    gram = v @ v.T + count * damping * torch.eye(count, dtype=v.dtype, device=v.device)
    return Preconditioner(*(t.to(probes) for t in (v, torch.linalg.solve(gram, v), damping)))
