"""Locates and opens weights: a bundle (a folder with a file per role), or any other checkpoint."""

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import idinvert
from idinvert.annotations import PathString
from idinvert.checkpoints.mean_code import mean_code
from idinvert.checkpoints.release import fingerprint, load_network, read_header, save_network
from idinvert.config.identity import digest_of
from idinvert.data.content import weights_cache_dir
from idinvert.errors import CheckpointError, nearest
from idinvert.networks.attributes import AttributeFeatures, AttributeNetwork, JoinedAttributes
from idinvert.networks.one_class import generator_of_class
from idinvert.untrusted import open_regular, parse_json, read_bounded

FOREIGN_ROLES = ("generator", "discriminator", "encoder")
"""Roles that files of other projects can contain."""
ROLES = ("generator", "discriminator", "attributes", "encoder", "segmenter")
"""Roles that a bundle of this project can contain; roles that others depend on come first."""
SHIPPED = "shipped:"
JOINED = {"all_mini": ("faces_mini", "towers_mini", "bedrooms_mini", "churches_mini")}
"""Data sets whose attribute network joins those of several shipped bundles."""
SETTINGS = ("fused_scale", "final_tanh", "conv_clamp", "mapping_lr_mul")
"""Constructor arguments of a generator that its file may not contain."""
_PLACE: Any = {"role": "generator", "key": "generator.path"}
NOT_READ = "not_read.json"
"""File beside native copies of a foreign file: roles that could not be read, with the reason."""
_HEADER = 1 << 20  # bytes of a safetensors header that are searched for this project's format


def assets_folder() -> Path:
    """Returns the folder of the files shipped inside the package."""
    return Path(idinvert.__file__).parent / "assets"


def shipped_place(path: str, *, key: str) -> Path:
    """Returns the folder of ``shipped:<name>``, or the file of ``shipped:<name>/<file>``.

    Args:
        path: Path that starts with ``shipped:``.
        key: The configuration key that gave ``path``, for the error.

    Raises:
        CheckpointError: Nothing with this name is shipped; the message has the nearest name.
    """
    folder, name = assets_folder(), path.removeprefix(SHIPPED)
    place = folder / name
    if place.exists() and folder.resolve() in place.resolve().parents:
        return place
    known = sorted(f"{SHIPPED}{each.name}" for each in folder.glob("*") if each.is_dir())
    raise CheckpointError(
        f"{key}={path}: nothing of this name is shipped. {nearest(path, known)} Change {key}."
    )


def is_native(path: Path) -> bool:
    """Returns whether a file is safetensors in a format of this project, complete or not."""
    try:
        with open_regular(path) as file:
            length = int.from_bytes(file.read(8), "little")
            header = file.read(min(length, _HEADER))
    except OSError:
        return False
    return header[:1] == b"{" and b'"format":"idinvert-' in header


def native_files(folder: Path) -> dict[str, Path]:
    """Returns the files in the folder of a bundle or a run, by role."""
    for place in (folder, folder / "weights"):
        files = {role: place / f"{role}.safetensors" for role in ROLES}
        files = {role: file for role, file in files.items() if file.is_file()}
        if files:
            return files
    return {}


