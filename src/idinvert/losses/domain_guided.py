"""The two losses of the domain-guided encoder: Eq. (2) for E and Eq. (3) for D (Sec. 3.1)."""

import torch
from torch import Tensor, nn

from idinvert.losses.terms import (
    discriminator_adversarial,
    encoder_adversarial,
    feature_loss,
    pixel_loss,
    r1,
)
from idinvert.networks.mapping import with_labels


def encoder_loss(
    x: Tensor,
    y: Tensor,
    *,
    perceptual: nn.Module | None,
    lambda_vgg: float,
    discriminator: nn.Module | None = None,
    lambda_adv: float = 0.0,
    adversarial: str = "logistic",
    labels: Tensor | None = None,
) -> dict[str, Tensor]:
    """Returns the weighted terms of Eq. (2), each a mean over the batch; E's loss is their sum.

    L_E = ‖x − G(E(x))‖² + λ_vgg ‖F(x) − F(G(E(x)))‖² − λ_adv E[D(G(E(x)))]

    Args:
        x: Images, ``[N, 3, R, R]`` in [-1, 1].
        y: Reconstructions G(E(x)), of the same shape.
        perceptual: F; None leaves the second term out.
        lambda_vgg: Weight of the second term; 0 leaves it out.
        discriminator: D; None leaves the third term out. No gradient flows into D's parameters.
        lambda_adv: Weight of the third term.
        adversarial: See `losses.terms.KINDS`.
        labels: Labels of the images, ``[N, c_dim]``, for a conditional D.

    Returns:
        ``loss/pixel`` and, unless left out, ``loss/perceptual`` and ``loss/adversarial``.

    Differs from the paper:
        The third term is printed linear in D; the default is softplus(-D), as in the authors' code.
    """
    terms = {"loss/pixel": pixel_loss(x, y).mean()}
    if perceptual is not None and lambda_vgg > 0:
        with torch.no_grad():
            f_x = perceptual(x)
        terms["loss/perceptual"] = lambda_vgg * feature_loss(f_x, perceptual(y)).mean()
    if discriminator is not None:
        terms["loss/adversarial"] = lambda_adv * adversarial_term(
            discriminator, y, kind=adversarial, labels=labels
        )
    return terms


def adversarial_term(
    discriminator: nn.Module, fakes: Tensor, *, kind: str, labels: Tensor | None = None
) -> Tensor:
    """Returns the unweighted third term of Eq. (2), a mean over the fakes of E, ``[N, ...]``."""
    discriminator.requires_grad_(False)
    with torch.autocast(fakes.device.type, enabled=False):  # D's logits need float32
        logits = with_labels(discriminator, fakes.to(dtype_of(discriminator)), labels)
    return encoder_adversarial(logits, kind=kind).mean()


def discriminator_loss(
    discriminator: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    kind: str,
    r1_gamma: float,
    r1_every: int,
    step: int,
    labels: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Returns D's loss of one step, Eq. (3), and its terms.

    L_D = E[D(G(E(x)))] − E[D(x)] + γ/2 E[‖∇_x D(x)‖²]

    Args:
        discriminator: D, of images or of codes.
        x: Real samples, ``[N, ...]``.
        y: Fake samples made by E, of the same shape, without a graph.
        kind: See `losses.terms.KINDS`.
        r1_gamma: γ.
        r1_every: Steps between two penalties; each is multiplied by ``r1_every``.
        step: Number of steps before this one (images seen / images per step), so that a resumed
            run applies the penalty in the same steps as an uninterrupted one.
        labels: Labels of the images, ``[N, c_dim]``, for a conditional D.

    Returns:
        The loss, and ``logit/real``, ``logit/fake``, ``loss/r1`` (in steps with a penalty) and
        ``loss/discriminator``.

    Differs from the paper:
        The first two terms are printed linear in D; the defaults are softplus(D) and softplus(-D),
        as in the authors' code.
    """
    discriminator.requires_grad_(True)
    penalised = r1_gamma > 0 and step % r1_every == 0
    dtype = dtype_of(discriminator)
    with torch.autocast(x.device.type, enabled=False):  # R1 needs float32
        x = x.detach().to(dtype).requires_grad_(penalised)
        real_logits = with_labels(discriminator, x, labels)
        fake_logits = with_labels(discriminator, y.to(dtype), labels)
        on_real, on_fake = discriminator_adversarial(real_logits, fake_logits, kind=kind)
        loss = on_real.mean() + on_fake.mean()
        terms = {"logit/real": real_logits.mean(), "logit/fake": fake_logits.mean()}
        if penalised:
            penalty = r1(real_logits, x).mean()
            loss = loss + r1_gamma / 2 * r1_every * penalty
            terms["loss/r1"] = r1_gamma / 2 * penalty
    return loss, terms | {"loss/discriminator": loss}


def dtype_of(network: nn.Module) -> torch.dtype:
    """Returns the dtype of a network's parameters."""
    return next(network.parameters()).dtype
