"""Reads edit directions from files of other projects, and checks them against a generator."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from idinvert.checkpoints.bundle import is_native
from idinvert.checkpoints.formats.read import read_archive
from idinvert.checkpoints.tensor_file import FLOATS
from idinvert.editing.directions import Direction, load_directions
from idinvert.errors import CheckpointError

KINDS = {"StyleGANGenerator": "stylegan", "StyleGAN2Generator": "stylegan2"}
LAYOUTS = {
    "idinvert": "stylegan",
    "interfacegan": "stylegan",
    "tensor": "stylegan2",
    "ganspace_tensors": "stylegan2",
    "ganspace": None,
    "named": None,
}
"""Layout of a file to the kind of generator for which its publishers provide files.

``idinvert``: a pickled dict with ``boundary``. ``interfacegan``: an array. ``tensor`` and
``ganspace_tensors``: the copies in e4e and PTI. ``ganspace``: its own ``.npz``. ``named``: vectors
by name.
"""
_INTERFACEGAN = re.compile(r"(?:stylegan2?|pggan)_[a-z0-9]+_(.+?)(_w)?_boundary")
_UNEVEN = 1.01  # largest ratio of the lengths of rows that count as equal


@dataclass(frozen=True)
class DirectionFile:
    """The content of a file of directions.

    Args:
        directions: By name.
        layout: A key of `LAYOUTS`, or ``"native"``.
        notes: Notes for the user: lengths that were not 1, uncertain origins.
    """

    directions: dict[str, Direction]
    layout: str
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Raw:
    """One direction as stored in a file: vector float64 [1 or L, w_dim] of any length."""

    name: str
    vector: Tensor
    layers: tuple[int, ...] | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def open_directions(
    path: str | Path,
    *,
    generator: Any,
    fingerprint: str | None = None,
    found_for: str | None = None,
    components: int = 20,
    key: str = "task.directions",
    origin_key: str = "task.found_for",
) -> DirectionFile:
    """Reads directions of any known layout, which is recognised by the content.

    StyleGAN's layers are all convolutions, while StyleGAN2's last one is a ToRGB, so layer k has a
    different meaning in each, and so have codes: directions found for one kind are refused for the
    other. Files of other projects do not name their generator; if their layout is not published
    for this kind, `found_for` is required.

    Args:
        path: This project's safetensors; idinvert's ``.npy``; InterFaceGAN's ``.npy``; e4e's and
            PTI's ``.pt``; GANSpace's ``.npz`` or ``.pt``. Pickles in them execute no code.
        generator: The generator to be edited.
        fingerprint: Its fingerprint; compared if the directions store one.
        found_for: ``"stylegan"`` or ``"stylegan2"``: the user's statement for such a file.
        components: Number of principal components to read from a GANSpace file.
        key: The config key that named the file, for messages.
        origin_key: The config key of `found_for`, for messages.

    Raises:
        CheckpointError: The file is unreadable, has no directions, or does not match G.
    """
    path = Path(path).expanduser()
    if path.is_file() and is_native(path):
        size = {"num_layers": generator.num_layers, "w_dim": generator.w_dim}
        found = load_directions(path, **size, generator=fingerprint)
        return DirectionFile(found, "native")
    reader = _Reader(path, generator=generator, key=key)
    layout, raws = reader.read(components)
    notes = reader.require_origin(layout, found_for=found_for, origin_key=origin_key)
    directions = {raw.name: reader.direction(raw, layout, notes) for raw in raws}
    if layout == "interfacegan" and reader.named_as_in_z():
        notes.append(
            f"{path.name} is named as InterFaceGAN names boundaries in Z; those in W are called "
            "…_w_boundary.npy, and only those edit codes"
        )
    return DirectionFile(directions, layout, notes)


class _Reader:
    """Reads one file for one generator; every error names the file and the key."""

    def __init__(self, path: Path, *, generator: Any, key: str) -> None:
        self.path, self.key = path, key
        self.kind = KINDS.get(type(generator).__name__, type(generator).__name__)
        self.num_layers, self.w_dim = generator.num_layers, generator.w_dim

    def fail(self, reason: str) -> NoReturn:
        """Raises an error.

        Raises:
            CheckpointError: Always.
        """
        raise CheckpointError(f"{self.path}: {reason}, change {self.key}")

    def read(self, components: int) -> tuple[str, list[_Raw]]:
        """Returns the layout and the directions of the file."""
        archive = read_archive(self.path, key=self.key)
        content = archive.content
        if isinstance(content, dict) and "boundary" in content:
            return "idinvert", [self._boundary(content)]
        for layout, name, spread in (("ganspace", "lat", "stdev"), ("ganspace_tensors", "", "std")):
            mark = f"{name}_comp" if name else "comp"
            if isinstance(content, dict) and mark in content:
                deviations = content.get(f"{name}_{spread}" if name else spread)
                return layout, self._components(content[mark], deviations, components)
        if isinstance(content, dict) and content:
            return "named", [_Raw(str(name), self._vector(v)) for name, v in content.items()]
        layout = "interfacegan" if isinstance(content, np.ndarray) else "tensor"
        return layout, [_Raw(self._name(), self._vector(content))]

    def _boundary(self, content: Mapping[Any, Any]) -> _Raw:
        meta = content.get("meta_data")
        layers = meta.get("manipulate_layers") if isinstance(meta, dict) else None
        vector = self._vector(content["boundary"])
        if layers is None:
            return _Raw(self._name(), vector)
        numbers = _whole_numbers(layers)
        if not numbers or not 0 <= min(numbers) <= max(numbers) < self.num_layers:
            self.fail(
                f"moves layers {str(layers)[:100]}, expected some of this generator's 0 to "
                f"{self.num_layers - 1}"
            )
        return _Raw(self._name(), vector, tuple(sorted(set(numbers))))

    def _components(self, found: Any, deviations: Any, count: int) -> list[_Raw]:
        vectors = _tensor(found)
        if vectors is None or vectors.ndim not in (2, 3) or len(vectors) == 0:
            self.fail(f"its components are {_words(found)}, expected numbers [K, 1, w_dim]")
        spread = _tensor(deviations)
        raws = []
        for k in range(min(count, len(vectors))):
            vector = self._vector(vectors[k])
            facts = {}
            if spread is not None and spread.numel() == len(vectors):
                # GANSpace's unit of a step is one standard deviation along the component.
                facts["sigma"] = (vector.norm(dim=1) * spread.flatten()[k]).tolist()
            raws.append(_Raw(f"pc{k}", vector, facts=facts))
        return raws

    def _vector(self, found: Any) -> Tensor:
        """Converts [w], [1, w], [L, w] or [1, L, w] to float64 [1 or L, w]."""
        vector = _tensor(found)
        rows = (1, self.num_layers)
        if vector is not None and vector.ndim == 3 and vector.shape[0] == 1:
            vector = vector[0]
        if vector is not None and vector.ndim == 1:
            vector = vector[None]
        if vector is None or vector.ndim != 2 or vector.shape[1] != self.w_dim:
            self._wrong_shape(found)
        if vector.shape[0] not in rows:
            self._wrong_shape(found)
        if not vector.isfinite().all():
            self.fail("holds numbers that are not finite, expected a direction")
        return vector

    def _wrong_shape(self, found: Any) -> NoReturn:
        self.fail(
            f"holds {_words(found)}, and the generator's codes are "
            f"[{self.num_layers}, {self.w_dim}]; expected [{self.w_dim}], [1, {self.w_dim}], "
            f"[{self.num_layers}, {self.w_dim}] or [1, {self.num_layers}, {self.w_dim}]"
        )

    def require_origin(self, layout: str, *, found_for: str | None, origin_key: str) -> list[str]:
        """Refuses directions of another kind of generator; returns notes for the user."""
        if found_for is not None:
            if found_for not in KINDS.values():
                self.fail(
                    f"got {origin_key}={found_for}, expected one of {sorted(KINDS.values())} "
                    f"({origin_key})"
                )
            if found_for != self.kind:
                self.fail(
                    f"was found for {found_for} ({origin_key}), and this generator is a "
                    f"{self.kind}: directions do not carry over between the two"
                )
            return []
        published = LAYOUTS[layout]
        if published == self.kind:
            return [
                f"{self.path.name} does not say which generator it was found for; files of this "
                f"layout ({layout}) are published for {published}, each for one generator only"
            ]
        known = f"is of a layout ({layout}) that is published for {published}"
        self.fail(
            f"{known if published else 'does not say which generator it was found for'}, and this "
            f"generator is a {self.kind}: layers and codes of another kind mean other things. If "
            f"it was found for this very generator, say so with {origin_key}={self.kind}; if not"
        )

    def direction(self, raw: _Raw, layout: str, notes: list[str]) -> Direction:
        """Returns the direction with rows of length 1; adds a note if a length was not 1."""
        lengths = raw.vector.norm(dim=1)  # [1 or L]
        if not lengths.isfinite().all():
            self.fail(f"direction {raw.name!r} holds numbers beyond a direction's range")
        moved = lengths > 0
        if not moved.any():
            self.fail(f"direction {raw.name!r} is zero, expected a direction")
        shortest, longest = float(lengths[moved].min()), float(lengths.max())
        if longest / shortest > _UNEVEN:
            self.fail(
                f"direction {raw.name!r} has rows of length {shortest:.4g} to {longest:.4g}, and "
                "here every layer moves by the same step; divide each row by its length to have "
                "that, or"
            )
        layers = raw.layers
        if not moved.all():
            still = [k for k in range(len(moved)) if not moved[k]]
            chosen = layers if layers is not None else range(len(moved))
            layers = tuple(k for k in chosen if moved[k])
            notes.append(f"direction {raw.name!r}: rows {still} are zero, so those layers stay")
        if abs(longest - 1) > 1e-3:
            notes.append(
                f"direction {raw.name!r} had length {longest:.4g} and was brought to 1: multiply "
                f"its publisher's steps by {longest:.4g}"
            )
        unit = torch.where(moved[:, None], raw.vector, raw.vector[int(moved.int().argmax())])
        unit = unit / unit.norm(dim=1, keepdim=True)
        facts = {"file": self.path.name, "layout": layout, "length": longest, **raw.facts}
        return Direction(raw.name, unit.float(), layers, facts)

    def _name(self) -> str:
        """Returns ``age`` for ``stylegan_ffhq_age_w_boundary.npy`` and for ``age.npy``."""
        named = _INTERFACEGAN.fullmatch(self.path.stem)
        return named[1] if named else self.path.stem.removesuffix("_boundary")

    def named_as_in_z(self) -> bool:
        """Returns whether the file is named like InterFaceGAN's boundaries in Z."""
        named = _INTERFACEGAN.fullmatch(self.path.stem)
        return named is not None and named[2] is None


def _tensor(found: Any) -> Tensor | None:
    """Converts an array or tensor of floats to float64; None for anything else."""
    if isinstance(found, np.ndarray) and found.dtype.kind == "f":
        return torch.from_numpy(np.ascontiguousarray(found, dtype=np.float64).copy())
    if isinstance(found, Tensor) and found.dtype in FLOATS:
        return found.detach().cpu().double()
    return None


def _whole_numbers(found: Any) -> list[int] | None:
    """Converts a list, tuple or array of integers to a flat list; None for anything else."""
    if not isinstance(found, list | tuple | np.ndarray):
        return None
    try:
        numbers = np.asarray(found)
    except ValueError:  # lists of different lengths
        return None
    return numbers.ravel().tolist() if numbers.dtype.kind in "iu" else None


def _words(found: Any) -> str:
    shape = getattr(found, "shape", None)
    name = type(found).__name__
    return f"{name} {found.dtype} {tuple(shape)}" if shape is not None else f"a {name}"
