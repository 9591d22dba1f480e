"""Image2StyleGAN, the optimisation that the paper compares with."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from idinvert.inversion.curvature import Curvature, Response
from idinvert.inversion.descent import Descent
from idinvert.inversion.draw import seed_of
from idinvert.inversion.fit import fit_codes
from idinvert.inversion.inversion import Inversion, Progress, check_evaluating, check_images
from idinvert.inversion.loop import gradients, plain
from idinvert.inversion.noise import NoiseKind, noise_for
from idinvert.inversion.optimizers import OptimizerName
from idinvert.inversion.perceptual import PerceptualTerm, all_taps, check_weights
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


class Image2StyleGANInverter:
    """Optimise the codes of W+ from w̄ on pixels and several layers of F, with no encoder.

    The objective is λ_pixel · mean (x − G(w))² + λ_vgg · Σ over layers of the mean squared
    difference of features: each term is divided by its number of elements. The layers are conv1_1,
    conv1_2, conv3_2 and conv4_2 (after their ReLU) where F is VGG16, and otherwise all that F taps.

    Args:
        perceptual: F, with a method `taps(images) -> list[Tensor]`, in eval mode; None only where
            `lambda_vgg` is 0.
        lambda_pixel: weight of the pixel term.
        lambda_vgg: weight of each layer's term; see `lambda_on`.
        steps: optimisation steps.
        optimizer: "adam", or "lbfgs" or "lbfgs_gn", which take fewer steps (`optimizers.py`).
        lr: Adam's learning rate; the size of L-BFGS's first step.
        betas: Adam's constants.
        schedule: factor on a step: "constant", "cosine" or "ramps".
        init: "mean" (w̄; theirs for faces), "uniform" (theirs for other images), "random" or
            "normal", as `starts.start_codes` has them.
        space: "w_plus", "w" for one code for all layers, or "z" for the z that M makes codes of (it
            has no w̄: `init` "random").
        noise: what G is given, fixed throughout: constant buffers, drawn by image id, or none.
        seed: for whatever is drawn by image id.
        early_stop: freeze an image after this many steps without a gain; None for never.
        early_stop_gain: the share of its loss that an image must have lost for that to be a gain.
        keep_best: return the iterate of least loss of every image, not the last one.

    Raises:
        ConfigError: a value makes no sense, or F is missing or gives one layer only.

    Source: Abdal et al. 2019 (arXiv 1904.03189), Sec. 3 and 4; [16] of the paper.

    Differs from the paper: there is no code of theirs. The kept iterate is the best, not the last.
    """

    lambda_on: ClassVar[Mapping[str, float]] = {"vgg16": 3e-4}
    """Weights of their own by the name of F; on any other F, the weight that belongs to it.

    Theirs is 1 for VGG16 on images standardised by ImageNet's deviations, 0.226 of [0, 1] on
    average. F here takes 0-255 (the Caffe scale): 255 · 0.226 = 57.6 times as large, and so are
    features but for their biases. 1 / 57.6² = 3e-4. [inferred]
    """

    def __init__(
        self,
        *,
        perceptual: nn.Module | None,
        lambda_pixel: float = 1.0,
        lambda_vgg: float = 3e-4,
        steps: int = 5000,
        optimizer: OptimizerName = "adam",
        lr: float = 0.01,
        betas: Sequence[float] = (0.9, 0.999),
        schedule: str = "constant",
        init: Init = "mean",
        space: Space = "w_plus",
        noise: NoiseKind = "const",
        seed: int = 0,
        early_stop: int | None = None,
        early_stop_gain: float = 0.01,
        keep_best: bool = True,
    ) -> None:
        check_weights(perceptual=perceptual, lambda_pixel=lambda_pixel, lambda_vgg=lambda_vgg)
        check_choice(space, SPACES, key="inversion.space")
        check_start(init, space=space)
        self.features = all_taps(perceptual) if perceptual is not None and lambda_vgg else None
        self.perceptual = perceptual
        self.lambda_pixel, self.lambda_vgg = lambda_pixel, lambda_vgg
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
            "method": "image2stylegan",
            **self.descent.settings,
            "lambda_pixel": self.lambda_pixel,
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
            The kept iterate of every image, its terms "pixel" and "perceptual" (those whose weight
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
            if self.features is not None:
                perceptual = PerceptualTerm(self.features, weight=self.lambda_vgg, target=x)
            noise = noise_for(self.noise, generator=generator, ids=ids, seed=self.seed, like=x)

            def objective(g: Tensor, w: Tensor) -> dict[str, Tensor]:
                terms = {}
                if self.lambda_pixel:
                    terms["pixel"] = self.lambda_pixel * pixel_loss(x, g)
                if perceptual is not None:
                    terms["perceptual"] = perceptual(g)
                return terms

            def responses(g: Tensor, w: Tensor) -> list[Response]:
                return [
                    (g, self.lambda_pixel),
                    *(perceptual.responses(g) if perceptual is not None else ()),
                ]

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
