"""Edit directions n of Eq. (5): their class, their files, and checks against a generator."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from idinvert.checkpoints.tensor_file import FLOATS, TensorFileError, read_tensors, write_tensors
from idinvert.errors import CheckpointError, ConfigError
from idinvert.untrusted import parse_json, shown

FORMAT = "idinvert-directions-1"


@dataclass(frozen=True)
class Direction:
    """A unit normal in code space and the layers that it moves.

    Attributes:
        name: the attribute, for example "eyeglasses".
        vector: float32 [L, w_dim] (one normal per layer) or [1, w_dim] (the same for all layers);
            every row has length 1.
        layers: the layers that an edit moves, or None for all of them.
        provenance: JSON-able facts: its training, its held-out accuracy, its generator.
    """

    name: str
    vector: Tensor
    layers: tuple[int, ...] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """Hash of everything that affects an edit: normals, layers, sigma; 16 hex digits."""
        digest = hashlib.sha256(self.vector.float().contiguous().numpy().tobytes())
        facts = (self.vector.shape, self.layers, self.provenance.get("sigma"))
        digest.update(json.dumps(facts).encode())
        return digest.hexdigest()[:16]

    def __post_init__(self) -> None:
        if self.vector.ndim != 2:
            raise ConfigError(
                f"direction {self.name!r} has shape {list(self.vector.shape)}: expected [L, w_dim] "
                "or [1, w_dim]"
            )
        lengths = self.vector.double().norm(dim=1)
        if not torch.allclose(lengths, torch.ones_like(lengths), atol=1e-3):
            raise ConfigError(
                f"direction {self.name!r} has rows of length {lengths.min():.4g} to "
                f"{lengths.max():.4g}: expected unit vectors, so that α means the same everywhere"
            )


def check_direction(
    direction: Direction, *, num_layers: int, w_dim: int, generator: str | None = None
) -> None:
    """Refuse a direction that belongs to another code space.

    Args:
        direction: the direction.
        num_layers: L of the generator.
        w_dim: of the generator.
        generator: the generator's fingerprint; compared if the direction stores one, because
            directions do not transfer between generators of the same shape.

    Raises:
        CheckpointError: names what the direction has and what the generator expects.
    """
    name, (rows, width) = direction.name, direction.vector.shape
    if width != w_dim or rows not in (1, num_layers):
        raise CheckpointError(
            f"direction {name!r} is [{rows}, {width}], but the generator's codes are "
            f"[{num_layers}, {w_dim}]; give directions found for this generator (task.directions)"
        )
    outside = [k for k in direction.layers or () if not 0 <= k < num_layers]
    if outside:
        raise CheckpointError(
            f"direction {name!r} moves layers {outside}, but the generator has layers 0 to "
            f"{num_layers - 1}; give directions found for this generator (task.directions)"
        )
    origin = direction.provenance.get("generator")
    if generator is not None and origin is not None and origin != generator:
        raise CheckpointError(
            f"direction {name!r} was found for generator {origin}, not for {generator}; train "
            "directions for this generator, or give its own (task.directions)"
        )


def conditioned(direction: Direction, others: Sequence[Direction]) -> Direction:
    """Project a direction orthogonally to others (InterFaceGAN's conditional boundary).

    Args:
        direction: n, [K, w_dim] with K = L or 1.
        others: the directions along which codes must not move, each [K, w_dim] or [1, w_dim].

    Returns:
        The normalised component of n orthogonal to all `others`, layer by layer.

    Raises:
        ConfigError: n lies in the span of `others`.
    """
    rows = max(d.vector.shape[0] for d in (direction, *others))
    n = direction.vector.double().expand(rows, -1)  # [K, w]
    basis = torch.stack([d.vector.double().expand(rows, -1) for d in others], dim=2)  # [K, w, C]
    share = torch.linalg.lstsq(basis, n[..., None]).solution  # [K, C, 1]
    rest = n - (basis @ share)[..., 0]
    lengths = rest.norm(dim=1, keepdim=True)
    if (lengths < 1e-6).any():
        raise ConfigError(
            f"direction {direction.name!r} lies in the span of {[d.name for d in others]}: nothing "
            "is left of it; drop one of them from task.conditions"
        )
    kept = {**direction.provenance, "conditioned_on": [d.name for d in others]}
    return Direction(direction.name, (rest / lengths).float(), direction.layers, kept)


def save_directions(path: Path, directions: Iterable[Direction]) -> None:
    """Write directions to one safetensors file, atomically.

    Raises:
        ConfigError: two directions have the same name, or there is none.
    """
    directions = list(directions)
    names = [d.name for d in directions]
    if len(set(names)) != len(names) or not names:
        raise ConfigError(f"directions must have different names, at least one; got {names}")
    facts = {
        d.name: {"layers": d.layers and list(d.layers), "provenance": d.provenance}
        for d in directions
    }
    write_tensors(
        Path(path),
        {d.name: d.vector.detach().cpu().float().contiguous() for d in directions},
        metadata={"format": FORMAT, "directions": json.dumps(facts, sort_keys=True)},
    )


def load_directions(
    path: Path,
    *,
    num_layers: int | None = None,
    w_dim: int | None = None,
    generator: str | None = None,
) -> dict[str, Direction]:
    """Read directions, and check them against a generator if its shape is given.

    Args:
        path: a file of `save_directions`.
        num_layers, w_dim: of the generator, or None to skip the check.
        generator: the generator's fingerprint, or None.

    Returns:
        Directions by name, in the order of the file, which is sorted by name.

    Raises:
        CheckpointError: the file cannot be read, has another format, or does not match.
    """
    try:
        metadata, _, vectors = read_tensors(path)
    except (OSError, TensorFileError) as error:
        raise CheckpointError(
            f"cannot read directions from {path}: {error}; expected a file of task=directions "
            "(task.directions)"
        ) from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has format {metadata.get('format')!r}: expected {FORMAT!r} (task.directions)"
        )
    found: dict[str, Direction] = {}
    try:
        for name, facts in parse_json(metadata["directions"]).items():
            found[name] = _direction(name, vectors[name], **facts)
    except (KeyError, TypeError, AttributeError, ValueError, ConfigError) as error:
        raise CheckpointError(
            f"cannot read directions from {path}: it is damaged ({type(error).__name__}: "
            f"{shown(str(error))}); expected a file of task=directions (task.directions)"
        ) from error
    for name in found:
        if num_layers is not None and w_dim is not None:
            check_direction(found[name], num_layers=num_layers, w_dim=w_dim, generator=generator)
    return found


def _direction(name: str, vector: Tensor, *, layers: Any, provenance: Any) -> Direction:
    """Create a direction from the content of an untrusted file.

    Raises:
        ValueError: its parts have other types, or its values are not finite.
    """
    numbers = layers if isinstance(layers, list) else []
    if layers is not None and not (numbers and all(type(k) is int for k in numbers)):
        raise ValueError(f"direction {shown(name)} moves layers that are no whole numbers")
    if not isinstance(provenance, dict):
        raise ValueError(f"direction {shown(name)} has a provenance that is none")
    if vector.dtype not in FLOATS or not vector.isfinite().all() or vector.numel() == 0:
        raise ValueError(f"direction {shown(name)} holds no finite floating-point numbers")
    return Direction(name, vector.float(), layers and tuple(layers), provenance)
