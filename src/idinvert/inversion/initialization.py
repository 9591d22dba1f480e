"""The initial codes of an optimisation, the latent space they move in, and draws by image id."""

import zlib
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from idinvert.errors import ConfigError
from idinvert.networks.encoder import Encoding

Init = Literal["mean", "random", "normal", "uniform"]
DRAWN = ("random", "normal", "uniform")
INITS = ("mean", *DRAWN)
SPACES = ("w_plus", "w", "z")


def image_rng(seed: int, image_id: int, *, purpose: str | None = None) -> torch.Generator:
    """Return a CPU random generator that is determined by the seed, the image and the purpose.

    Args:
        seed: the experiment's seed.
        image_id: stable id of the image.
        purpose: separates independent draws; None for noise maps.
    """
    words = [seed, image_id % 2**63]
    if purpose is not None:
        words.append(zlib.crc32(purpose.encode()))
    state = np.random.SeedSequence(words).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)


def require_ids(ids: Tensor | None, *, key: str) -> Tensor:
    """Return the image ids, which a draw requires.

    Args:
        ids: int64 [N], or None.
        key: what is drawn, for the error: "inversion.noise=random draws noise".

    Raises:
        ConfigError: `ids` is None.
    """
    if ids is None:
        raise ConfigError(f"{key} by image id, but no ids were given")
    return ids


def seed_of(seed: int, *, drawn: bool) -> dict[str, int]:
    """Return the seed as a setting if something is drawn; otherwise it changes no result."""
    return {"seed": seed} if drawn else {}


def check_choice(value: str | None, known: tuple[str, ...], *, key: str) -> None:
    """Refuse an unknown value.

    Raises:
        ConfigError: names the key and its known values.
    """
    if value not in known:
        raise ConfigError(f"{key} is {value!r}: expected {', '.join(known[:-1])} or {known[-1]}")


def check_start(init: str, *, space: str | None) -> None:
    """Refuse an initialisation that is unknown or not available in this space.

    Raises:
        ConfigError: names the key to change.
    """
    check_choice(init, INITS, key="inversion.init")
    if init == "mean" and space == "z":
        raise ConfigError(
            "inversion.init=mean is the average of w, which no z stands for: with "
            "inversion.space=z use inversion.init=random"
        )


def check_space(space: str, *, generator: Any) -> None:
    """Refuse one code for all layers where each layer has its own.

    Raises:
        ConfigError: `space` is "w" and M gives one w per layer.
    """
    if space == "w" and generator.multi_w:
        raise ConfigError(
            "inversion.space=w does not fit this generator: its mapping gives one w a layer, so "
            "its native space is W+. Use inversion.space=w_plus"
        )


def native_space(space: str | None, *, generator: Any) -> str:
    """Return the chosen space, or the generator's own: W+ if M gives one w per layer, else W."""
    return space or ("w_plus" if generator.multi_w else "w")


def mapped(generator: Any, z: Tensor, labels: Tensor | None = None) -> Tensor:
    """Return M(z), [N, z_dim] to [N, L, w_dim]; M(z, c) if M is conditional.

    Args:
        generator: G with its M.
        z: latent codes.
        labels: c, [N, c_dim]; not read if M is unconditional.

    Raises:
        ConfigError: M is conditional and there are no labels.
    """
    classes = getattr(generator, "c_dim", 0)
    if classes and labels is None:
        raise ConfigError(
            f"this generator is conditional (labels of {classes} numbers), and codes are drawn "
            f"without labels here; choose one of its classes with generator.label=0 to "
            f"{classes - 1}, give an unconditional one (generator.path), or start from what needs "
            "no draw (inversion.init=mean)"
        )
    return generator.mapping(z, labels) if classes else generator.mapping(z)


def codes_in(space: str, moving: Tensor, *, generator: Any) -> Tensor:
    """Return G's input w, [N, L, w_dim], for codes that are optimised in a space.

    Args:
        space: "w_plus" (codes [N, L, w_dim]), "w" ([N, 1, w_dim]) or "z" ([N, z_dim], through M).
        moving: the codes.
        generator: frozen G.
    """
    if space != "z":
        return moving.expand(-1, generator.num_layers, -1)
    with torch.autocast(moving.device.type, enabled=False):  # codes keep their precision
        return mapped(generator, moving)


