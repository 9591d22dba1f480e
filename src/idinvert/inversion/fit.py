"""Fit codes to an objective: what the methods that move codes alone have in common."""

from typing import Any

from torch import Tensor

from idinvert.inversion.descent import Descent
from idinvert.inversion.inversion import Inversion, Progress
from idinvert.inversion.loop import Objective, Optimised
from idinvert.inversion.timing import now

GivenNoise = tuple[str | list[Tensor], list[Tensor] | None]
"""What G is given as noise, and its maps if they are no buffers of G, as `noise_for` has them."""


def fit_codes(
    w: Tensor,
    *,
    generator: Any,
    noise: GivenNoise,
    objective: Objective,
    descent: Descent,
    begin: float,
    progress: Progress | None,
) -> Inversion:
    """Descend from codes, with the noise fixed.

    Args:
        w: where to start, [N, L, w_dim], or [N, 1, w_dim] for one code for all layers.
        generator: frozen G.
        noise: what G is given throughout.
        objective: called with (images, w), gives weighted terms by name, each [N].
        descent: how.
        begin: when the call began, from `timing.now`.
        progress: called with (steps done, steps in all).
    """
    layers, given = generator.num_layers, noise[0]

    def synthesise(w: Tensor) -> Tensor:
        return generator.synthesis(w.expand(-1, layers, -1), noise=given)

    found = descent.minimise(
        start=[w], synthesise=synthesise, objective=objective, progress=progress
    )
    return as_inversion(found, layers=layers, noise=noise[1], begin=begin)


def as_inversion(
    found: Optimised, *, layers: int, noise: list[Tensor] | None, begin: float
) -> Inversion:
    """What the loop kept, as an inverter gives it back.

    Args:
        found: its first variable is w, [N, L or 1, w_dim].
        layers: L.
        noise: the noise maps that G was given, or None for its own.
        begin: when the call began, from `timing.now`.
    """
    codes = found.variables[0].expand(-1, layers, -1).contiguous()  # [N, L, w_dim]
    return Inversion(
        codes=codes,
        images=found.images,
        losses=found.losses,
        terms=found.terms,
        seconds=(now(codes.device) - begin) / len(codes),
        start_images=found.start_images,
        best_step=found.best_step,
        failed=found.failed,
        noise=noise,
    )
