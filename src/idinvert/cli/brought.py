"""What ``run=RUN`` brings along to an evaluation: its data, its networks, its scale."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from idinvert.checkpoints.assets import assets_folder
from idinvert.checkpoints.bundle import SHIPPED
from idinvert.checkpoints.release import read_header
from idinvert.cli.run_config import take
from idinvert.config.compose import compose_plain
from idinvert.config.instantiate import targets
from idinvert.config.run_folder import find_run, read_config
from idinvert.errors import ConfigError

FROM_RUN = ("scale", "data", "generator", "perceptual", "attributes", "metric")
"""Top-level keys that a run brings along, unless the command line gives them."""


def with_run(config: dict[str, Any], *, given: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The configuration with what ``run=RUN`` brings along.

    Args:
        config: The resolved configuration as plain values.
        given: Keys that stand on the command line, as `given_keys` sorts them; they win over the
            run's: a group as a whole (``data=folder``), or a single key (``data.test=8``).

    Returns:
        A configuration whose ``n`` and ``batch_size`` are numbers.

    Raises:
        ConfigError: No such run, or a number that makes no sense.
    """
    config = dict(config)
    if config["run"] is not None:
        stored, encoder = _stored(config)
        config |= _brought_by(stored, config, given=given)
        if not {"encoder", "encoder.path"} & set(given.get("encoder", ())):
            config["encoder"] = {"path": encoder, "classes": _own_classes(stored["encoder"])}
    if config["n"] is None:
        config["n"] = config["scale"]["n_test"]
    if config["batch_size"] is None:
        config["batch_size"] = config["scale"]["inversion_batch_size"]
    if config["batch_size"] < 1:
        raise ConfigError(f"batch_size={config['batch_size']}: expected 1 or more.")
    return config


def _own_classes(node: dict[str, Any] | None) -> list[str]:
    """The classes outside this package that a run's encoder was built from."""
    names = [str(below["_target_"]) for _, below in targets(node)]
    stored = list((node or {}).get("classes") or ())
    return stored + [name for name in names if not name.startswith("idinvert.")]


def _stored(config: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """The configuration of ``run``, and where its encoder is; a GAN has none.

    A shipped run has no folder here; what it stands on is shipped with it. Tables print commands
    with its id.

    Raises:
        ConfigError: No such run, here or shipped.
    """
    try:
        folder = find_run(config["run"], outputs=config["system"]["outputs"])
    except ConfigError:
        bundle = shipped_bundle(config["run"])
        if bundle is None:
            raise
        data, path = bundle
        return compose_plain("evaluate", [f"data={data}", f"generator.path={path}"]), path
    stored = read_config(folder)
    return (stored, str(folder)) if stored["encoder"] else (_of_gan(stored, folder), None)


def _of_gan(stored: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What the run of a GAN brings: G as it came out, and the networks that go with its data."""
    usual = compose_plain("evaluate", [f"data._target_={stored['data']['_target_']}"])
    networks = {key: usual[key] for key in ("perceptual", "attributes")}
    return {**stored, **networks, "generator": {"path": str(folder)}}


def shipped_bundle(run: str) -> tuple[str, str] | None:
    """The data set and the place (``shipped:NAME``) of an encoder that comes with this package.

    Args:
        run: The id of the run that trained it.
    """
    for path in sorted(assets_folder().glob("*/encoder.safetensors")):
        provenance = read_header(path, key="run").provenance
        if provenance.get("run") == run:
            return provenance["data"], f"{SHIPPED}{path.parent.name}"
    return None


def _brought_by(
    stored: dict[str, Any], config: dict[str, Any], *, given: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """What a run brings along, with the single keys that stand on the command line."""
    brought = {
        key: stored[key]
        for key in FROM_RUN
        if key in stored and key not in given.get(key, ()) and (stored[key] or key not in given)
    }
    take(brought, config, [word for key in brought for word in given.get(key, ())])
    if "cache_dir" in brought.get("data", {}) and "data.cache_dir" not in given.get("data", ()):
        brought["data"]["cache_dir"] = config["system"]["cache"]  # this machine's
    return brought
