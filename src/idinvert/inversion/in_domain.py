"""Domain-regularised optimisation, the paper's inversion (Sec. 3.2)."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from idinvert.errors import ConfigError
from idinvert.inversion.inversion import (
    Inversion,
    Progress,
    check_codes,
    check_evaluating,
    check_images,
)
from idinvert.inversion.loop import gradients, optimise, plain
from idinvert.inversion.noise import NoiseKind, noise_for
from idinvert.inversion.timing import now
from idinvert.losses.codes import code_loss
from idinvert.losses.perceptual import feature_loss
from idinvert.losses.pixel import pixel_loss


class InDomainInverter:
    """Start at E(x) and minimise Eq. (4) over the codes, with E as a regulariser.

    The three terms are means over their elements, as in the authors' code; the regulariser's
    gradient flows through E∘G. E includes its offset (Eq. 6) where it has one.

    Args:
        encoder: E, images [N, 3, R, R] to codes [N, L, w_dim], in eval mode.
        perceptual: F, images [N, 3, R, R] in [-1, 1] to features [N, C, h, w], in eval mode;
            None only where `lambda_vgg` is 0.
        lambda_vgg: weight of the perceptual term.
        lambda_dom: weight of the domain regulariser; 0 leaves E as the starting point only.
        steps: Adam steps. Differs from the paper: it does not say; the authors' code takes 100,
            and 1,000 by their word for Table 1.
        lr: Adam's learning rate.
        betas: Adam's constants.
        latent: "w_plus" moves every layer's code, "w" one code for all layers (the mean of E's).
        noise: what G is given, fixed throughout: constant buffers, drawn by image id, or none.
        seed: for noise drawn by image id.
        keep_best: return the iterate of least loss of every image, not the last one.

    Raises:
        ConfigError: if `lambda_vgg` is not 0 and there is no `perceptual`, or a weight is negative.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        perceptual: nn.Module | None,
        lambda_vgg: float = 5e-5,
        lambda_dom: float = 2.0,
        steps: int = 100,
        lr: float = 0.01,
        betas: tuple[float, float] = (0.9, 0.999),
        latent: Literal["w_plus", "w"] = "w_plus",
        noise: NoiseKind = "const",
        seed: int = 0,
        keep_best: bool = True,
    ) -> None:
        if perceptual is None and lambda_vgg != 0:
            raise ConfigError(
                f"inversion.lambda_vgg is {lambda_vgg}, but there is no perceptual network: "
                "give one, or set inversion.lambda_vgg=0"
            )
        if lambda_vgg < 0 or lambda_dom < 0 or steps < 0 or lr <= 0:
            raise ConfigError(
                f"got lambda_vgg={lambda_vgg}, lambda_dom={lambda_dom}, steps={steps}, lr={lr}: "
                "expected weights and steps of 0 or more and lr above 0; change inversion.*"
            )
        if latent not in ("w_plus", "w"):
            raise ConfigError(f"inversion.latent is {latent!r}: expected w_plus or w")
        self.encoder = encoder
        self.perceptual = perceptual
        self.lambda_vgg = lambda_vgg
        self.lambda_dom = lambda_dom
        self.steps = steps
        self.lr = lr
        self.betas = (float(betas[0]), float(betas[1]))
        self.latent = latent
        self.noise: NoiseKind = noise
        self.seed = seed
        self.keep_best = keep_best

    @property
    def networks(self) -> Sequence[nn.Module]:
        """E and F."""
        return [net for net in (self.encoder, self.perceptual) if net is not None]

    @property
    def settings(self) -> dict[str, Any]:
        """The choices that a record keeps."""
        return {
            "method": "in_domain",
            "steps": self.steps,
            "lr": self.lr,
            "betas": list(self.betas),
            "lambda_vgg": self.lambda_vgg,
            "lambda_dom": self.lambda_dom,
            "latent": self.latent,
            "noise": self.noise,
            "keep_best": self.keep_best,
        }

    def invert(
        self,
        images: Tensor,
        *,
        generator: Any,
        ids: Tensor | None = None,
        progress: Progress | None = None,
    ) -> Inversion:
        """Minimise Eq. (4) for a batch; works under `no_grad` and `inference_mode` callers.

        Args:
            images: targets x, float [N, 3, R, R] in [-1, 1].
            generator: frozen G in eval mode.
            ids: image ids, int64 [N]; needed where noise is drawn.
            progress: called with (steps done, steps in all).

        Returns:
            The best iterate of every image, its terms "pixel", "perceptual" and "domain" (those
            whose weight is not 0), weighted.

        Raises:
            ConfigError: if images, encoder and generator do not fit, or a network is in training
                mode.
        """
        check_images(images, generator=generator)
        check_evaluating(self.encoder, self.perceptual, generator)
        encode, features = self.encoder, self.perceptual
        layers = generator.num_layers
        begin = now(images.device)

        with gradients():
            x = plain(images)
            with torch.no_grad():
                w = encode(x).to(x.dtype)  # [N, L, w_dim]; never optimised in half precision
                check_codes(w, generator=generator)
                if self.latent == "w":
                    w = w.mean(1, keepdim=True)  # [N, 1, w_dim]
                target = None
                if features is not None and self.lambda_vgg:
                    target = features(x).to(x.dtype)  # once, not every step
            noise, maps = noise_for(
                self.noise, generator=generator, ids=ids, seed=self.seed, like=x
            )

            def synthesise(w: Tensor) -> Tensor:
                return generator.synthesis(w.expand(-1, layers, -1), noise=noise)

            def objective(g: Tensor, w: Tensor) -> dict[str, Tensor]:
                terms = {"pixel": pixel_loss(x, g)}  # Eq. (4), first term
                if target is not None and features is not None:
                    f = feature_loss(target, features(g).to(x.dtype))
                    terms["perceptual"] = self.lambda_vgg * f  # Eq. (4), second term
                if self.lambda_dom:
                    d = code_loss(w.expand(-1, layers, -1), encode(g).to(x.dtype))
                    terms["domain"] = self.lambda_dom * d  # Eq. (4), third term
                return terms

            found = optimise(
                start=[w],
                synthesise=synthesise,
                objective=objective,
                steps=self.steps,
                lr=self.lr,
                betas=self.betas,
                keep_best=self.keep_best,
                progress=progress,
            )
        return Inversion(
            codes=found.variables[0].expand(-1, layers, -1).contiguous(),
            images=found.images,
            losses=found.losses,
            terms=found.terms,
            seconds=(now(images.device) - begin) / len(images),
            start_images=found.start_images,
            best_step=found.best_step,
            failed=found.failed,
            noise=maps,
        )
