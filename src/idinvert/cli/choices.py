"""What was chosen to make an encoder, in the words that tables select by."""

from typing import Any

from idinvert.evaluation.networks import (
    network_choices,
    perceptual_name,
    plain_settings,
    room_name,
)


def choices_of(config: dict[str, Any], *, generator: Any, encoder: Any) -> dict[str, Any]:
    """The choices of a training run, JSON-able.

    They travel in the provenance of the weights, so that a shipped encoder and one of this
    machine's runs are told apart, or matched, by the same words.

    Args:
        config: The resolved configuration as plain values.
        generator: G that was trained, or that the encoder belongs to.
        encoder: E, where one is trained.

    Returns:
        ``scale``, ``objective`` (``name`` and its settings, with those of its ``schedule``),
        ``batch_size``, ``precision``, where D starts as ``discriminator``, and what there is of
        ``generator``, ``encoder``, ``latent`` and ``perceptual``; of a GAN, ``augment``.
    """
    objective = config["objective"]
    choices: dict[str, Any] = {
        "scale": config["scale"]["name"],
        "objective": {"name": room_name(objective["_target_"])} | plain_settings(objective),
        "batch_size": config["batch_size"],
        "precision": (config["trainer"] or {}).get("precision"),
    }
    if "schedule" in objective:
        schedule = objective["schedule"]
        name = schedule["_target_"].rsplit(".", 1)[-1]
        choices["objective"]["schedule"] = {"name": name} | plain_settings(schedule)
    if config.get("discriminator"):
        choices["discriminator"] = config["discriminator"]["init"]
    if generator is not None:
        choices["generator"] = network_choices(generator)
    if encoder is not None:
        noise = {key: encoder.architecture.get(key) for key in ("noise_blocks", "noise_std")}
        made = network_choices(encoder.backbone)
        if made.get("norm") == "sync":  # over how many images is the devices' matter
            made["norm"] = "batch"
        choices["encoder"] = made | {
            "noise_blocks": noise["noise_blocks"] or 0,
            "noise_std": noise["noise_std"] if noise["noise_blocks"] else None,
        }
        choices["latent"] = {
            "space": config["latent"]["space"],
            "offset": "w_avg" if encoder.architecture["offset"] else "none",
            "deltas": getattr(encoder, "deltas", False),
        }
        choices["perceptual"] = perceptual_name(config["perceptual"])
    elif "_target_" in (augment := config.get("augment") or {}):
        name = augment["_target_"].rsplit(".", 1)[-1]
        choices["augment"] = {"name": name} | plain_settings(augment)
    return choices
