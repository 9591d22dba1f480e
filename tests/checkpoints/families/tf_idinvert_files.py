"""Small random pickles of the authors' TensorFlow code: (G, D, Gs) and (E, G, D, Gs)."""

from pathlib import Path
from typing import Any

from . import tf_stylegan_files
from .stylegan_by_hand import Drawing
from .tf_files import Network, network
from .tf_files import write as write_pickle


def encoder(
    variant: str,
    *,
    resolution: int = 16,
    channels: int = 3,
    channels_max: int = 6,
    w_dim: int = 5,
    seed: int = 5,
) -> tuple[Network, dict[str, Any]]:
    """E of variant "A" (April 2020) or "C" (September 2020), and its variables."""
    draw = Drawing(seed)
    found: dict[str, Any] = {}
    newer = variant == "C"

    def layer(name: str, before: int, after: int, kernel: int, norm: str, *, bias: bool) -> None:
        found[f"{name}/weight"] = draw(kernel, kernel, before, after, scale=0.3)
        if bias:
            found[f"{name}/bias"] = draw(after, scale=0.3)
        statistics(f"{name}/{norm}", after)

    def statistics(name: str, width: int) -> None:
        found[f"{name}/moving_mean"] = draw(width, scale=0.5)
        found[f"{name}/moving_variance"] = draw(width).abs() + 0.5
        if newer:
            found[f"{name}/gamma"] = draw(width, scale=0.3, mean=1.0)
        found[f"{name}/beta"] = draw(width, scale=0.5)

    if newer:
        layer("FromImg", 3, channels, 5, "batch_norm", bias=True)
    else:
        layer("encoder/input_image_stage", 3, channels, 3, "bn_input_stage/BatchNorm", bias=False)
    before = channels
    for i in range(resolution.bit_length() - 3):
        after = min(2 * before, channels_max)
        hidden = min(before, after)
        if newer:
            name = f"E_block_{i}"
            if before != after:
                layer(f"{name}/Shortcut", before, after, 1, "batch_norm", bias=False)
            layer(f"{name}/Conva", before, hidden, 3, "batch_norm", bias=True)
            layer(f"{name}/Convb", hidden, after, 3, "batch_norm", bias=True)
        else:
            name = f"encoder/encoder_res_block_{i}"
            if before != after:
                layer(f"{name}/shortcut", before, after, 1, "shortcut_bn/BatchNorm", bias=False)
            layer(f"{name}/conv1", before, hidden, 3, "bn_1/BatchNorm", bias=False)
            layer(f"{name}/conv2", hidden, after, 3, "bn_2/BatchNorm", bias=False)
        before = after
    num_layers = 2 * resolution.bit_length() - 4
    dense = "Latent_out" if newer else "encoder/encoder_fc"
    found[f"{dense}/weight"] = draw(16 * before, w_dim * num_layers, scale=0.1)
    if newer:
        found[f"{dense}/bias"] = draw(w_dim * num_layers, scale=0.3)
    statistics(f"{dense}/batch_norm" if newer else f"{dense}/fc_1/BatchNorm", w_dim * num_layers)
    made = {"size": resolution, "filter": channels, "filter_max": channels_max}
    made |= {"num_layers": num_layers, "is_training": True, "num_gpus": 8}
    return network("E_gpu0", found, function="Encoder", settings=made), found


def write(path: Path, *, variant: str | None = None, **choices: Any) -> dict[str, dict[str, Any]]:
    """Writes (G, D, Gs), or with a variant (E, G, D, Gs); their variables by network.

    Choices are those of `tf_stylegan_files.generator`.
    """
    choices = {"multi_w": True, **choices}
    channels = choices.get("channels", (5, 4, 3))
    g, g_variables = tf_stylegan_files.generator(seed=3, **choices)
    gs, gs_variables = tf_stylegan_files.generator(seed=4, **choices)
    d, d_variables = tf_stylegan_files.discriminator(channels)
    held = {"G": g_variables, "D": d_variables, "Gs": gs_variables}
    if variant is None:
        write_pickle(path, (g, d, gs))
        return held
    e, e_variables = encoder(variant, resolution=2 << len(channels))
    write_pickle(path, (e, g, d, gs))
    return {"E": e_variables, **held}
