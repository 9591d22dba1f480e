"""The objectives written out literally, for float64: Eq. 2 and 3, the GAN's, the step of D_w."""

import copy
import functools
from typing import Any

import torch
from torch import Tensor

from idinvert.config.compose import compose_plain
from idinvert.training import schedules
from idinvert.training.clock import random_stream


@functools.cache
def _composed(choice: str, overrides: tuple[str, ...]) -> dict[str, Any]:
    return dict(compose_plain("train", [choice, *overrides])["objective"])


def preset(choice: str, *overrides: str, target: str, **changed: Any) -> dict[str, Any]:
    """The numbers of an objective in ``conf``, without what only the program knows; no flips."""
    node = copy.deepcopy(_composed(choice, overrides))
    assert node.pop("_target_").endswith(target)
    assert node.pop("mirror") is True
    schedule = dict(node.pop("schedule"))
    kind = getattr(schedules, schedule.pop("_target_").rsplit(".", 1)[-1])
    known = {"schedule": kind(**schedule), "lambda_vgg": 0.3, "mirror": False}
    assert changed.keys() <= {*node, *known, "seed"}
    return node | known | changed


def pixels(batch: dict[str, Tensor]) -> Tensor:
    """Images as training sees them: normalised in float32, whatever the networks compute in."""
    return (batch["image"].float() / 127.5 - 1).double()


def log_one_plus_exp(x: Tensor) -> Tensor:
    return torch.log(1 + torch.exp(x))


def encoder_loss(module: Any, x: Tensor, *, lambda_vgg: float, lambda_adv: float, kind: str) -> Any:
    """Eq. (2), image by image, term by term."""
    y = module.generator.synthesis(module.encoder(x), noise="const")
    f_x, f_y, logits = module.perceptual(x), module.perceptual(y), module.discriminator(y)
    pixel = sum(((x[i] - y[i]) ** 2).sum() / x[i].numel() for i in range(len(x))) / len(x)
    vgg = sum(((f_x[i] - f_y[i]) ** 2).sum() / f_x[i].numel() for i in range(len(x))) / len(x)
    adversarial = (-logits if kind == "wgan" else log_one_plus_exp(-logits)).sum() / len(x)
    return pixel + lambda_vgg * vgg + lambda_adv * adversarial, y.detach()


def discriminator_loss(module: Any, x: Tensor, y: Tensor, *, gamma: float, kind: str) -> Any:
    """Eq. (3); the gradient penalty one image at a time."""
    real, fake = module.discriminator(x), module.discriminator(y)
    if kind == "wgan":
        loss = fake.mean() - real.mean()
    else:
        loss = log_one_plus_exp(fake).mean() + log_one_plus_exp(-real).mean()
    return loss + gamma / 2 * penalty(module.discriminator, x) if gamma else loss


def penalty(network: Any, x: Tensor) -> Tensor:
    """R1 without its factor, one image or code ``[N, ...]`` at a time."""
    total = torch.zeros((), dtype=x.dtype)
    for image in x:
        one = image[None].clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(network(one), one, create_graph=True)
        total = total + (gradient**2).sum() / len(x)
    return total


def gradients(loss: Tensor, network: Any, prefix: str) -> dict[str, Tensor]:
    """By name below the prefix, of those parameters that the loss depends on."""
    names, parameters = zip(*network.named_parameters(), strict=True)
    values = torch.autograd.grad(loss, parameters, allow_unused=True)
    found = zip(names, values, strict=True)
    return {f"{prefix}.{name}": value for name, value in found if value is not None}


def adam_first_step(network: Any, gradient: dict[str, Tensor], prefix: str, *, lr: float) -> None:
    """Adam from rest moves every weight by lr * g / (|g| + eps)."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            g = gradient[f"{prefix}.{name}"]
            parameter -= lr * g / (g.abs() + 1e-8)


def latent_term(network: Any, codes: Tensor, *, layers: int) -> Tensor:
    """What E pays to D_w: the mean over images and layers, one code at a time."""
    paid = [
        log_one_plus_exp(-network(codes[n, i][None])[0])
        for n in range(len(codes))
        for i in range(layers)
    ]
    return torch.stack(paid).sum() / len(paid)


def drawn_codes(
    generator: Any, *, count: int, layers: int, seed: int, nimg: int
) -> tuple[Tensor, Tensor]:
    """M(z) ``[count, L, w_dim]`` of a step, and the layer by which each image is shown to D_w."""
    rng = random_stream(purpose="latent adversary", seed=seed, nimg=nimg)
    z = torch.randn(count, generator.z_dim, generator=rng)
    layer = torch.randint(0, layers, (count,), generator=rng)
    with torch.no_grad():
        return generator.mapping(z.double()), layer


def latent_loss(network: Any, real: Tensor, fake: Tensor, *, gamma: float) -> Tensor:
    """D_w's loss on codes ``[N, features]``; the penalty one code at a time."""
    loss = log_one_plus_exp(network(fake)).mean() + log_one_plus_exp(-network(real)).mean()
    return loss + gamma / 2 * penalty(network, real) if gamma else loss


def of_layer(codes: Tensor, layer: Tensor) -> Tensor:
    """One layer's code of each image, ``[N, L, w_dim]`` to ``[N, w_dim]``."""
    return torch.stack([codes[n, i] for n, i in enumerate(layer.tolist())])
