"""``generator.path=trained:KIND``: the trained GAN of that kind for a command's data and scale."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from idinvert.checkpoints.bundle import SHIPPED, assets_folder, find_weights
from idinvert.checkpoints.release import Header, read_header
from idinvert.config.argv import for_shell
from idinvert.config.compose import compose_plain, config_dir
from idinvert.config.run_folder import locked
from idinvert.errors import CheckpointError, ConfigError, RunLockedError, nearest

TRAINED = "trained:"
KINDS = {
    "stylegan": ("StyleGANGenerator", False),
    "stylegan_multi_w": ("StyleGANGenerator", True),
    "stylegan2": ("StyleGAN2Generator", False),
    "stylegan2_multi_w": ("StyleGAN2Generator", True),
}
"""Kind to class, and whether its mapping gives one w per layer (Sec. 6.2)."""
OF_SIZE = ("w_dim", "channels", "mapping_depth")
"""Keys of ``scale`` that size a generator."""


def with_trained_generator(config: dict[str, Any]) -> dict[str, Any]:
    """Replaces ``generator.path=trained:KIND`` by the path of a trained generator.

    Chooses among this machine's GAN runs and the shipped generators of that kind, data set,
    resolution and size (`OF_SIZE`) the one that has seen the most images. A sweep over data sets or
    generators then needs no paths. A run's identity contains the hash of the weights, not this
    name.

    Raises:
        ConfigError: An unknown kind, or none was trained; names the command that trains it, and a
            generator of another size if there is one.
    """
    path = (config["generator"] or {}).get("path")
    if not isinstance(path, str) or not path.startswith(TRAINED):
        return config
    kind = path.removeprefix(TRAINED)
    if kind not in KINDS:
        raise ConfigError(f"generator.path={path}: no such kind. " + nearest(kind, list(KINDS)))
    name, resolution = data_name(config["data"]), config["data"]["resolution"]
    found = [
        (header.provenance.get("nimg", 0), place, header.architecture)
        for place, header in networks("generator", _finished_gans(config))
        if (header.class_name, bool(header.architecture["multi_w"])) == KINDS[kind]
        and header.provenance.get("data") == name
        and header.architecture["resolution"] == resolution
    ]
    size = {key: config["scale"].get(key) for key in OF_SIZE}
    size = {key: value for key, value in size.items() if value is not None}
    fitting = [one for one in found if not _differing(one[2], size)]
    if not fitting:
        message = (
            f"generator.path={path}: no GAN of that kind has been trained for {name} at "
            f"{resolution} px with {_sizes(size)}. Train it first: {gan_command(kind, config)}"
        )
        for _, place, architecture in sorted(found, key=lambda one: -one[0])[:1]:
            other = _sizes({key: architecture[key] for key in _differing(architecture, size)})
            message += f"; or take the one with {other}: generator.path={place}"
        raise ConfigError(message)
    _, place, _ = max(fitting, key=lambda one: one[0])
    return config | {"generator": config["generator"] | {"path": place}}


def _differing(architecture: Mapping[str, Any], size: Mapping[str, Any]) -> list[str]:
    return [key for key, value in size.items() if architecture.get(key) != value]


def _sizes(size: Mapping[str, Any]) -> str:
    return " ".join(f"scale.{key}={value}".replace(" ", "") for key, value in size.items())


def gan_command(kind: str, config: dict[str, Any]) -> str:
    """The command that trains a GAN of a kind for the configuration's data and scale."""
    architecture, multi = kind.split("_")[0], kind.endswith("_multi_w")
    name, path = data_name(config["data"]), config["data"].get("path")
    if (config_dir() / "data" / f"{name}.yaml").is_file():
        words = [f"data={name}"]
    else:
        words = ["data=folder", f"data.name={name}"]
    words += [f"data.path={path}"] if path else []
    words += [f"generator={architecture}", f"discriminator={architecture}"]
    words += ["generator.multi_w=true"] if multi else []
    scale = config["scale"]
    words += [f"scale={scale['name']}"] if scale["name"] != "miniature" else []
    if any(key in scale for key in OF_SIZE):
        usual = compose_plain("train", [f"scale={scale['name']}"])["scale"]
        own = {key: scale[key] for key in OF_SIZE if key in scale and scale[key] != usual[key]}
        words += _sizes(own).split()
    return f"python train.py experiment=gan {for_shell(words)}"


def data_name(node: dict[str, Any]) -> str:
    """The name of a data node's images in records."""
    return node.get("name") or node["_target_"].rsplit(".", 1)[-1]


def _finished_gans(config: dict[str, Any]) -> list[Path]:
    """The folders of this machine's GANs that are not being trained, so that they do not change."""
    folders = []
    for path in Path(config["system"]["outputs"]).glob("gan/*/weights/generator.*"):
        with contextlib.suppress(RunLockedError), locked(path.parents[1]):
            folders.append(path.parents[1])
    return sorted(set(folders))


def networks(role: str, folders: Sequence[Path]) -> Iterator[tuple[str, Header]]:
    """Yields path and header of the readable networks of a role: of runs, then shipped ones."""
    shipped = sorted(assets_folder().glob(f"*/{role}.safetensors"))
    for place in [*map(str, folders), *(f"{SHIPPED}{path.parent.name}" for path in shipped)]:
        try:
            path = find_weights(place, role=role, key=f"{role}.path")
            yield place, read_header(path, key=f"{role}.path")
        except CheckpointError:
            continue  # incomplete, or of another version
