"""The release format: a safetensors file per network, from which the network can be rebuilt."""

import importlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from idinvert.checkpoints.strict_loading import BUILD_ERRORS, StrictStateDict, load
from idinvert.checkpoints.tensor_file import TensorFileError, read_tensors, write_tensors
from idinvert.data.content import file_hash, weights_cache_dir
from idinvert.errors import CheckpointError
from idinvert.untrusted import parse_json, shown

FORMAT = "idinvert-1"
_PROVENANCE = {
    "run": str, "command": str, "data": str, "nimg": int, "seed": int, "choices": dict,
    "stands_on": dict,
}  # fmt: skip
_PREFIX = "idinvert-"

# Class name -> (role, module). A weights file may come from anywhere, so a class of another package
# is only built if the user who opens the file names it too: classes=[…] on the command line.
CLASSES: dict[str, tuple[str, str]] = {
    "StyleGANGenerator": ("generator", "idinvert.networks.stylegan"),
    "StyleGAN2Generator": ("generator", "idinvert.networks.stylegan2"),
    "StyleGANDiscriminator": ("discriminator", "idinvert.networks.stylegan_discriminator"),
    "StyleGAN2Discriminator": ("discriminator", "idinvert.networks.stylegan2_discriminator"),
    "LatentDiscriminator": ("latent_discriminator", "idinvert.networks.latent_discriminator"),
    "Encoder": ("encoder", "idinvert.networks.encoder"),
    "E4eEncoder": ("encoder", "idinvert.networks.psp_encoder"),
    "PspEncoder": ("encoder", "idinvert.networks.psp_encoder"),
    "AttributeNetwork": ("attributes", "idinvert.networks.attributes"),
    "JoinedAttributes": ("attributes", "idinvert.networks.attributes"),
    "Segmenter": ("segmenter", "idinvert.networks.segmenter"),
}


@dataclass(frozen=True)
class Header:
    """The metadata of a release file.

    Args:
        class_name: Class of the network: a key of `CLASSES`, or the full name of a user's own.
        role: ``"generator"``, ``"discriminator"``, ``"latent_discriminator"``, ``"encoder"``,
            ``"attributes"`` or ``"segmenter"``.
        architecture: Arguments that rebuild the network.
        provenance: Origin of the weights: command, seed, commit, nimg.
        shapes: Tensor name to shape.
    """

    class_name: str
    role: str
    architecture: dict[str, Any]
    provenance: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]


def save_network(
    module: nn.Module,
    path: str | Path,
    *,
    provenance: dict[str, Any],
    role: str | None = None,
    half: bool = False,
) -> None:
    """Write a network atomically: an older file stays until the new one is complete.

    Args:
        module: A network with its ``architecture``.
        path: Output file; folders are created.
        provenance: JSON-able; origin of the weights.
        role: See `Header`; only needed for classes outside `CLASSES`.
        half: Round to float16, for half the size; `load_network` returns float32.

    Raises:
        CheckpointError: The class is not one of `CLASSES` and no role was given; or, with ``half``,
            a number is beyond float16's range.
        OutputError: The file could not be written.
    """
    path = Path(path)
    name = type(module).__name__
    if CLASSES.get(name, ("", ""))[1] != type(module).__module__:
        if role is None:
            known = sorted(CLASSES)
            raise CheckpointError(f"{path}: cannot save a {name}, expected one of {known}")
        name = f"{type(module).__module__}.{type(module).__qualname__}"
    metadata = {
        "format": FORMAT,
        "class": name,
        **({"role": role} if role is not None and _is_own(name) else {}),
        "architecture": json.dumps(module.architecture),
        "provenance": json.dumps(provenance),
    }
    # Clones, because the format refuses tensors that share memory.
    tensors = {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in module.state_dict().items()
    }
    if half:
        tensors = {key: _in_half(value, key=key, path=path) for key, value in tensors.items()}
    write_tensors(path, tensors, metadata=metadata)


def read_header(path: str | Path, *, key: str = "path") -> Header:
    """Read the metadata of a release file, without its tensors.

    Args:
        path: The file.
        key: The config key that named it, for messages.

    Raises:
        CheckpointError: Missing or broken file, other or newer format, or unknown class.
    """
    path = Path(path)
    _check_is_file(path, key=key)
    try:
        metadata, shapes, _ = read_tensors(path, header_only=True)
    except (OSError, TensorFileError) as error:
        raise CheckpointError(
            f"{path}: {error}, expected a file written by this project; change {key}"
        ) from error
    _check_format(path, found=metadata.get("format"), key=key)
    name = metadata.get("class", "")
    role = CLASSES[name][0] if name in CLASSES else metadata.get("role")
    if role is None:
        raise CheckpointError(
            f"{path}: holds a network of class {name!r}, expected one of {sorted(CLASSES)}; "
            f"change {key}"
        )
    try:
        architecture = _parsed(metadata["architecture"])
        provenance = _parsed(metadata.get("provenance", "{}"))
        for name_of, kind in _PROVENANCE.items():
            if not isinstance(provenance.get(name_of), kind | None):
                raise ValueError(f"{name_of} of its provenance is no {kind.__name__}")
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path}: its header does not describe the architecture ({error}); change {key}"
        ) from error
    return Header(name, role, architecture, provenance, shapes)


