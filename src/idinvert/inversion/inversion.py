"""What an inversion method takes and what it gives back."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from idinvert.errors import ConfigError
from idinvert.inversion.noise import noise_for
from idinvert.networks.generator import SynthesisState

BATCHES = 4
"""That a method is given at once where images that stop early make room for others."""
Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all) while a batch is inverted."""


@dataclass(frozen=True)
class Inversion:
    """The result of inverting N images; row n depends on image n alone.

    Attributes:
        codes: the inverted codes w, [N, L, w_dim].
        images: G(codes), [N, 3, R, R], about [-1, 1], not clamped; where there is a state, G
            resumed from it with the codes.
        losses: total objective of every iterate, [steps + 1, N]; row 0 is the starting point.
        terms: the weighted terms that add up to `losses`, each [steps + 1, N].
        seconds: wall time per image, synchronised, of the whole call divided by N.
        noise: the noise maps that G was given, each [N, 1, h, w], or None for G's own buffers.
        z: the codes' z, [N, z_dim], where z was what moved (`inversion.space=z`), else None.
        start_images: G of the starting point (the encoder's reconstruction), [N, 3, R, R].
        best_step: which iterate was kept, int64 [N].
        failed: True where the objective left the finite numbers and the image was frozen at its
            best iterate, bool [N].
        state: features at a layer that no codes of G need give; G goes on from there with
            `codes[:, state.layer:]`, and the codes before that layer are not read.
    """

    codes: Tensor
    images: Tensor
    losses: Tensor
    terms: dict[str, Tensor] = field(repr=False)
    seconds: float
    start_images: Tensor = field(repr=False)
    best_step: Tensor
    failed: Tensor
    noise: list[Tensor] | None = field(default=None, repr=False)
    z: Tensor | None = field(default=None, repr=False)
    state: SynthesisState | None = field(default=None, repr=False)


@runtime_checkable
class Inverter(Protocol):
    """A method that finds the codes of images under a frozen generator."""

    @property
    def networks(self) -> Sequence[nn.Module]:
        """The networks it calls besides G, for whoever moves them to a device."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """The choices that made it, JSON-able, for records; "seed" where ids decide a draw."""
        ...

    def invert(
        self,
        images: Tensor,
        *,
        generator: Any,
        ids: Tensor | None = None,
        progress: Progress | None = None,
    ) -> Inversion:
        """Invert a batch; the images do not influence one another.

        Args:
            images: targets x, float [N, 3, R, R] in [-1, 1].
            generator: frozen G in eval mode (`networks.generator.Generator`).
            ids: stable id of every image, int64 [N]; noise that is drawn is drawn by id.
            progress: called with (steps done, steps in all).

        Returns:
            The kept iterate of every image; its terms, those whose weight is not 0, are weighted.

        Raises:
            ConfigError: images and networks do not fit; a network is in training mode; or noise is
                drawn and there are no ids.
        """
        ...


@dataclass(frozen=True)
class Request:
    """What one call of a method asks for.

    Attributes:
        images, generator, ids, progress: see `Inverter.invert`.
        observation: what is compared of the images (`observation.Observation`); None for all.
    """

    images: Tensor
    generator: Any
    ids: Tensor | None = None
    progress: Progress | None = None
    observation: Any = None


class Method:
    """What the methods of this package share as `Inverter`; each says in `_run` what it does."""

    noise: Any
    seed: int

    @property
    def networks(self) -> Sequence[nn.Module]:
        """E and F, those there are."""
        held = (getattr(self, name, None) for name in ("encoder", "perceptual"))
        return [network for network in held if network is not None]

    def check(self, generator: Any) -> None:
        """Refuse a generator that this method does not fit.

        Raises:
            ConfigError: says what it lacks.
        """

    def invert(
        self,
        images: Tensor,
        *,
        generator: Any,
        ids: Tensor | None = None,
        progress: Progress | None = None,
    ) -> Inversion:
        """See `Inverter.invert` and `check`; works under `no_grad` and `inference_mode`."""
        return self._invert(Request(images, generator, ids, progress))

    def _invert(self, asked: Request) -> Inversion:
        check_images(asked.images, generator=asked.generator)
        check_eval_mode(*self.networks, asked.generator)
        self.check(asked.generator)
        return self._run(asked)

    def _run(self, asked: Request) -> Inversion:
        """What is asked for, of images and networks that fit."""
        raise NotImplementedError

    def _given_noise(
        self, asked: Request, *, like: Tensor, encoded: Sequence[Tensor] | None = None
    ) -> tuple[str | list[Tensor], list[Tensor] | None]:
        """What G is given, and the maps if there are any; see `noise_for`."""
        known: dict[str, Any] = {"generator": asked.generator, "ids": asked.ids}
        return noise_for(self.noise, seed=self.seed, like=like, encoded=encoded, **known)


def gives_state(inverter: Inverter) -> bool:
    """Whether a method's images come from features at a layer, which codes alone do not give."""
    return bool(getattr(inverter, "of_features", False))


