"""Small random StyleGAN networks of NVlabs' TensorFlow code, the authors' multi-w variant too."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from .stylegan_by_hand import Drawing
from .tf_files import Network, network
from .tf_files import write as write_pickle


def generator(
    channels: Sequence[int] = (5, 4, 3),
    *,
    z_dim: int = 6,
    w_dim: int = 5,
    hidden: int | None = None,
    depth: int = 3,
    multi_w: bool = False,
    structure: str = "linear",
    settings: dict[str, Any] | None = None,
    lod: float = 0.0,
    seed: int = 0,
) -> tuple[Network, dict[str, Tensor | float]]:
    """G or Gs, and its variables by their names in the whole network."""
    draw = Drawing(seed)
    num_layers = 2 * len(channels)
    made = {"resolution": 2 << len(channels), "num_channels": 3, "label_size": 0}
    made |= {"fused_scale": "auto", "structure": structure} | (settings or {})
    out = w_dim * num_layers if multi_w else w_dim
    widths = [z_dim] + [hidden or w_dim] * (depth - 1) + [out]
    mapping: dict[str, Any] = {}
    for i in range(depth):
        mapping[f"Dense{i}/weight"] = draw(widths[i], widths[i + 1], scale=100)
        mapping[f"Dense{i}/bias"] = draw(widths[i + 1], scale=30)
    synthesis: dict[str, Any] = {"lod": 0.0}
    for i in range(num_layers):
        side = 4 << (i // 2)
        synthesis[f"noise{i}"] = draw(1, 1, side, side)
    for i in range(num_layers):
        before, width = channels[max(i - 1, 0) // 2], channels[i // 2]
        side = 4 << (i // 2)
        kind = ["Const", "Conv"][i] if i < 2 else ["Conv0_up", "Conv1"][i % 2]
        name = f"{side}x{side}/{kind}"
        if i == 0:
            synthesis[f"{name}/const"] = draw(1, width, 4, 4)
        else:
            synthesis[f"{name}/weight"] = draw(3, 3, before, width)
        synthesis[f"{name}/Noise/weight"] = draw(width, scale=0.3)
        synthesis[f"{name}/bias"] = draw(width, scale=0.3)
        synthesis[f"{name}/StyleMod/weight"] = draw(w_dim, 2 * width)
        synthesis[f"{name}/StyleMod/bias"] = draw(2 * width, scale=0.3)
    for j, width in enumerate(channels):
        level = len(channels) - 1 - j
        if structure != "fixed" or level == 0:
            synthesis[f"ToRGB_lod{level}/weight"] = draw(1, 1, width, 3)
            synthesis[f"ToRGB_lod{level}/bias"] = draw(3, scale=0.3)
    own: dict[str, Any] = {"lod": lod, "dlatent_avg": draw(w_dim)}
    parts = {
        "synthesis": network("G_synthesis", synthesis, function="G_synthesis", settings=made),
        "mapping": network("G_mapping", mapping, function="G_mapping", settings=made),
    }
    everything = own | {f"G_mapping/{k}": v for k, v in mapping.items()}
    everything |= {f"G_synthesis/{k}": v for k, v in synthesis.items()}
    whole = network("Gs", own, function="G_style", settings=made, components=parts)
    return whole, everything


def discriminator(
    channels: Sequence[int] = (5, 4, 3),
    *,
    fc_width: int = 6,
    structure: str = "linear",
    settings: dict[str, Any] | None = None,
    mbstd: bool = True,
    seed: int = 1,
) -> tuple[Network, dict[str, Tensor | float]]:
    """D, and its variables."""
    draw = Drawing(seed)
    made = {"resolution": 2 << len(channels), "num_channels": 3, "label_size": 0}
    made |= settings or {}
    found: dict[str, Any] = {"lod": 0.0}

    def layer(name: str, *shape: int) -> None:
        found[f"{name}/weight"] = draw(*shape)
        found[f"{name}/bias"] = draw(shape[-1], scale=0.3)

    last = len(channels) - 1
    for level, width in enumerate(reversed(channels)):
        if structure != "fixed" or level == 0:
            layer(f"FromRGB_lod{level}", 1, 1, 3, width)
    for level, width in enumerate(reversed(channels)):
        side = 4 << (last - level)
        if level < last:
            layer(f"{side}x{side}/Conv0", 3, 3, width, width)
            layer(f"{side}x{side}/Conv1_down", 3, 3, width, channels[last - level - 1])
    layer("4x4/Conv", 3, 3, channels[0] + int(mbstd), channels[0])
    layer("4x4/Dense0", 16 * channels[0], fc_width)
    layer("4x4/Dense1", fc_width, 1)
    return network("D", found, function="D_basic", settings=made), found


def write(path: Path, **choices: Any) -> dict[str, dict[str, Any]]:
    """Writes (G, D, Gs), the choices as in `generator`; their variables by network."""
    g, g_variables = generator(seed=3, **choices)
    gs, gs_variables = generator(seed=4, **choices)
    d, d_variables = discriminator(
        choices.get("channels", (5, 4, 3)), structure=choices.get("structure", "linear")
    )
    write_pickle(path, (g, d, gs))
    return {"G": g_variables, "D": d_variables, "Gs": gs_variables}


def arrays(variables: dict[str, Any]) -> dict[str, np.ndarray]:
    """Variables in float64."""
    return {key: np.asarray(value, dtype=np.float64) for key, value in variables.items()}
