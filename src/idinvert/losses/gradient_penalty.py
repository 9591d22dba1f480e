"""The gradient penalty of Eq. 3 (R1)."""

import torch
from torch import Tensor


def r1(logits: Tensor, images: Tensor) -> Tensor:
    """Squared norm of D's gradient with respect to each real image.

    Each logit must depend on its own image; the gradient of their sum is then the gradient of each
    (minibatch standard deviation mixes images slightly, in StyleGAN's own R1 too).

    Args:
        logits: ``D(x)``, ``[N]``, computed from `images` with gradients on.
        images: x, ``[N, 3, R, R]``, a leaf or an intermediate that requires gradients.

    Returns:
        ``[N]``; differentiable. Multiply by gamma / 2.

    Raises:
        ValueError: The images do not require gradients.

    Source:
        Last term of Eq. (3) without its factor.
    """
    if not images.requires_grad:
        raise ValueError("r1: the images do not require gradients; call requires_grad_() before D")
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(1)  # Eq. (3): ||grad_x D(x)||^2
