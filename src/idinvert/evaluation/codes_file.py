"""The file of inverted codes, ``codes.safetensors``: what inversion writes and edits read back."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from idinvert.checkpoints.tensor_file import FLOATS, read_tensors, write_tensors
from idinvert.errors import CheckpointError
from idinvert.untrusted import parse_json

NAME = "codes.safetensors"


@dataclass(frozen=True, eq=False)
class Codes:
    """Codes of images, and what their images are made with.

    Attributes:
        codes: float32 [N, L, w_dim].
        names: Of the N images.
        generator: Content hash of their generator; "" where it is not known.
        noise: Maps that the images are made with, each [N, 1, h, w]; None for the generator's own.
        z: float32 [N, z_dim], where z was optimised.
    """

    codes: Tensor
    names: Sequence[str]
    generator: str = ""
    noise: Sequence[Tensor] | None = None
    z: Tensor | None = None

    def write(self, folder: Path) -> Path:
        """Writes them below a folder, atomically; returns the file."""
        tensors = {"codes": self.codes} | {f"noise.{i}": m for i, m in enumerate(self.noise or ())}
        tensors |= {} if self.z is None else {"z": self.z}
        about = {"names": json.dumps(list(self.names)), "generator": self.generator}
        write_tensors(folder / NAME, tensors, metadata=about)
        return folder / NAME


def read_codes(path: Path, *, generator: str) -> Codes:
    """Reads codes for a generator.

    Args:
        path: The file, or the folder that holds it.
        generator: Content hash of the generator that shall take them.

    Raises:
        CheckpointError: There is no such file, it cannot be read, or is of another generator.
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
    return Codes(codes, names, about.get("generator", ""), noise or None, tensors.get("z"))