def encoded_start(encoding: Encoding, *, space: str, like: Tensor) -> Tensor:
    """Return E(x) as codes to optimise, in the dtype of `like`; shapes as in `codes_in`."""
    if space == "z":
        assert encoding.z is not None  # the constructor requires latent=z
        return encoding.z.to(like.dtype)
    w = encoding.codes.to(like.dtype)  # [N, L, w_dim]
    return w.mean(1, keepdim=True) if space == "w" else w


def check_latent(latent: str, space: str | None, *, needs_z: bool = True) -> str:
    """Return the space in which codes are optimised: the chosen one, or E's own.

    Args:
        latent: E's own space.
        space: `inversion.space`, None for E's own.
        needs_z: whether optimising z requires E's z.

    Raises:
        ConfigError: one of them is unknown, or E's z is required and this E gives none.
    """
    check_choice(latent, SPACES, key="latent")
    chosen = latent if space is None else space
    check_choice(chosen, SPACES, key="inversion.space")
    if chosen == "z" and latent != "z" and needs_z:
        raise ConfigError(
            f"inversion.space=z moves E's z, and this encoder has none (latent={latent}): give one "
            "trained with latent=z (run, encoder.path), or use inversion.space=w_plus"
        )
    return chosen


@torch.no_grad()
def start_codes(
    init: str,
    *,
    space: str,
    generator: Any,
    ids: Tensor | None,
    seed: int,
    like: Tensor,
    purpose: str = "start",
) -> Tensor:
    """Return initial codes that do not depend on the content of the images.

    Args:
        init: "mean" (w̄), "random" (M(z) of a z drawn by image id), "normal" (N(0, 1) in the space
            of the codes, as the authors' code starts without an encoder) or "uniform" (on [-1, 1],
            as Image2StyleGAN starts for images other than faces).
        space: "w_plus", "w" or "z".
        generator: frozen G.
        ids: image ids int64 [N]; required if something is drawn.
        seed: the experiment's seed.
        like: images [N, ...], for the number, the device and the dtype of the codes.
        purpose: separates several codes of one image, see `image_rng`.

    Returns:
        Codes [N, L, w_dim], or [N, 1, w_dim] in "w", or z [N, z_dim] in "z".

    Raises:
        ConfigError: the initialisation is unknown, draws without ids, or is w̄ in "z".
    """
    check_start(init, space=space)
    layers = generator.num_layers
    rows = 1 if space == "w" else layers
    shape = (generator.z_dim,) if space == "z" else (rows, generator.w_dim)
    if init == "mean":
        return generator.w_avg.to(like).expand(len(like), -1, -1)[:, :rows].clone()
    ids = require_ids(ids, key=f"inversion.init={init} draws codes")
    draws = []
    for image_id in ids.tolist():
        rng = image_rng(seed, image_id, purpose=purpose)
        if init == "random":
            draws.append(torch.randn(generator.z_dim, generator=rng))
        elif init == "normal":
            draws.append(torch.randn(shape, generator=rng))
        else:
            draws.append(torch.rand(shape, generator=rng) * 2 - 1)
    drawn = torch.stack(draws).to(like)
    if init == "random" and space != "z":
        drawn = mapped(generator, drawn).to(like)[:, :rows]  # [N, K, w_dim]
    return drawn


class CodeStatistics(NamedTuple):
    """Statistics of M's codes per layer, float64 on the CPU.

    Attributes:
        mean: w̄, [L, w_dim].
        deviation: √ E‖w − w̄‖², the length of a typical deviation over all of w, [L].
    """

    mean: Tensor
    deviation: Tensor


@torch.no_grad()
def code_statistics(
    generator: Any, *, samples: int = 10_000, seed: int = 123, batch_size: int = 1000
) -> CodeStatistics:
    """Measure w̄ and its deviation on samples.

    Args:
        generator: frozen G; its mapping runs on its own device, in its own precision.
        samples: number of z to draw.
        seed: seed of the draw; StyleGAN2's projector uses 123 and NumPy's RandomState, too.
        batch_size: number of z mapped at once.
    """
    z = torch.from_numpy(np.random.RandomState(seed).randn(samples, generator.z_dim))
    like = generator.w_avg
    with torch.autocast(like.device.type, enabled=False):
        chunks = [mapped(generator, part.to(like)).double().cpu() for part in z.split(batch_size)]
    mean = torch.stack([w.sum(0) for w in chunks]).sum(0) / samples  # [L, w_dim]
    powers = torch.stack([(w - mean).square().sum((0, 2)) for w in chunks])
    return CodeStatistics(mean, (powers.sum(0) / samples).sqrt())
