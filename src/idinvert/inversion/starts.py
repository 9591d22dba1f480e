"""Where an optimisation starts, and in which space its codes move."""

from typing import Any, Literal

import torch
from torch import Tensor

from idinvert.errors import ConfigError
from idinvert.inversion.draw import image_rng, require_ids

Init = Literal["mean", "random", "normal", "uniform"]
DRAWN = ("random", "normal", "uniform")
INITS = ("mean", *DRAWN)
Space = Literal["w_plus", "w"]
SPACES = ("w_plus", "w")


def check_choice(value: str, known: tuple[str, ...], *, key: str) -> None:
    """Refuse a word that is none of those known.

    Raises:
        ConfigError: naming the key and what it takes.
    """
    if value not in known:
        raise ConfigError(f"{key} is {value!r}: expected {', '.join(known[:-1])} or {known[-1]}")


def check_space(space: str, *, generator: Any) -> None:
    """Refuse one code for all layers where each layer has its own.

    Raises:
        ConfigError: ``space`` is "w" and M gives one w a layer.
    """
    if space == "w" and generator.multi_w:
        raise ConfigError(
            "inversion.space=w does not fit this generator: its mapping gives one w a layer, so "
            "its native space is W+. Use inversion.space=w_plus"
        )


def native_space(space: str | None, *, generator: Any) -> str:
    """The space that was chosen, or the generator's own: W+ where M gives one w a layer, else W."""
    return space or ("w_plus" if generator.multi_w else "w")


def mapped(generator: Any, z: Tensor) -> Tensor:
    """M(z), [N, z_dim] to [N, L, w_dim].

    Raises:
        ConfigError: M is conditional: it needs labels, and nobody says which.
    """
    if getattr(generator, "c_dim", 0):
        raise ConfigError(
            f"this generator is conditional (labels of {generator.c_dim} numbers), and codes are "
            "drawn without labels here; give an unconditional one (generator.path; for a fresh "
            "one leave generator.c_dim out), or start from what needs no draw (inversion.init=mean)"
        )
    return generator.mapping(z)


@torch.no_grad()
def start_codes(
    init: str, *, space: str, generator: Any, ids: Tensor | None, seed: int, like: Tensor
) -> Tensor:
    """Codes to start from that know nothing of the image.

    Args:
        init: "mean" (w̄), "random" (M(z) of a z drawn by image id), "normal" (N(0, 1) in the space
            of the codes, as the authors' code starts without an encoder) or "uniform" (on [-1, 1],
            as Image2StyleGAN starts for what is no face).
        space: "w_plus" or "w".
        generator: frozen G.
        ids: image ids int64 [N]; needed where something is drawn.
        seed: the experiment's seed.
        like: images [N, ...], for the number, the device and the dtype of the codes.

    Returns:
        Codes [N, L, w_dim], or [N, 1, w_dim] in "w".

    Raises:
        ConfigError: for an unknown start, or a draw without ids.
    """
    check_choice(init, INITS, key="inversion.init")
    layers = generator.num_layers
    rows = 1 if space == "w" else layers
    if init == "mean":
        return generator.w_avg.to(like).expand(len(like), -1, -1)[:, :rows].clone()
    ids = require_ids(ids, key=f"inversion.init={init} draws codes")
    draws = []
    for image_id in ids.tolist():
        rng = image_rng(seed, image_id, purpose="start")
        if init == "random":
            draws.append(torch.randn(generator.z_dim, generator=rng))
        elif init == "normal":
            draws.append(torch.randn(rows, generator.w_dim, generator=rng))
        else:
            draws.append(torch.rand(rows, generator.w_dim, generator=rng) * 2 - 1)
    drawn = torch.stack(draws).to(like)
    if init == "random":
        drawn = mapped(generator, drawn).to(like)[:, :rows]  # [N, K, w_dim]
    return drawn