def in_turns(inverter: Inverter, *, slots: int) -> int:
    """Let a method optimise so many images at once, however many it is given.

    Returns:
        How many such batches to give it: several where images may stop early, for one that has
        stopped makes room for the next; else each batch takes the same number of steps.
    """
    method: Any = getattr(inverter, "method", inverter)  # of a restoration
    if hasattr(method, "slots"):
        method.slots = slots
    return BATCHES if inverter.settings.get("early_stop") else 1


def check_images(images: Tensor, *, generator: Any) -> None:
    """Refuse images that G could not have made.

    Raises:
        ConfigError: if `images` is not a float tensor [N, 3, R, R] at G's resolution.
    """
    r = generator.resolution
    if images.ndim != 4 or tuple(images.shape[1:]) != (3, r, r) or not images.is_floating_point():
        raise ConfigError(
            f"cannot invert a {images.dtype} tensor of shape {list(images.shape)}: expected float "
            f"[N, 3, {r}, {r}] in [-1, 1], the generator's resolution; change data.resolution"
        )


def check_layer(layer: int | None, *, generator: Any) -> None:
    """Refuse a number of first layers that G does not have, or behind which nothing is left.

    Args:
        layer: how many layers; None, which is left to the method, fits.
        generator: G, with L layers.

    Raises:
        ConfigError: with the layers that there are and the nearest of them.
    """
    last = generator.num_layers - 1
    known = ", ".join(map(str, range(1, last + 1)))
    if layer is None or 1 <= layer <= last:
        return
    leaves = ", which leaves nothing of the generator to run" if layer == last + 1 else ""
    raise ConfigError(
        f"inversion.layer is {layer}{leaves}. Did you mean {min(max(layer, 1), last)}? Known here: "
        f"{known}."
    )


def check_codes(codes: Tensor, *, generator: Any) -> None:
    """Refuse an encoder whose codes do not fit G.

    Raises:
        ConfigError: if `codes` is not [N, L, w_dim] for this generator.
    """
    expected = (generator.num_layers, generator.w_dim)
    if codes.ndim != 3 or tuple(codes.shape[1:]) != expected:
        raise ConfigError(
            f"the encoder gives codes of shape {list(codes.shape)}, but this generator takes "
            f"[N, {expected[0]}, {expected[1]}]; change encoder or generator"
        )


def check_eval_mode(*networks: nn.Module | None) -> None:
    """Refuse networks in training mode: batch statistics would tie the images together.

    Raises:
        ConfigError: naming the first network that is in training mode.
    """
    for network in networks:
        if network is not None and network.training:
            raise ConfigError(
                f"{type(network).__name__} is in training mode, where BatchNorm makes an image's "
                "inversion depend on its batch mates; call .eval() on it first"
            )


def now(device: torch.device) -> float:
    """Seconds on a monotonic clock, after all work queued on `device` is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
