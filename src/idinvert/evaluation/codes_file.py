"""The file of inverted codes, ``codes.safetensors``, which task=invert writes and edits read."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from idinvert.checkpoints.tensor_file import FLOATS, read_tensors, write_tensors
from idinvert.errors import CheckpointError
from idinvert.networks.generator import SynthesisState
from idinvert.untrusted import parse_json

NAME = "codes.safetensors"


@dataclass(frozen=True, eq=False)
class Codes:
    """Codes of images, and what else is needed to render them.

    Attributes:
        codes: float32 [N, L, w_dim].
        names: Names of the N images.
        generator: Content hash of their generator; "" if unknown.
        noise: Noise maps of the images, each [N, 1, h, w]; None for the generator's own.
        z: float32 [N, z_dim], if z was optimised.
        state: The state from which the generator resumes, if codes alone do not determine the
            images.
    """

    codes: Tensor
    names: Sequence[str]
    generator: str = ""
    noise: Sequence[Tensor] | None = None
    z: Tensor | None = None
    state: SynthesisState | None = None

    def write(self, folder: Path) -> Path:
        """Writes them into a folder, atomically; returns the file."""
        tensors = {"codes": self.codes} | {f"noise.{i}": m for i, m in enumerate(self.noise or ())}
        tensors |= {} if self.z is None else {"z": self.z}
        tensors |= {} if self.state is None else state_tensors(self.state)
        about = {"names": json.dumps(list(self.names)), "generator": self.generator}
        write_tensors(folder / NAME, tensors, metadata=about)
        return folder / NAME


def read_codes(path: Path, *, generator: str) -> Codes:
    """Reads codes for a generator.

    Args:
        path: The file, or the folder that contains it.
        generator: Content hash of the generator that will render them.

    Raises:
        CheckpointError: The file is missing, cannot be read, or belongs to another generator.
    """
    path = path / NAME if path.is_dir() else path
    try:
        found = read_tensors(path)
        about, tensors = found.metadata, found.tensors
        names = [str(name) for name in parse_json(about["names"])]
        codes = tensors["codes"]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"cannot read codes from {path}: {error!r}; expected a {NAME} as task=invert writes it"
        ) from error
    fit = codes.ndim == 3 and codes.dtype in FLOATS and len(names) == len(codes)
    if not fit or not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise CheckpointError(
            f"{path} has {codes.dtype} codes of shape {list(codes.shape)} and {len(names)} names; "
            "expected finite floats [N, L, w_dim] and N names"
        )
    if about.get("generator") not in ("", None, generator):
        raise CheckpointError(
            f"{path} holds codes of generator {about['generator']}, but this one is {generator}"
        )
    noise = [tensors[f"noise.{i}"] for i in range(len(tensors)) if f"noise.{i}" in tensors]
    state = state_of(tensors.get)
    if state is not None and any(len(maps) != len(codes) for maps in state.maps.values()):
        raise CheckpointError(f"{path} has features of another number of images than {len(codes)}")
    made_by = about.get("generator", "")
    return Codes(codes, names, made_by, noise or None, tensors.get("z"), state)


def state_tensors(state: SynthesisState) -> dict[str, Tensor]:
    """Returns a state of N rows as named tensors of N rows, for files; `state_of` reads them."""
    layer = torch.full((len(state.features),), state.layer)
    return {f"state.{name}": maps.float() for name, maps in state.maps.items()} | {
        "state.layer": layer
    }


def state_of(get: Callable[[str], Tensor | None]) -> SynthesisState | None:
    """Returns the state in named tensors; None if there is none."""
    features, layer = get("state.features"), get("state.layer")
    if features is None or layer is None:
        return None
    return SynthesisState(features, get("state.image"), int(layer[0]), get("state.shortcut"))
