"""The adversarial terms: values against numpy, and who wants what from D."""

import numpy as np
import pytest
import torch

from idinvert.errors import ConfigError
from idinvert.losses.terms import discriminator_adversarial, encoder_adversarial

LOGITS = torch.tensor([-30.0, -2.0, 0.0, 0.7, 30.0], dtype=torch.float64)


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0.0, x)


def test_logistic_values() -> None:
    fake = LOGITS.flip(0)
    x, y = LOGITS.numpy(), fake.numpy()
    np.testing.assert_allclose(encoder_adversarial(LOGITS).numpy(), softplus(-x), rtol=1e-9)
    real_term, fake_term = discriminator_adversarial(LOGITS, fake)
    np.testing.assert_allclose(real_term.numpy(), softplus(-x), rtol=1e-9)
    np.testing.assert_allclose(fake_term.numpy(), softplus(y), rtol=1e-9)


def test_wgan_values_as_printed() -> None:
    fake = LOGITS.flip(0)
    torch.testing.assert_close(encoder_adversarial(LOGITS, "wgan"), -LOGITS)
    real_term, fake_term = discriminator_adversarial(LOGITS, fake, "wgan")
    # Eq. (3): E[D(G(E(x)))] - E[D(x)]
    torch.testing.assert_close((real_term + fake_term).mean(), fake.mean() - LOGITS.mean())


@pytest.mark.parametrize("kind", ["logistic", "wgan"])
def test_descent_raises_what_each_side_wants_raised(kind: str) -> None:
    real = torch.zeros(3, requires_grad=True)
    fake = torch.zeros(3, requires_grad=True)
    (for_encoder,) = torch.autograd.grad(encoder_adversarial(fake, kind).sum(), fake)
    assert (for_encoder < 0).all(), "a descent step of E raises D of the reconstruction"
    terms = discriminator_adversarial(real, fake, kind)
    on_real, on_fake = torch.autograd.grad(sum(term.sum() for term in terms), (real, fake))
    assert (on_real < 0).all(), "a descent step of D raises D of the real image"
    assert (on_fake > 0).all(), "a descent step of D lowers D of the reconstruction"


@pytest.mark.parametrize("shape", [(), (4,)])
def test_terms_are_per_image(shape) -> None:
    logits = torch.zeros(shape)
    assert encoder_adversarial(logits).shape == shape
    assert all(t.shape == shape for t in discriminator_adversarial(logits, logits))


def test_unknown_kind_names_the_key() -> None:
    with pytest.raises(ConfigError, match=r"'hinge'.*logistic.*objective\.adversarial"):
        encoder_adversarial(LOGITS, "hinge")
    with pytest.raises(ConfigError, match=r"objective\.adversarial"):
        discriminator_adversarial(LOGITS, LOGITS, "hinge")
