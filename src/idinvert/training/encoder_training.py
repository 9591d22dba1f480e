"""Base class of the encoder objectives: frozen networks, validation, and the constructor."""

import inspect
from collections.abc import Collection
from typing import Any, Self

import torch
from torch import Tensor, nn

from idinvert.annotations import Betas, PositiveFloat
from idinvert.data.convert import to_float
from idinvert.losses.terms import pixel_loss
from idinvert.networks.encoder import decode
from idinvert.training.objective import Objective
from idinvert.training.schedules import Schedule

FROZEN = ("generator", "perceptual")


class EncoderTraining(Objective):
    """E around a frozen G and F; a subclass defines losses, optimisers and the training step.

    A subclass lists its own arguments and takes the others as ``**shared``. Its signature, used to
    validate configurations, has both, except those named by the class argument ``without``.

    Arguments that are not listed here are those of `Objective`.

    Args:
        generator: The frozen G (`networks.generator.Generator`), from codes ``[N, L, w_dim]``.
        encoder: E; maps images to codes ``[N, L, w_dim]``.
        perceptual: The frozen F; maps images to features. ``None`` if no loss uses it.
    """

    def __init__(
        self,
        *,
        generator: nn.Module,
        encoder: nn.Module,
        perceptual: nn.Module | None = None,
        lr: PositiveFloat,
        betas: Betas,
        schedule: Schedule,
        mirror: bool = False,
        seed: int,
        accumulate: int = 1,
    ) -> None:
        super().__init__(
            lr=lr, betas=betas, schedule=schedule, mirror=mirror, seed=seed, accumulate=accumulate
        )
        self.generator: Any = freeze(generator)
        self.perceptual: nn.Module | None = None if perceptual is None else freeze(perceptual)
        self.encoder: Any = encoder

    def __init_subclass__(cls, without: Collection[str] = (), **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = inspect.signature(cls.__init__).parameters
        if "shared" not in own:
            return
        known = {**inspect.signature(cls.__base__).parameters, **own}  # type: ignore[arg-type]
        taken = [p for name, p in known.items() if name not in {"self", "shared", *without}]
        cls.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined]

    @property
    def trained_networks(self) -> dict[str, nn.Module]:
        """Networks that a finished run saves in its ``weights`` folder, by name."""
        return {"encoder": self.encoder}

    def train(self, mode: bool = True) -> Self:
        """Sets the training mode of all networks but G and F, which stay in evaluation mode."""
        super().train(mode)
        self.generator.eval()
        if self.perceptual is not None:
            self.perceptual.eval()
        return self

    def reconstruct(self, images: Tensor) -> Tensor:
        """Returns ``G(E(x))``, ``[N, 3, R, R]``, with E's noise maps if it predicts any, or G's."""
        return decode(self.generator, self.encoder.encode(images))

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Logs the squared error of the reconstructions, and of G at the mean code."""
        images = to_float(batch["image"]).to(self.dtype)
        with torch.no_grad():
            mean_code = self.generator.w_avg.expand(len(images), -1, -1)
            mean_image = self.generator.synthesis(mean_code, noise="const")
            error = pixel_loss(images, self.reconstruct(images).clamp(-1, 1))
            floor = pixel_loss(images, mean_image.clamp(-1, 1))
        spread = {"val/mse_of_mean_image_squared": floor.square()}  # for the verdict's interval
        self.log_means({"val/mse": error, "val/mse_of_mean_image": floor} | spread)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Removes the frozen networks.

        They come from files whose content hashes are in the run's config, so a checkpoint of the
        encoder need not contain a copy of G and F.
        """
        state = checkpoint["state_dict"]
        for key in [key for key in state if is_frozen(key)]:
            del state[key]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the frozen networks of this process, so that a strict load succeeds.

        Raises:
            CheckpointError: As in `Objective`.
        """
        own = self.state_dict()
        checkpoint["state_dict"].update({key: own[key] for key in own if is_frozen(key)})
        super().on_load_checkpoint(checkpoint)


def freeze(network: nn.Module) -> nn.Module:
    """Sets evaluation mode and freezes the parameters; gradients still flow through the network."""
    return network.eval().requires_grad_(False)


def is_frozen(key: str) -> bool:
    """Returns whether a key of a state dict belongs to a frozen network."""
    return key.split(".", 1)[0] in FROZEN
