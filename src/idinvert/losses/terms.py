"""The terms of the objectives as pure functions of tensors, with one value per image."""

import torch
from torch import Tensor
from torch.nn import functional

from idinvert.errors import ConfigError

KINDS = ("logistic", "wgan")


def pixel_loss(x: Tensor, y: Tensor) -> Tensor:
    """Returns the mean squared difference of two batches of images.

    Args:
        x: Images ``[N, 3, H, W]`` in [-1, 1].
        y: Images of the same shape.

    Returns:
        ``[N]``, the mean over channels and pixels of each image.

    Raises:
        ValueError: The shapes differ.

    Source:
        First term of Eq. (2) and Eq. (4); the mean over elements follows the authors' code.
    """
    if x.shape != y.shape:
        raise ValueError(f"pixel loss: got shapes {tuple(x.shape)} and {tuple(y.shape)}")
    return (x - y).square().flatten(1).mean(1)  # Eq. (2), Eq. (4): ||x - G(z)||


def feature_loss(f_x: Tensor, f_y: Tensor) -> Tensor:
    """Returns the mean squared difference of two batches of features.

    Args:
        f_x: Features ``[N, C, h, w]`` of the targets.
        f_y: Features of the reconstructions, of the same shape.

    Returns:
        ``[N]``, the mean over all feature elements of each image.

    Raises:
        ValueError: The shapes differ.

    Source:
        Second term of Eq. (2) and Eq. (4); the mean over elements follows the authors' code.
    """
    if f_x.shape != f_y.shape:
        raise ValueError(f"feature loss: got shapes {tuple(f_x.shape)} and {tuple(f_y.shape)}")
    return (f_x - f_y).square().flatten(1).mean(1)  # Eq. (2), Eq. (4): ||F(x) - F(G(z))||


def absolute_loss(f_x: Tensor, f_y: Tensor) -> Tensor:
    """Returns the mean absolute difference of two batches of features.

    Args:
        f_x: Features ``[N, C, h, w]`` of the targets.
        f_y: Features of the reconstructions, of the same shape.

    Returns:
        ``[N]``, the mean over all feature elements of each image.

    Source:
        Perceptual term of mGANprior (Gu et al. 2020, arXiv 1912.07116), Eq. (4) there.
    """
    return (f_x - f_y).abs().flatten(1).mean(1)


def code_loss(z: Tensor, z2: Tensor) -> Tensor:
    """Returns the mean squared difference of two batches of codes.

    Args:
        z: Codes ``[N, L, w_dim]`` (or ``[N, w_dim]``).
        z2: Codes of the same shape.

    Returns:
        ``[N]``, the mean over layers and dimensions of each image.

    Raises:
        ValueError: The shapes differ.

    Source:
        Eq. (1); third term of Eq. (4). The mean over elements follows the authors' code.
    """
    if z.shape != z2.shape:
        raise ValueError(f"code loss: got shapes {tuple(z.shape)} and {tuple(z2.shape)}")
    return (z - z2).square().flatten(1).mean(1)  # Eq. (1), Eq. (4): ||z - E(G(z))||


def encoder_adversarial(logits: Tensor, kind: str = "logistic") -> Tensor:
    """Returns E's loss for reconstructions that D classifies as fake.

    Args:
        logits: ``D(G(E(x)))``, ``[N]``.
        kind: ``"logistic"``, softplus(-D), or ``"wgan"``, -D as printed.

    Returns:
        ``[N]``.

    Raises:
        ConfigError: Unknown kind.

    Source:
        Third term of Eq. (2).

    Differs from the paper:
        The default is the non-saturating logistic loss of the authors' code.
    """
    check_kind(kind)
    if kind == "wgan":
        return -logits  # Eq. (2): -E[D(G(E(x)))]
    return functional.softplus(-logits)


def discriminator_adversarial(
    real_logits: Tensor, fake_logits: Tensor, kind: str = "logistic"
) -> tuple[Tensor, Tensor]:
    """Returns D's losses for real images classified as fake, and fakes classified as real.

    Args:
        real_logits: ``D(x)``, ``[N]``.
        fake_logits: ``D(G(E(x)))``, ``[N]``.
        kind: ``"logistic"``, softplus(-real) and softplus(fake), or ``"wgan"``, -real and fake.

    Returns:
        The real and the fake term, each ``[N]``; Eq. (3) is the sum of their means.

    Raises:
        ConfigError: Unknown kind.

    Source:
        First two terms of Eq. (3).

    Differs from the paper:
        The default is the logistic loss of the authors' code.
    """
    check_kind(kind)
    if kind == "wgan":
        return -real_logits, fake_logits  # Eq. (3): E[D(G(E(x)))] - E[D(x)]
    return functional.softplus(-real_logits), functional.softplus(fake_logits)


def check_kind(kind: str) -> None:
    """Refuses a kind that is not one of `KINDS`.

    Raises:
        ConfigError: Unknown kind.
    """
    if kind not in KINDS:
        raise ConfigError(
            f"adversarial loss: got {kind!r}, expected one of {list(KINDS)}; "
            "change objective.adversarial"
        )


def r1(logits: Tensor, images: Tensor) -> Tensor:
    """Returns the squared norm of D's gradient with respect to each real image.

    Each logit must depend on its own image; then the gradient of their sum contains the gradient of
    each (minibatch standard deviation mixes images slightly, also in StyleGAN's own R1).

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


def delta_loss(codes: Tensor) -> Tensor:
    """Returns the sum over layers of the distance between each layer's code and the first layer's.

    Args:
        codes: ``[N, K, w_dim]``: the first layer and the layers that may differ from it.

    Returns:
        ``[N]``: sum over i of ||w_i - w_0||, the Euclidean norm, not its square.

    Source:
        L_d-reg of Tov et al. 2021 (arXiv 2102.02766).
    """
    deltas = codes[:, 1:] - codes[:, :1]  # [N, K - 1, w_dim]
    # vector_norm's gradient at zero, where every delta starts, is zero and not NaN.
    return deltas.norm(dim=2).sum(1)


def path_lengths(images: Tensor, codes: Tensor, directions: Tensor) -> Tensor:
    """Returns the norm of the gradient of <g(w), y> with respect to w for each image.

    Args:
        images: g(w), ``[N, 3, R, R]``, computed from `codes` with gradients on.
        codes: w, ``[N, L, w_dim]``, one per layer, equal or not.
        directions: y, of the shape of the images, drawn from N(0, I).

    Returns:
        ``||J^T y||`` for each image, ``[N]``; differentiable. The square is summed over w_dim and
        averaged over layers; y is scaled by 1 / R, so that the result does not depend on R.

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
    """Returns the squared distance of each length ``[N]`` from their running mean a, ``[N]``.

    Source:
        Karras et al. 2020 (arXiv 1912.04958), Eq. (4).
    """
    return (lengths - mean).square()
