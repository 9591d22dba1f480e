"""Domain-regularised optimisation, the paper's inversion (Sec. 3.2)."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from idinvert.inversion.curvature import Curvature, Response
from idinvert.inversion.descent import Descent
from idinvert.inversion.draw import seed_of
from idinvert.inversion.fit import fit_codes
from idinvert.inversion.inversion import (
    Inversion,
    Progress,
    check_codes,
    check_evaluating,
    check_images,
)
from idinvert.inversion.loop import gradients, plain
from idinvert.inversion.noise import NoiseKind, noise_for
from idinvert.inversion.optimizers import OptimizerName
from idinvert.inversion.perceptual import PerceptualTerm, check_weights, one_layer
from idinvert.inversion.starts import (
    DRAWN,
    INITS,
    Init,
    Space,
    check_choice,
    check_latent,
    check_space,
    check_start,
    encoded_start,
    start_codes,
)
from idinvert.inversion.timing import now
from idinvert.losses.codes import code_loss
from idinvert.losses.pixel import pixel_loss


class InDomainInverter:
    """Start at E(x) and minimise Eq. (4) over the codes, with E as a regulariser.

    The three terms are means over their elements, as in the authors' code; the regulariser's
    gradient flows through E∘G. E includes its offset (Eq. 6) where it has one. The noise maps of an
    encoder that gives some (Sec. 6.3) stay as they are.

    Args:
        encoder: E, images [N, 3, R, R] to codes [N, L, w_dim], in eval mode.
        perceptual: F, images [N, 3, R, R] in [-1, 1] to features [N, C, h, w], in eval mode;
            None only where `lambda_vgg` is 0.
        latent: E's own space: "w_plus", "w" or "z".
        lambda_vgg: weight of the perceptual term.
        lambda_dom: weight of the domain regulariser; 0 leaves E as the starting point only.
        steps: optimisation steps. Differs from the paper: it does not say; the authors' code takes
            100, and 1,000 by their word for Table 1.
        optimizer: "adam", or "lbfgs" or "lbfgs_gn", which take fewer steps (`optimizers.py`).
        lr: Adam's learning rate; the size of L-BFGS's first step.
        betas: Adam's constants.
        schedule: factor on a step: "constant", "cosine" or "ramps".
        init: "encoder" (E(x)), or a start that knows nothing of the image, as `starts.start_codes`
            has them.
        space: "w_plus" moves every layer's code, "w" one code for all layers (the mean of E's), "z"
            the z that M makes codes of, with the regulariser on z too; None for E's own.
        noise: what G is given, fixed throughout: constant buffers (or the encoder's maps), drawn
            by image id, or none.
        seed: for whatever is drawn by image id.
        early_stop: freeze an image after this many steps without a gain; None for never.
        early_stop_gain: the share of its loss that an image must have lost for that to be a gain.
        keep_best: return the iterate of least loss of every image, not the last one.

    Raises:
        ConfigError: if `lambda_vgg` is not 0 and there is no `perceptual`, a value makes no sense,
            or z shall move and E gives none.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        perceptual: nn.Module | None,
        latent: str = "w_plus",
        lambda_vgg: float = 5e-5,
        lambda_dom: float = 2.0,
        steps: int = 100,
        optimizer: OptimizerName = "adam",
        lr: float = 0.01,
        betas: Sequence[float] = (0.9, 0.999),
        schedule: str = "constant",
        init: Literal["encoder"] | Init = "encoder",
        space: Space | None = None,
        noise: NoiseKind = "const",
        seed: int = 0,
        early_stop: int | None = None,
        early_stop_gain: float = 0.01,
        keep_best: bool = True,
    ) -> None:
        check_weights(perceptual=perceptual, lambda_vgg=lambda_vgg, lambda_dom=lambda_dom)
        check_choice(init, ("encoder", *INITS), key="inversion.init")
        self.encoder, self.perceptual = encoder, perceptual
        self.lambda_vgg, self.lambda_dom = lambda_vgg, lambda_dom
        self.descent = Descent(
            steps=steps,
            optimizer=optimizer,
            lr=lr,
            betas=betas,
            schedule=schedule,
            early_stop=early_stop,
            early_stop_gain=early_stop_gain,
            keep_best=keep_best,
        )
        self.init = init
        self.space = check_latent(latent, space, needs_z=init == "encoder" or lambda_dom > 0)
        if init != "encoder":
            check_start(init, space=self.space)
        self.noise: NoiseKind = noise
        self.seed = seed
        self.curvature = Curvature()

    @property
    def networks(self) -> Sequence[nn.Module]:
        """E and F."""
        return [net for net in (self.encoder, self.perceptual) if net is not None]

    @property
    def settings(self) -> dict[str, Any]:
        """The choices that a record keeps."""
        return {
            "method": "in_domain",
            **self.descent.settings,
            "lambda_vgg": self.lambda_vgg,
            "lambda_dom": self.lambda_dom,
            "init": self.init,
            "space": self.space,
            "noise": self.noise,
            **seed_of(self.seed, drawn=self.noise == "random" or self.init in DRAWN),
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
        space = self.space
        check_space(space, generator=generator)
        begin = now(images.device)

        with gradients():
            x = plain(images)
            with torch.no_grad():
                encoding = self.encoder.encode(x)  # type: ignore[operator]
                check_codes(encoding.codes, generator=generator)
            if self.init == "encoder":
                start = encoded_start(encoding, space=space, like=x)
            else:
                start = start_codes(
                    self.init, space=space, generator=generator, ids=ids, seed=self.seed, like=x
                )
            perceptual = None
            if self.perceptual is not None and self.lambda_vgg:
                features = one_layer(self.perceptual)
                perceptual = PerceptualTerm(features, weight=self.lambda_vgg, target=x)
            noise = noise_for(
                self.noise,
                generator=generator,
                ids=ids,
                seed=self.seed,
                like=x,
                encoded=encoding.noise,
            )

            # E in the space that moves: [N, L, w_dim], or z [N, z_dim].
            encoder: Any = self.encoder.z if space == "z" else self.encoder

            def objective(g: Tensor, w: Tensor) -> dict[str, Tensor]:
                terms = {"pixel": pixel_loss(x, g)}  # Eq. (4), first term
                if perceptual is not None:
                    terms["perceptual"] = perceptual(g)  # Eq. (4), second term
                if self.lambda_dom:
                    d = code_loss(*torch.broadcast_tensors(w, encoder(g).to(x.dtype)))
                    terms["domain"] = self.lambda_dom * d  # Eq. (4), third term
                return terms

            def responses(g: Tensor, w: Tensor) -> list[Response]:
                found = [(g, 1.0), *(perceptual.responses(g) if perceptual is not None else ())]
                if self.lambda_dom:
                    found.append((w - encoder(g), self.lambda_dom))
                return found

            return fit_codes(
                start,
                space=space,
                generator=generator,
                noise=noise,
                objective=objective,
                descent=self.descent,
                begin=begin,
                progress=progress,
                curvature=self.curvature,
                responses=responses,
            )
