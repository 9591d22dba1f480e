"""The adversarial terms of Eq. 2 and Eq. 3, in both readings."""

from torch import Tensor
from torch.nn import functional

from idinvert.errors import ConfigError

KINDS = ("logistic", "wgan")


def encoder_adversarial(logits: Tensor, kind: str = "logistic") -> Tensor:
    """What E pays for reconstructions that D takes for fakes.

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
    """What D pays for real images taken for fakes, and for fakes taken for real ones.

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
