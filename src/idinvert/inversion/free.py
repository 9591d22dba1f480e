"""Free optimisation: Eq. (4) without its regulariser and without an encoder."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from idinvert.inversion.curvature import Curvature, Response
from idinvert.inversion.descent import Descent
from idinvert.inversion.draw import seed_of
from idinvert.inversion.fit import fit_codes
from idinvert.inversion.inversion import Inversion, Progress, check_evaluating, check_images
from idinvert.inversion.loop import gradients, plain
from idinvert.inversion.noise import NoiseKind, noise_for
from idinvert.inversion.optimizers import OptimizerName
from idinvert.inversion.perceptual import PerceptualTerm, check_weights, one_layer
from idinvert.inversion.starts import (
    DRAWN,
    SPACES,
    Init,
    Space,
    check_choice,
    check_space,
    check_start,
    start_codes,
)
from idinvert.inversion.timing import now
from idinvert.losses.pixel import pixel_loss


class FreeInverter:
    """Minimise the first two terms of Eq. (4), from a code that knows nothing of the image.

    What Fig. 1(b), top, calls optimising the code "freely" based on the generator only; a row of
    ours beside the paper's, for what the encoder's start and its regulariser each bring.

    Args:
        perceptual: F, images [N, 3, R, R] in [-1, 1] to features [N, C, h, w], in eval mode;
            None only where `lambda_vgg` is 0.
        lambda_vgg: weight of the perceptual term.
        steps: optimisation steps.
        optimizer: "adam", or "lbfgs" or "lbfgs_gn", which take fewer steps (`optimizers.py`).
        lr: Adam's learning rate; the size of L-BFGS's first step.
        betas: Adam's constants.
        schedule: factor on a step: "constant", "cosine" or "ramps".
        init: "random" (M of a z drawn by image id), "mean" (w̄), "normal" (the authors' own start
            without an encoder) or "uniform", as `starts.start_codes` has them.
        space: "w_plus" moves every layer's code, "w" one code for all layers, "z" the z that M
            makes codes of.
        noise: what G is given, fixed throughout: constant buffers, drawn by image id, or none.
        seed: for whatever is drawn by image id.
        early_stop: freeze an image after this many steps without a gain; None for never.
        early_stop_gain: the share of its loss that an image must have lost for that to be a gain.
        keep_best: return the iterate of least loss of every image, not the last one.

    Raises:
        ConfigError: if `lambda_vgg` is not 0 and there is no `perceptual`, or a value makes no
            sense.

    Source: Eq. (4) with λ_dom = 0; Sec. 3.2.
    """

    def __init__(
        self,
        *,
        perceptual: nn.Module | None,
        lambda_vgg: float = 5e-5,
        steps: int = 1000,
        optimizer: OptimizerName = "adam",
        lr: float = 0.01,
        betas: Sequence[float] = (0.9, 0.999),
        schedule: str = "constant",
        init: Init = "random",
        space: Space = "w_plus",
        noise: NoiseKind = "const",
        seed: int = 0,
        early_stop: int | None = None,
        early_stop_gain: float = 0.01,
        keep_best: bool = True,
    ) -> None:
        check_weights(perceptual=perceptual, lambda_vgg=lambda_vgg)
        check_choice(space, SPACES, key="inversion.space")
        check_start(init, space=space)
        self.perceptual = perceptual
        self.lambda_vgg = lambda_vgg
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
        self.init, self.space = init, space
        self.noise: NoiseKind = noise
        self.seed = seed
        self.curvature = Curvature()

    @property
    def networks(self) -> Sequence[nn.Module]:
        """F."""
        return [] if self.perceptual is None else [self.perceptual]

    @property
    def settings(self) -> dict[str, Any]:
        """The choices that a record keeps."""
        return {
            "method": "free",
            **self.descent.settings,
            "lambda_vgg": self.lambda_vgg,
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
        """Optimise the codes of a batch; see `Inverter.invert`.

        Returns:
            The kept iterate of every image, its terms "pixel" and "perceptual" (where its weight
            is not 0), weighted.

        Raises:
            ConfigError: if images and generator do not fit, a network is in training mode, or
                something is drawn and there are no ids.
        """
        check_images(images, generator=generator)
        check_evaluating(self.perceptual, generator)
        check_space(self.space, generator=generator)
        begin = now(images.device)

        with gradients():
            x = plain(images)
            start = start_codes(
                self.init, space=self.space, generator=generator, ids=ids, seed=self.seed, like=x
            )
            perceptual = None
            if self.perceptual is not None and self.lambda_vgg:
                features = one_layer(self.perceptual)
                perceptual = PerceptualTerm(features, weight=self.lambda_vgg, target=x)
            noise = noise_for(self.noise, generator=generator, ids=ids, seed=self.seed, like=x)

            def objective(g: Tensor, w: Tensor) -> dict[str, Tensor]:
                terms = {"pixel": pixel_loss(x, g)}  # Eq. (4), first term
                if perceptual is not None:
                    terms["perceptual"] = perceptual(g)  # Eq. (4), second term
                return terms

            def responses(g: Tensor, w: Tensor) -> list[Response]:
                return [(g, 1.0), *(perceptual.responses(g) if perceptual is not None else ())]

            return fit_codes(
                start,
                space=self.space,
                generator=generator,
                noise=noise,
                objective=objective,
                descent=self.descent,
                begin=begin,
                progress=progress,
                curvature=self.curvature,
                responses=responses,
            )
