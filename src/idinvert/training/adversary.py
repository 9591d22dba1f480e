"""A discriminator beside E: what E pays it, and what it pays itself, for images and for codes."""

import torch
from torch import Tensor, nn

from idinvert.losses.adversarial import discriminator_adversarial, encoder_adversarial
from idinvert.losses.gradient_penalty import r1
from idinvert.training.frozen import full_precision, set_trainable


def adversarial_term(discriminator: nn.Module, fakes: Tensor, *, kind: str) -> Tensor:
    """What E pays for ``fakes`` that D takes for fakes; no gradient goes into D.

    Args:
        discriminator: D.
        fakes: What E made, ``[N, ...]``.
        kind: See `losses.adversarial.KINDS`.

    Returns:
        The mean, unweighted.

    Source:
        Third term of Eq. (2).
    """
    set_trainable(discriminator, False)
    with full_precision(fakes.device):
        logits = discriminator(fakes.to(dtype_of(discriminator)))
    return encoder_adversarial(logits, kind=kind).mean()


def discriminator_loss(
    discriminator: nn.Module,
    real: Tensor,
    fakes: Tensor,
    *,
    kind: str,
    r1_gamma: float,
    r1_every: int,
    step: int,
) -> tuple[Tensor, dict[str, Tensor]]:
    """D's loss of one step, and its parts.

    Args:
        discriminator: D.
        real: What D shall take for real, ``[N, ...]``.
        fakes: What E made, of the same shape, without a graph.
        kind: See `losses.adversarial.KINDS`.
        r1_gamma: The gamma of Eq. (3).
        r1_every: Steps between two penalties; each counts so many times.
        step: Steps done before this one: images seen by images a step, so that a resumed run
            penalises where an unbroken one does.

    Returns:
        The loss, and ``logit/real``, ``logit/fake``, ``loss/r1`` (where due) and
        ``loss/discriminator``.

    Source:
        Eq. (3).
    """
    set_trainable(discriminator, True)
    penalised = r1_gamma > 0 and step % r1_every == 0
    dtype = dtype_of(discriminator)
    with full_precision(real.device):
        real = real.detach().to(dtype).requires_grad_(penalised)
        real_logits = discriminator(real)
        fake_logits = discriminator(fakes.to(dtype))
        on_real, on_fake = discriminator_adversarial(real_logits, fake_logits, kind=kind)
        loss = on_real.mean() + on_fake.mean()
        terms = {"logit/real": real_logits.mean(), "logit/fake": fake_logits.mean()}
        if penalised:
            penalty = r1(real_logits, real).mean()
            loss = loss + r1_gamma / 2 * r1_every * penalty  # Eq. (3)
            terms["loss/r1"] = r1_gamma / 2 * penalty
    return loss, terms | {"loss/discriminator": loss}


def dtype_of(network: nn.Module) -> torch.dtype:
    """The type of a network's parameters."""
    return next(network.parameters()).dtype
