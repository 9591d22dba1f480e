"""The interface of inversion methods: their protocol, their input and their result."""

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
"""Batches passed to a method at once if images that stop early are replaced by others."""
Progress = Callable[[int, int], None]
"""Called with (steps done, total steps) while a batch is inverted."""


@dataclass(frozen=True)
class Inversion:
    """The result of inverting N images; row n depends on image n alone.

    Attributes:
        codes: the inverted codes w, [N, L, w_dim].
        images: G(codes), [N, 3, R, R], about [-1, 1], not clamped; if there is a state, G resumed
            from it with the codes.
        losses: total objective of every iterate, [steps + 1, N]; row 0 is the starting point.
        terms: the weighted terms that add up to `losses`, each [steps + 1, N].
        seconds: wall time per image: that of the whole call, synchronised, divided by N.
        noise: the noise maps of G, each [N, 1, h, w], or None for G's own buffers.
        z: the codes' z, [N, z_dim], if z was optimised (`inversion.space=z`), else None.
        start_images: G of the starting point (the encoder's reconstruction), [N, 3, R, R].
        best_step: which iterate was kept, int64 [N].
        failed: True where the objective became non-finite and the image was frozen at its best
            iterate, bool [N].
        state: features at a layer, which codes alone may not reproduce; G resumes from them with
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
        """The networks it calls besides G; the caller moves them to a device."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """Its settings for records, JSON-able; "seed" only if something is drawn by image id."""
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
            ids: stable id of every image, int64 [N]; random draws depend on it.
            progress: called with (steps done, total steps).

        Returns:
            The kept iterate of every image, with the weighted terms whose weight is not 0.

        Raises:
            ConfigError: images and networks do not match; a network is in training mode; or
                something is drawn and there are no ids.
        """
        ...


@dataclass(frozen=True)
class Request:
    """The arguments of one call of a method.

    Attributes:
        images, generator, ids, progress: see `Inverter.invert`.
        observation: what the loss compares (`observation.Observation`); None for whole images.
    """

    images: Tensor
    generator: Any
    ids: Tensor | None = None
    progress: Progress | None = None
    observation: Any = None


class Method:
    """Base class of this package's inverters; subclasses implement `_run`."""

    noise: Any
    seed: int

    @property
    def networks(self) -> Sequence[nn.Module]:
        """E and F, if present."""
        held = (getattr(self, name, None) for name in ("encoder", "perceptual"))
        return [network for network in held if network is not None]

    def check(self, generator: Any) -> None:
        """Refuse a generator that this method does not support.

        Raises:
            ConfigError: says what the generator lacks.
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
        """Invert a batch of images that has been checked."""
        raise NotImplementedError

    def _given_noise(
        self, asked: Request, *, like: Tensor, encoded: Sequence[Tensor] | None = None
    ) -> tuple[str | list[Tensor], list[Tensor] | None]:
        """Return the noise argument of G, and the maps if there are any; see `noise_for`."""
        known: dict[str, Any] = {"generator": asked.generator, "ids": asked.ids}
        return noise_for(self.noise, seed=self.seed, like=like, encoded=encoded, **known)


def gives_state(inverter: Inverter) -> bool:
    """Return whether a method's images need features at a layer besides the codes."""
    return bool(getattr(inverter, "of_features", False))


def in_turns(inverter: Inverter, *, slots: int) -> int:
    """Limit how many images a method optimises at once, however many one call passes.

    Returns:
        How many such batches to pass in one call: several if images may stop early, because the
        next image then takes the place of one that has stopped; otherwise one.
    """
    method: Any = getattr(inverter, "method", inverter)  # the method of a restoration
    if hasattr(method, "slots"):
        method.slots = slots
    return BATCHES if inverter.settings.get("early_stop") else 1


def check_images(images: Tensor, *, generator: Any) -> None:
    """Refuse images that do not match the output of G.

    Raises:
        ConfigError: `images` is not a float tensor [N, 3, R, R] at G's resolution.
    """
    r = generator.resolution
    if images.ndim != 4 or tuple(images.shape[1:]) != (3, r, r) or not images.is_floating_point():
        raise ConfigError(
            f"cannot invert a {images.dtype} tensor of shape {list(images.shape)}: expected float "
            f"[N, 3, {r}, {r}] in [-1, 1], the generator's resolution; change data.resolution"
        )


def check_layer(layer: int | None, *, generator: Any) -> None:
    """Refuse a layer that G does not have, or after which no layer is left.

    Args:
        layer: number of layers before the features; None, the method's default, is accepted.
        generator: G, with L layers.

    Raises:
        ConfigError: lists the valid layers and names the nearest one.
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
    """Refuse an encoder whose codes do not match G.

    Raises:
        ConfigError: `codes` is not [N, L, w_dim] for this generator.
    """
    expected = (generator.num_layers, generator.w_dim)
    if codes.ndim != 3 or tuple(codes.shape[1:]) != expected:
        raise ConfigError(
            f"the encoder gives codes of shape {list(codes.shape)}, but this generator takes "
            f"[N, {expected[0]}, {expected[1]}]; change encoder or generator"
        )


def check_eval_mode(*networks: nn.Module | None) -> None:
    """Refuse networks in training mode, where batch statistics make images interdependent.

    Raises:
        ConfigError: names the first network that is in training mode.
    """
    for network in networks:
        if network is not None and network.training:
            raise ConfigError(
                f"{type(network).__name__} is in training mode, where BatchNorm makes an image's "
                "inversion depend on its batch mates; call .eval() on it first"
            )


def now(device: torch.device) -> float:
    """Return seconds on a monotonic clock, after all work queued on `device` is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