def checked_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Validates settings and converts them to the types that readers take; see `open_checkpoint`.

    Raises:
        CheckpointError: A setting has an invalid value.
    """
    found: dict[str, Any] = {}
    for name in SETTINGS:
        if (value := settings.get(name)) is None:
            continue
        word = str(value).lower()
        if name in ("fused_scale", "final_tanh"):
            words: dict[str, Any] = {"true": True, "false": False}
            words |= {"auto": "auto"} if name == "fused_scale" else {}
            expected = ", ".join(words)
        else:
            words = {"none": None} if name == "conv_clamp" else {}
            expected = "a number above 0" + " or none" * bool(words)
            with contextlib.suppress(ValueError):
                number = float(word)
                words |= {word: number} if 0 < number < math.inf else {}
        if word not in words:
            raise CheckpointError(f"{name}={value}: expected {expected}; change {name}")
        found[name] = words[word]
    return found


def refuse_settings(given: Mapping[str, Any], known: tuple[str, ...], what: str) -> None:
    """Refuses settings that this kind of file stores itself, or that no such network has."""
    for name in given:
        if name not in known:
            takes = f"only {', '.join(known)} can be given" if known else "none can be given"
            raise CheckpointError(
                f"{what}: {name} is told by the file or fixed for its family ({takes}); leave "
                f"{name} out"
            )


def find_weights(
    path: str, *, role: str, key: str, settings: Mapping[str, Any] | None = None
) -> Path:
    """Returns the native file of one network.

    Args:
        path: A ``.safetensors`` file of this project; a run's folder; a folder that contains
            ``<role>.safetensors``; ``shipped:<name>`` for weights of this package; or a checkpoint
            of a foreign family (docs/checkpoints.md), of which a native copy is made.
        role: ``"generator"``, ``"discriminator"``, ``"encoder"``, ``"attributes"`` or
            ``"segmenter"``.
        key: The configuration key that gave ``path``, for the error.
        settings: Constructor arguments of a foreign generator, as in `open_checkpoint`; other keys
            are ignored, so a configuration node can be passed.

    Raises:
        CheckpointError: There is no network of that role, a foreign file cannot be read, or
            settings are given for a file that stores them itself.
    """
    given, shipped = Path(path).expanduser(), path.startswith(SHIPPED)
    name = path.removeprefix(SHIPPED)
    if role in FOREIGN_ROLES and not shipped and given.is_file() and not is_native(given):
        return _foreign(given, role, key=key, settings=settings)
    refuse_settings(checked_settings(settings or {}), (), f"{path} (this project's own)")
    if shipped:
        if name in JOINED and role == "attributes":
            return _joined_attributes(name, key=key)
        given = given if name in JOINED else shipped_place(path, key=key)
    if given.is_file():
        return given
    for folder in (given, given / "weights"):
        if (folder / f"{role}.safetensors").is_file():
            return folder / f"{role}.safetensors"
    if shipped:
        raise CheckpointError(_not_shipped(name, role=role, key=key))
    kind = "has no" if given.is_dir() else "does not exist, so it has no"
    raise CheckpointError(
        f"{key}={path} {kind} {role}.safetensors. Give {key} a weights file, the folder of a "
        f"finished run, or shipped:faces_mini."
    )


def _not_shipped(name: str, *, role: str, key: str) -> str:
    experiment = role if role in ("attributes", "segmenter") else "gan"
    experiment = "domain_guided" if role == "encoder" else experiment
    return (
        f"{key}={SHIPPED}{name}: no {role} is shipped for {name}. Train one with "
        f"python train.py experiment={experiment} data={name}, and give it by {key}=RUN"
        + ("; perceptual=none goes without F." if role == "attributes" else ".")
    )


def _joined_attributes(name: str, *, key: str) -> Path:
    """Returns a cached file that joins the attribute networks of several shipped bundles."""
    files = {
        part: find_weights(f"{SHIPPED}{part}", role="attributes", key=key) for part in JOINED[name]
    }
    mark = digest_of([fingerprint(file) for file in files.values()])[:16]
    path = weights_cache_dir() / "joined" / f"{name}-{mark}.safetensors"
    if not path.is_file():
        joined = JoinedAttributes(
            parts=[read_header(file, key=key).architecture for file in files.values()],
            prefixes=[part.removesuffix("_mini") for part in files],
        )
        for network, file in zip(joined.networks, files.values(), strict=True):
            network.load_state_dict(load_network(file, key=key).state_dict())
        save_network(joined, path, provenance={"run": f"{SHIPPED}{name}"})
    return path


def open_network(
    path: PathString, *, role: str, key: str, settings: Mapping[str, Any] | None = None
) -> Any:
    """Loads one network of a bundle or a checkpoint, frozen and in evaluation mode."""
    file = find_weights(path, role=role, key=key, settings=settings)
    return load_network(file, expect=role, key=key)


def open_features(path: PathString, *, key: str) -> Any:
    """Returns the attribute network of a bundle as F of the perceptual term."""
    network = open_network(path, role="attributes", key=key)
    assert isinstance(network, AttributeNetwork | JoinedAttributes)
    return AttributeFeatures(network=network).eval().requires_grad_(False)


def sibling(path: str, *, role: str, of: str, key: str) -> Path | None:
    """Returns the file of another role that belongs to the file at ``path``, or None.

    For ``ffhq.safetensors`` this is ``ffhq.discriminator.safetensors``, as written by ``python -m
    idinvert.checkpoints convert``, or else ``discriminator.safetensors``; for a foreign checkpoint,
    the network in the same file.

    Args:
        path: As in :func:`find_weights`.
        role: The role to find.
        of: The role of the file at ``path``.
        key: The configuration key that gave ``path``.

    Raises:
        CheckpointError: The foreign file has the role, but it could not be read.
    """
    file = find_weights(path, role=of, key=key)
    for name in (f"{file.stem}.{role}.safetensors", f"{role}.safetensors"):
        if file.with_name(name).is_file():
            return file.with_name(name)
    if reason := not_read(file.parent).get(role):
        raise CheckpointError(
            f"{key}={path} has a {role} that could not be read: {reason}. "
            f"Leave it out ({role}.init=scratch), or give another file."
        )
    return None


def not_read(folder: Path) -> dict[str, str]:
    """Returns the roles of a foreign file that could not be read, with reasons, from its copies.

    Raises:
        CheckpointError: The file of reasons is damaged.
    """
    file = folder / NOT_READ
    if not file.is_file():
        return {}
    try:
        found = parse_json(read_bounded(file, most=_HEADER))
        if isinstance(found, dict) and all(isinstance(reason, str) for reason in found.values()):
            return found
        reason = "expected reasons by role"
    except (OSError, ValueError) as error:
        reason = str(error)
    raise CheckpointError(f"{file}: is damaged ({reason}); delete it")


def _foreign(given: Path, role: str, *, key: str, settings: Mapping[str, Any] | None) -> Path:
    from idinvert.checkpoints.native_copies import native_copies  # imports every family

    folder = native_copies(given, key=key, role=role, settings=settings)
    file = folder / f"{role}.safetensors"
    if file.is_file():
        return file
    there = " and ".join(
        name for name in FOREIGN_ROLES if (folder / f"{name}.safetensors").is_file()
    )
    advice = {
        "generator": "Give its generator's own file",
        "discriminator": "Set discriminator.init=checkpoint with the file of a discriminator, or "
        "discriminator.init=scratch",
        "encoder": "Give an encoder's own file",
    }[role]
    raise CheckpointError(f"{key}={given} holds {there}, but no {role}. {advice} ({key}).")


def open_generator(node: Mapping[str, Any]) -> Any:
    """Opens the frozen generator of a configuration node with a ``path``.

    With a ``label`` it is that class of a conditional generator, with the mean code of the class.

    Raises:
        CheckpointError: See `find_weights`.
        ConfigError: There is no such class.
    """
    generator = open_network(node["path"], settings=node, **_PLACE)
    if node.get("label") is not None:
        generator = generator_of_class(generator, node["label"])
        generator.w_avg.copy_(mean_code(generator))
    return generator


def generator_hash(node: Mapping[str, Any]) -> str:
    """Returns the content hash of that generator; each class of a file has its own."""
    digest = fingerprint(find_weights(node["path"], settings=node, **_PLACE))
    label = node.get("label")
    return digest if label is None else digest_of([digest, label])[:16]