def load_network(
    path: str | Path, *, key: str, expect: str | None = None, classes: Collection[str] = ()
) -> nn.Module:
    """Rebuild a network from its file: ``eval()``, no gradients, on the CPU.

    Args:
        path: The file.
        key: The config key that named it, for messages.
        expect: The required role (see `Header`); None for any.
        classes: Full names of user classes that may be built: ``my_encoder.MyBackbone``.

    Raises:
        CheckpointError: As in `read_header`; or a user class that is not one of ``classes``,
            another role, or tensors that do not match.
    """
    path = Path(path)
    header = read_header(path, key=key)
    if expect is not None and header.role != expect:
        raise CheckpointError(
            f"{path}: holds a network of role {header.role!r} ({header.class_name}), expected "
            f"{expect!r}; change {key}"
        )
    try:
        tensors = read_tensors(path).tensors
    except (OSError, TensorFileError) as error:
        raise CheckpointError(f"{path}: could not be read ({error}); change {key}") from error
    state = StrictStateDict(tensors, what=str(path), key=key)
    return load(lambda: _build(header, classes, path=path, key=key), None, state)


def _parsed(text: str) -> dict[str, Any]:
    found = parse_json(text)
    if not isinstance(found, dict):
        raise ValueError(f"is {shown(found)}, expected names and values")
    return found


def opened_folder() -> Path:
    """Return the folder of native copies of foreign checkpoints, in subfolders named by sha256."""
    return weights_cache_dir() / "opened"


def fingerprint(path: str | Path) -> str:
    """Return the first 16 hexadecimal digits of the file's sha256.

    For a native copy of a foreign checkpoint, these are the digits of the original file.
    """
    folder = Path(path).parent
    if folder.parent == opened_folder():
        return folder.name[:16]
    return file_hash(path)[:16]


def _in_half(tensor: Tensor, *, key: str, path: Path) -> Tensor:
    """Round a float tensor to float16; return others, such as counters, unchanged."""
    if not tensor.is_floating_point():
        return tensor
    rounded = tensor.half()
    if not rounded.isfinite().all():
        largest = tensor.abs().max().item()
        raise CheckpointError(
            f"{path}: {key} holds {largest:g}, beyond float16's {torch.finfo(torch.half).max:g}; "
            "leave --half out"
        )
    return rounded


def _build(header: Header, classes: Collection[str], *, path: Path, key: str) -> nn.Module:
    name = header.class_name
    if _is_own(name):
        cls = _own_class(name, classes=classes, path=path, key=key)
    else:
        cls = getattr(importlib.import_module(CLASSES[name][1]), name)
    try:
        parts = _with_own_parts(header.architecture, classes=classes, path=path, key=key)
        return cls(**parts)
    except CheckpointError:
        raise
    except BUILD_ERRORS as error:
        raise CheckpointError(
            f"{path}: {header.class_name} cannot be rebuilt from the architecture in the file "
            f"({error}); it may come from another version of idinvert; change {key}"
        ) from error


def _is_own(name: str) -> bool:
    """Return whether a class belongs to another package, whose classes have full names."""
    return "." in name


def _with_own_parts(
    node: dict[str, Any], *, classes: Collection[str], path: Path, key: str
) -> dict[str, Any]:
    """Build the parts of an architecture that are user classes (an encoder's backbone).

    Args:
        node: Plain values; a part is a dict with a ``class``.
        classes: Full names of the user classes that may be built.
        path: The file, for messages.
        key: The config key that named it, for messages.

    Raises:
        CheckpointError: As in `_own_class`.
    """
    built: dict[str, Any] = dict(node)
    for name, part in node.items():
        if isinstance(part, dict) and _is_own(str(part.get("class", ""))):
            arguments = {key: value for key, value in part.items() if key != "class"}
            built[name] = _own_class(part["class"], classes=classes, path=path, key=key)(
                **arguments
            )
    return built


def _own_class(name: str, *, classes: Collection[str], path: Path, key: str) -> type[nn.Module]:
    """Return the class with a full name, if it may be built.

    Raises:
        CheckpointError: Only the file names it, it cannot be imported, or it is not a network.
    """
    if name not in classes:
        raise CheckpointError(
            f"{path}: holds a network of the class {name}, which is not this package's, and "
            "nothing is built because a file says so. If it is yours, name it on this command "
            f"line: classes=[{name}]."
        )
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: needs the class {name}, which cannot be imported ({error}); put the folder "
            f"of {module.split('.')[0]}.py on PYTHONPATH"
        ) from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise CheckpointError(f"{path}: {name} is no network (torch.nn.Module); change {key}")
    return found


def _check_is_file(path: Path, *, key: str) -> None:
    if not path.exists():
        raise CheckpointError(f"{path}: no such file, expected a network's weights; change {key}")
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "no regular file"
        raise CheckpointError(f"{path}: is {kind}, expected a network's weights; change {key}")


def _check_format(path: Path, *, found: str | None, key: str) -> None:
    if found == FORMAT:
        return
    if found is None or not found.removeprefix(_PREFIX).isdigit():
        raise CheckpointError(
            f"{path}: is a safetensors file of another kind (format {found!r}), expected "
            f"{FORMAT!r}; change {key}"
        )
    raise CheckpointError(
        f"{path}: has the newer format {found!r}, this version reads {FORMAT!r}; upgrade idinvert "
        f"or change {key}"
    )
