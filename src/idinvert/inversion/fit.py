"""Fit codes to an objective: what the methods that move codes alone have in common."""

from typing import Any

import torch
from torch import Tensor

from idinvert.inversion.curvature import Curvature, Responses
from idinvert.inversion.descent import Descent
from idinvert.inversion.inversion import Inversion, Progress
from idinvert.inversion.loop import Objective, Optimised
from idinvert.inversion.starts import codes_in
from idinvert.inversion.timing import now

GivenNoise = tuple[str | list[Tensor], list[Tensor] | None]
"""What G is given as noise, and its maps if they are no buffers of G, as `noise_for` has them."""


def fit_codes(
    start: Tensor,
    *,
    space: str,
    generator: Any,
    noise: GivenNoise,
    objective: Objective,
    descent: Descent,
    begin: float,
    progress: Progress | None,
    curvature: Curvature | None = None,
    responses: Responses | None = None,
) -> Inversion:
    """Descend from codes, with the noise fixed.

    Args:
        start: where, as `starts.start_codes` has it: [N, L, w_dim], [N, 1, w_dim] or [N, z_dim].
        space: what moves: "w_plus", "w" or "z".
        generator: frozen G.
        noise: what G is given throughout.
        objective: called with (images, what moves), gives weighted terms by name, each [N].
        descent: how.
        begin: when the call began, from `timing.now`.
        progress: called with (steps done, steps in all).
        curvature: measures what "lbfgs_gn" begins with; None for a method that takes no such.
        responses: what the objective compares, for `curvature`.
    """
    preconditioner = None
    if descent.optimizer == "lbfgs_gn":
        assert curvature is not None and responses is not None  # or the method refused the name
        preconditioner = curvature.preconditioner(
            generator=generator,
            space=space,
            responses=responses,
            noise=noise[0] if isinstance(noise[0], str) else "const",
            like=start,
        )

    def synthesise(moving: Tensor) -> Tensor:
        return generator.synthesis(codes_in(space, moving, generator=generator), noise=noise[0])

    found = descent.minimise(
        start=[start],
        synthesise=synthesise,
        objective=objective,
        preconditioner=preconditioner,
        progress=progress,
    )
    return as_inversion(found, space=space, generator=generator, noise=noise[1], begin=begin)


def as_inversion(
    found: Optimised, *, space: str, generator: Any, noise: list[Tensor] | None, begin: float
) -> Inversion:
    """What the loop kept, as an inverter gives it back.

    Args:
        found: its first variable is what moved.
        space: "w_plus", "w" or "z".
        generator: frozen G.
        noise: the noise maps that G was given, or None for its own.
        begin: when the call began, from `timing.now`.
    """
    moved = found.variables[0]
    with torch.no_grad():
        codes = codes_in(space, moved, generator=generator).contiguous()  # [N, L, w_dim]
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
        z=moved if space == "z" else None,
    )
