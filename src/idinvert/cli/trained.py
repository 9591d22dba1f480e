"""``generator.path=trained:stylegan_multi_w``: the GAN of a kind that was trained for the data."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from idinvert.checkpoints.assets import assets_folder
from idinvert.checkpoints.bundle import SHIPPED, find_weights
from idinvert.checkpoints.release import Header, read_header
from idinvert.config.compose import config_dir
from idinvert.config.instantiate import nearest
from idinvert.config.run_folder import locked
from idinvert.errors import CheckpointError, ConfigError, RunLockedError

TRAINED = "trained:"
KINDS = {
    "stylegan": ("StyleGANGenerator", False),
    "stylegan_multi_w": ("StyleGANGenerator", True),
    "stylegan2": ("StyleGAN2Generator", False),
    "stylegan2_multi_w": ("StyleGAN2Generator", True),
}
"""Class, and whether its mapping gives one w a layer (Sec. 6.2)."""


def with_trained_generator(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with the place of the weights for ``generator.path=trained:KIND``.

    Of this machine's GAN runs and the shipped generators it takes those of the kind, the data set
    and the resolution, and of these the one that has seen the most images. So that a sweep over
    data sets or generators needs no paths; a run's identity holds the weights' hash, not the word.

    Raises:
        ConfigError: An unknown kind, or none was trained; the command that would is named.
    """
    path = (config["generator"] or {}).get("path")
    if not isinstance(path, str) or not path.startswith(TRAINED):
        return config
    kind = path.removeprefix(TRAINED)
    if kind not in KINDS:
        raise ConfigError(f"generator.path={path}: no such kind. " + nearest(kind, list(KINDS)))
    name, resolution = data_name(config["data"]), config["data"]["resolution"]
    fitting = [
        (header.provenance.get("nimg", 0), place)
        for place, header in _generators(Path(config["system"]["outputs"]))
        if (header.class_name, bool(header.architecture["multi_w"])) == KINDS[kind]
        and header.provenance.get("data") == name
        and header.architecture["resolution"] == resolution
    ]
    if not fitting:
        raise ConfigError(
            f"generator.path={path}: no GAN of that kind has been trained for {name} at "
            f"{resolution} px. Train it first: {gan_command(kind, config)}"
        )
    _, place = max(fitting, key=lambda found: found[0])
    return config | {"generator": config["generator"] | {"path": place}}


def gan_command(kind: str, config: dict[str, Any]) -> str:
    """The command that trains a GAN of a kind for the configuration's data."""
    architecture, multi = kind.split("_")[0], kind.endswith("_multi_w")
    name, path = data_name(config["data"]), config["data"].get("path")
    if (config_dir() / "data" / f"{name}.yaml").is_file():
        words = [f"data={name}"]
    else:
        words = ["data=folder", f"data.name={name}"]
    words += [f"data.path={path}"] if path else []
    words += [f"generator={architecture}", f"discriminator={architecture}"]
    words += ["generator.multi_w=true"] if multi else []
    words += [f"scale={config['scale']['name']}"] if config["scale"]["name"] != "miniature" else []
    return " ".join(["python train.py experiment=gan", *words])


def data_name(node: dict[str, Any]) -> str:
    """The name that records give a data node's images."""
    return node.get("name") or node["_target_"].rsplit(".", 1)[-1]


def _generators(outputs: Path) -> Iterator[tuple[str, Header]]:
    """Whole generators: of runs that are not at work, then the shipped ones."""
    for folder in sorted(path.parents[1] for path in outputs.glob("gan/*/weights/generator.*")):
        try:
            with locked(folder):
                pass
        except RunLockedError:
            continue  # its weights are still changing
        yield from _header_at(str(folder))
    for path in sorted(assets_folder().glob("*/generator.safetensors")):
        yield from _header_at(f"{SHIPPED}{path.parent.name}")


def _header_at(place: str) -> Iterator[tuple[str, Header]]:
    try:
        path = find_weights(place, role="generator", key="generator.path")
        yield place, read_header(path, key="generator.path")
    except CheckpointError:
        return  # half written, or of another version
