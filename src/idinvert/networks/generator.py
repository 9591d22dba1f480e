"""Base classes of StyleGAN and StyleGAN2: mapping, truncation, and layer-by-layer synthesis."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from idinvert.networks.mapping import MappingNetwork

Noise = str | Sequence[Tensor]
"""Noise: "const" (stored maps), "random" (drawn from rng), "none", or a list of maps."""


class SynthesisState(NamedTuple):
    """State of a synthesis after its first `layer` layers; depends only on w[:, :layer].

    Attributes:
        features: Feature maps [N, C, h, w].
        image: Image so far [N, 3, h', w'] of a skip architecture, or None.
        layer: Number of layers run, 0 … L.
        shortcut: Residual architecture: added after the next layer [N, C', 2h, 2w], or None.
    """

    features: Tensor
    image: Tensor | None
    layer: int
    shortcut: Tensor | None = None

    @property
    def maps(self) -> dict[str, Tensor]:
        """The maps that are not None, by name."""
        found = {name: getattr(self, name) for name in ("features", "image", "shortcut")}
        return {name: maps for name, maps in found.items() if maps is not None}

    def each(self, change: Callable[[Tensor], Tensor]) -> "SynthesisState":
        """Returns the state with `change` applied to each of its maps."""
        changed: dict[str, Any] = {name: change(maps) for name, maps in self.maps.items()}
        return self._replace(**changed)

    def rows(self, index: slice | Tensor) -> "SynthesisState":
        """Returns the state of some of its N rows."""
        return self.each(lambda maps: maps[index])

    @staticmethod
    def joined(states: "Sequence[SynthesisState]") -> "SynthesisState":
        """Concatenates the rows of several states of the same layer."""
        every = [each.maps for each in states]
        rows: dict[str, Any] = {name: torch.cat([m[name] for m in every]) for name in every[0]}
        return states[0]._replace(**rows)


class Synthesis(nn.Module):
    """G: maps style codes to images, layer by layer; a subclass defines the layers.

    Args:
        resolution: Side of the image in pixels, R, a power of two.
        w_dim: Width of w.
        const: The learned input [C, 4, 4].

    Attributes:
        num_layers: L = 2·log2(R) − 2.
        noise_shapes: Size (h, w) of each noise input.
        checkpoint_activations: Gradient checkpointing: keep only each layer's input for the
            backward pass, which runs the layer again. Results are unaffected.
    """

    def __init__(self, *, resolution: int, w_dim: int, const: Tensor) -> None:
        super().__init__()
        self.checkpoint_activations = False
        self.resolution, self.w_dim = resolution, w_dim
        self.num_layers = 2 * len(resolutions(resolution))
        self.const = nn.Parameter(const)
        self.noise_shapes: list[tuple[int, int]] = []

    def add_noise_input(self, side: int) -> None:
        """Registers the constant map of one more noise input."""
        self.register_buffer(f"noise_{len(self.noise_shapes)}", torch.randn(1, 1, side, side))
        self.noise_shapes.append((side, side))

    def layer(self, state: SynthesisState, w: Tensor, noise: Tensor | None) -> SynthesisState:
        """Runs the layer after ``state``, with codes [N, L, w_dim] and noise [N or 1, 1, h, w]."""
        raise NotImplementedError

    def forward(
        self,
        w: Tensor,
        noise: Noise = "const",
        *,
        stop: int | None = None,
        resume: SynthesisState | None = None,
        rng: torch.Generator | None = None,
    ) -> Tensor | SynthesisState:
        """Runs the synthesis, or a part of it.

        Args:
            w: Style codes [N, L, w_dim].
            noise: "const" for the stored maps, "random" for maps drawn from rng, "none", or a map
                [N or 1, 1, h, w] for each of `noise_shapes`.
            stop: Return the state after this many layers, 0 … L.
            resume: Continue from this state; w[:, :resume.layer] is then not read.
            rng: Source of random noise.

        Returns:
            Images [N, 3, R, R], in [-1, 1] except for outliers; or a SynthesisState.

        Raises:
            ValueError: Codes, noise or layer numbers are invalid.
        """
        if w.ndim != 3 or w.shape[1:] != (self.num_layers, self.w_dim):
            raise ValueError(
                f"w has shape {tuple(w.shape)}, expected [N, {self.num_layers}, {self.w_dim}] "
                "(do encoder and generator belong together?)"
            )
        if not isinstance(noise, str) and len(noise) != len(self.noise_shapes):
            raise ValueError(f"got {len(noise)} noise maps, expected {len(self.noise_shapes)}")
        first = 0 if resume is None else resume.layer
        last = self.num_layers if stop is None else stop
        if not 0 <= first <= last <= self.num_layers:
            raise ValueError(
                f"cannot run from layer {first} to {last}: expected 0 <= first <= last <= "
                f"{self.num_layers}"
            )
        if resume is None:
            x = self.const.expand(len(w), -1, -1, -1)
            # channels_last saves the CPU's convolutions from reordering inputs and outputs.
            state = SynthesisState(x.contiguous(memory_format=torch.channels_last), None, 0)
        else:
            state = resume
        for i in range(first, last):
            maps = None
            if i < len(self.noise_shapes):
                stored = self.get_buffer(f"noise_{i}")
                maps = noise_map(noise, i, stored=stored, batch=len(w), rng=rng)
            if self.checkpoint_activations and torch.is_grad_enabled():
                # Layers draw no random numbers, so there is no RNG state to restore.
                options: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}
                state = checkpoint(self.layer, state, w, maps, **options)
            else:
                state = self.layer(state, w, maps)
        if stop is not None:
            return state
        assert state.image is not None  # layer L − 1 was run, now or before
        return state.image


class Generator(nn.Module):
    """A generator of the StyleGAN family: the mapping M followed by the synthesis G.

    Parameters are stored raw and scaled by gains at run time, exactly as in NVlabs' code, so that
    converted weights match.

    Args:
        synthesis: G.
        z_dim: Width of z.
        multi_w: Whether M yields one w per layer (the paper's retraining, Sec. 5.1).
        of_mapping: Further arguments of `MappingNetwork`.

    Attributes:
        resolution: Side of the images.
        num_layers: L.
        w_dim: Width of w.
        w_avg: Average w [L, w_dim]; see `track_w_avg`.
        noise_shapes: Size (h, w) of each noise input.
        architecture: The constructor's arguments.
    """

    w_avg: Tensor
    architecture: dict[str, Any]

    def __init__(
        self, *, synthesis: Synthesis, z_dim: int, multi_w: bool, **of_mapping: Any
    ) -> None:
        super().__init__()
        self.z_dim, self.multi_w, self.c_dim = z_dim, multi_w, of_mapping.get("c_dim", 0)
        self.resolution, self.w_dim = synthesis.resolution, synthesis.w_dim
        self.num_layers, self.noise_shapes = synthesis.num_layers, synthesis.noise_shapes
        self.synthesis = synthesis
        self.mapping = MappingNetwork(
            z_dim=z_dim,
            w_dim=self.w_dim,
            num_layers=self.num_layers,
            multi_w=multi_w,
            **of_mapping,
        )
        self.register_buffer("w_avg", torch.zeros(self.num_layers, self.w_dim))

    @torch.no_grad()
    def track_w_avg(self, w: Tensor, *, decay: float = 0.995) -> None:
        """Moves w_avg towards the mean of w [N, L, w_dim], by 1 − decay."""
        self.w_avg.lerp_(w.mean(dim=0).to(self.w_avg.dtype), 1 - decay)

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        *,
        noise: Noise = "const",
        truncation: float = 1.0,
        rng: torch.Generator | None = None,
    ) -> Tensor:
        """Maps latent codes to images.

        Args:
            z: Latent codes [N, z_dim], drawn from N(0, I).
            c: Labels [N, c_dim] of a conditional generator.
            noise: As in the synthesis.
            truncation: ψ, the factor on w − w_avg.
            rng: Source of random noise.

        Returns:
            Images [N, 3, R, R], in [-1, 1] except for outliers.
        """
        w = truncate(self.mapping(z, c), self.w_avg, truncation)
        return self.synthesis(w, noise, rng=rng)


def resolutions(resolution: int) -> list[int]:
    """Returns 4, 8, …, resolution.

    Args:
        resolution: Side of the image in pixels.

    Raises:
        ValueError: The resolution is not a power of two, or is below 8.
    """
    if resolution < 8 or resolution & (resolution - 1):
        raise ValueError(
            f"resolution={resolution} is no power of two from 8 on: set generator.resolution"
        )
    return [2**i for i in range(2, resolution.bit_length())]


def widths(
    resolution: int, channels: Sequence[int] | None, *, channel_base: int, channel_max: int
) -> list[int]:
    """Returns the number of feature maps at 4, 8, …, resolution.

    Args:
        resolution: Side of the image in pixels.
        channels: The widths themselves, or None for the rule min(channel_base / res, channel_max).
        channel_base: Numerator of the rule.
        channel_max: Upper bound of the rule.

    Raises:
        ValueError: `channels` has a wrong length.
    """
    sides = resolutions(resolution)
    if channels is None:
        return [min(channel_base // side, channel_max) for side in sides]
    if len(channels) != len(sides):
        raise ValueError(
            f"channels={list(channels)} has {len(channels)} entries, expected {len(sides)}: "
            f"one for each of {sides} (generator.channels, discriminator.channels)"
        )
    return list(channels)


def check_images(images: Tensor, resolution: int) -> None:
    """Refuses images of the wrong shape for a discriminator.

    Raises:
        ValueError: They are not [N, 3, resolution, resolution].
    """
    if images.ndim != 4 or images.shape[1:] != (3, resolution, resolution):
        raise ValueError(
            f"images have shape {tuple(images.shape)}, expected "
            f"[N, 3, {resolution}, {resolution}] (data.resolution)"
        )


def noise_map(
    noise: Noise,
    index: int,
    *,
    stored: Tensor,
    batch: int,
    rng: torch.Generator | None,
) -> Tensor | None:
    """Returns the noise of one layer.

    Args:
        noise: "const", "random", "none", or all maps of the generator, each [N or 1, 1, h, w].
        index: Index of the noise input.
        stored: The constant map [1, 1, h, w].
        batch: N.
        rng: Source of "random" noise, on the CPU or on the device of `stored`.

    Returns:
        Noise [N or 1, 1, h, w], or None for no noise.

    Raises:
        ValueError: Unknown mode, a missing rng, or a map of wrong shape.
    """
    if isinstance(noise, str):
        if noise == "const":
            return stored
        if noise == "none":
            return None
        if noise != "random":
            raise ValueError(f'noise={noise!r}, expected "const", "random", "none" or maps')
        if rng is None:
            raise ValueError('noise="random" needs rng, a torch.Generator to draw from')
        shape = (batch, 1, *stored.shape[2:])
        drawn = torch.randn(shape, generator=rng, device=rng.device, dtype=stored.dtype)
        return drawn.to(stored.device)
    given = noise[index]
    if given.shape[1:] != stored.shape[1:] or given.shape[0] not in (1, batch):
        raise ValueError(
            f"noise map {index} has shape {tuple(given.shape)}, expected "
            f"[{batch} or 1, 1, {stored.shape[2]}, {stored.shape[3]}]"
        )
    return given


def truncate(w: Tensor, w_avg: Tensor, truncation: float) -> Tensor:
    """Moves w towards the average: w̄ + ψ(w − w̄).

    Args:
        w: Style codes [N, L, w_dim].
        w_avg: Average codes [L, w_dim].
        truncation: ψ; 1 leaves w unchanged.

    Returns:
        Tensor [N, L, w_dim].
    """
    return w if truncation == 1.0 else w_avg + truncation * (w - w_avg)
