"""How far an image moves when its code does, for path-length regularisation (StyleGAN2)."""

import torch
from torch import Tensor


def path_lengths(images: Tensor, codes: Tensor, directions: Tensor) -> Tensor:
    """Length of the step of each code that moves its image one unit along a direction.

    Args:
        images: g(w), ``[N, 3, R, R]``, computed from `codes` with gradients on.
        codes: w, ``[N, L, w_dim]``, one a layer, equal or not.
        directions: y, of the images' shape, drawn from N(0, I).

    Returns:
        ``||J^T y||`` for each image, ``[N]``; differentiable. The square is summed over w_dim and
        averaged over layers; y is scaled by 1 / R, so that resolution plays no part.

    Raises:
        ValueError: The images do not depend on the codes.

    Source:
        Karras et al. 2020 (arXiv 1912.04958), Eq. (4) and Appendix B.
    """
    if not images.requires_grad or not codes.requires_grad:
        raise ValueError("path_lengths: the images must be computed from codes that need gradients")
    along = (images * directions).sum() / images.shape[-1]
    (gradient,) = torch.autograd.grad(along, codes, create_graph=True)  # J^T y, [N, L, w_dim]
    return gradient.square().sum(dim=2).mean(dim=1).sqrt()


def path_length_penalty(lengths: Tensor, mean: float | Tensor) -> Tensor:
    """Squared distance of each length ``[N]`` from their running mean a, ``[N]``.

    Source:
        Karras et al. 2020 (arXiv 1912.04958), Eq. (4).
    """
    return (lengths - mean).square()
